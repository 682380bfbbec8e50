/* dial_info: what a file is and whether it is whole; --verify recomputes a run's self-test. */
#include <stdio.h>
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "base/file.h"

static json_t *config_json(const di_config *c)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "vocab_size", (json_int_t)c->vocab,
        "hidden_size", (json_int_t)c->width, "intermediate_size", (json_int_t)c->mlp,
        "num_hidden_layers", (json_int_t)c->layers, "num_attention_heads", (json_int_t)c->heads,
        "num_key_value_heads", (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim,
        "max_position_embeddings", (json_int_t)c->context, "tie_word_embeddings", c->tied);
}

static json_t *id_or_null(int32_t id)
{
    return id >= 0 ? json_integer(id) : json_null();
}

static json_t *tokenizer_json(const di_tokenizer_info *t)
{
    return json_pack("{s:s, s:I, s:s, s:o, s:o, s:o, s:b}", "model", t->model, "vocab",
                     (json_int_t)t->vocab, "pre", t->pre, "bos", id_or_null(t->bos), "eos",
                     id_or_null(t->eos), "pad", id_or_null(t->pad), "adds_bos", t->adds_bos);
}

/* Counts tensors by dtype and sums their elements; lists them if asked. */
static int64_t count_tensors(const di_source *s, json_t *dtypes, json_t *list, int *failed)
{
    int64_t params = 0;

    for (size_t i = 0; i < di_source_count(s); i++) {
        di_source_tensor t = di_source_at(s, i);
        const char *name = t.dtype < DI_DTYPE_COUNT ? di_dtype_name(t.dtype) : "other";
        int64_t n = 1;
        json_t *shape = json_array();

        for (int k = 0; k < t.n_dims; k++) {
            n *= t.dim[k];
            di_json_add(shape, json_integer(t.dim[k]), failed);
        }
        params += n;
        di_json_put(dtypes, name,
                    json_integer(1 + json_integer_value(json_object_get(dtypes, name))), failed);
        if (list != NULL)
            di_json_add(list,
                        json_pack("{s:s, s:s, s:O}", "name", t.name, "dtype", name, "shape", shape),
                        failed);
        json_decref(shape);
    }
    return params;
}

/* Scores the texts of the self-test again. *ok: they have the scores of the training. */
static dial_status verify(di_session *s, json_t **out, int *ok, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n;
    double worst;

    DI_TRY(di_session_ready(s, err));
    DI_TRY(di_session_selftest(s, &n, &worst, ok, err));
    if (n == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "train the run again",
                   "dial.json has no self-test");
    *out = json_pack("{s:I, s:o, s:b}", "n", (json_int_t)n, "max_abs_diff", di_json_stat(worst),
                     "ok", *ok);
done:
    return st;
}

static json_t *problems_of(const di_session *s)
{
    const di_tokenizer_info *t = di_tokenizer_get_info(s->tok);
    json_t *list = json_array();
    int failed = 0;

    if (t->pad >= 0 && t->pad == t->eos)
        di_json_add(list,
                    json_string("pad = eos (harmless in dial, which never pads; "
                                "other programs may pool the wrong token)"),
                    &failed);
    if (!s->has_params) di_json_add(list, json_string("no reward head: a base model"), &failed);
    return di_json_whole(list, failed);
}

dial_status dial_info(const dial_info_options *o, const dial_env *env, char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    di_session s = {0};
    json_t *doc = NULL, *dtypes = json_object(), *list = NULL, *selftest = NULL;
    int ok = 1, failed = 0;
    int64_t params;

    if (o->model == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--model", "see dial info --help", "the flag is required");
    if (o->tensors) list = json_array();
    DI_TRY(di_session_open(&s, o->model, &o->common,
                           o->verify ? DI_NEED_HEAD_OR_CLASSES : DI_NEED_MODEL_OR_CLASSES, NULL,
                           NULL, env, err));
    params = count_tensors(s.source, dtypes, list, &failed);
    if (o->verify) DI_TRY(verify(&s, &selftest, &ok, err));
    doc = json_pack("{s:s, s:s, s:s, s:o, s:I, s:O, s:o, s:O?, s:O?, s:O?, s:O?, s:o}", "schema",
                    "dial.info/1", "kind",
                    s.run != NULL && !s.merged         ? "run"
                    : strcmp(s.path, s.base_path) != 0 ? "adapter"
                                                       : di_source_kind(s.source),
                    "arch", di_source_config(s.source)->arch, "config",
                    config_json(di_source_config(s.source)), "params", (json_int_t)params, "dtypes",
                    dtypes, "tokenizer", tokenizer_json(di_tokenizer_get_info(s.tok)), "text",
                    json_object_get(s.run, "text"), "head", json_object_get(s.run, "head"), "lora",
                    json_object_get(s.run, "lora"), "selftest", selftest, "problems",
                    problems_of(&s));
    if (list != NULL) di_json_put(doc, "tensors", json_incref(list), &failed);
    DI_TRY(di_document(al, di_json_whole(doc, failed), json, err));
    if (!ok)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, o->model, "train again on this machine, or use --dtype f32",
                   "the self-test gives other scores than those of the training");
done:
    json_decref(dtypes);
    json_decref(list);
    json_decref(selftest);
    if (s.al != NULL) di_session_close(&s);
    return st;
}
