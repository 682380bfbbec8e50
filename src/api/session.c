#include "api/session.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "dist/dist.h"
#include "model/adaptor.h"
#include "model/safetensors.h"

dial_status di_rows_options_from(const dial_common_options *c, di_rows_options *out,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows_options o = di_rows_options_default();

    o.format = c->format;
    o.columns = c->columns;
    o.limit = c->limit;
    o.skip = c->skip_rows;
    o.on_error_skip = strcmp(c->on_error, "skip") == 0;
    o.seed = (uint64_t)c->seed;
    DI_TRY(di_parse_share("max-bad", c->max_bad, &o.max_bad_share, &o.max_bad_count, err));
    *out = o;
done:
    return st;
}

dial_status di_parse_share(const char *flag, const char *text, double *share, int64_t *count,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;
    double x = strtod(text, &end);

    if (end == text || !(x >= 0) || (strcmp(end, "%") != 0 && (*end != '\0' || x != floor(x))))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", flag), "write 5% or 12",
                   "expected a share or a number, found '%s'", text);
    *share = *end == '%' ? x / 100 : 0;
    *count = *end == '%' ? -1 : (int64_t)x;
done:
    return st;
}

dial_status di_parse_layer(const char *text, int64_t layers, int64_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    double share;
    int64_t count;

    if (text == NULL || strcmp(text, "last") == 0) {
        *out = layers;
        return DIAL_OK;
    }
    DI_TRY(di_parse_share("layer", text, &share, &count, err));
    if (count < 0) count = (int64_t)floor(share * (double)layers + 0.5); /* rounded half up */
    if (strchr(text, '%') != NULL && count < 1) count = 1;
    if (count < 1 || count > layers)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--layer", "write last, a number of blocks or a share",
                   "expected 1 to %lld, found '%s'", (long long)layers, text);
    *out = count;
done:
    return st;
}

dial_status di_parse_named_file(const di_alloc *al, const char *text, char **name,
                                const char **file, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *eq = strchr(text, '='), *slash, *dot;

    if (eq != NULL && memchr(text, '/', (size_t)(eq - text)) == NULL && eq > text) {
        *name = di_strndup(al, text, (size_t)(eq - text));
        *file = eq + 1;
    } else {
        slash = strrchr(text, '/');
        slash = slash != NULL ? slash + 1 : text;
        dot = strchr(slash, '.');
        *name = dot != NULL && dot > slash ? di_strndup(al, slash, (size_t)(dot - slash))
                                           : di_strdup(al, slash);
        *file = text;
    }
    if (*name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a name");
done:
    return st;
}

/* The files of the base are those that the run was trained on. */
static dial_status check_hashes(di_session *s, int allow, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *base = json_object_get(s->run, "base"), *now = json_object(), *was;
    const char *file;

    DI_TRY(di_source_hashes(s->source, now, err));
    json_object_foreach (json_object_get(base, "sha256"), file, was) {
        if (json_equal(json_object_get(now, file), was)) continue;
        if (!allow)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, s->base_path,
                       "restore the base model, or insist with --allow-hash-mismatch",
                       "hash mismatch: '%s' is not the file that '%s' was trained on", file,
                       s->path);
        di_log(s->env, DIAL_LOG_WARN, "base file '%s' changed since the training", file);
    }
done:
    json_decref(now);
    return st;
}

/* Classes that a run's head tells apart; 0: a reward. */
static int64_t classes_of(const json_t *run)
{
    return json_integer_value(json_object_get(json_object_get(run, "head"), "classes"));
}

/* Adapter and head of a folder that PEFT or dial wrote. */
static dial_status load_adapter(di_session *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_lora_options lora;

    DI_TRY(di_adapter_read_config(s->al, s->path, di_source_config(s->source), &lora, err));
    lora.classes = classes_of(s->run);
    DI_TRY(di_params_init(&s->params, s->al, di_source_config(s->source), &lora, err));
    s->has_params = 1;
    DI_TRY(di_adapter_load(s->al, s->path, &s->params, err));
done:
    return st;
}

/* Shift and scale of the reward. */
static void read_head(di_session *s)
{
    const json_t *head = json_object_get(s->run, "head");

    s->shift = json_number_value(json_object_get(head, "shift"));
    s->scale = json_number_value(json_object_get(head, "scale"));
    s->applied = json_is_true(json_object_get(head, "applied"));
}

/* A bias beside a head's weights: it belongs to the reward. */
static dial_status load_bias(di_session *s, const char *name, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_weight b;
    float bias;
    int found = 0;

    DI_TRY(di_source_find(s->source, name, &b, &found, err));
    if (!found) return DIAL_OK;
    if (b.out * b.in != 1)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "give a model with one label",
                   "%s: expected [1], found %lld numbers", name, (long long)(b.out * b.in));
    di_dequantize(b.dtype, b.data, &bias, 1);
    if (!isfinite(bias))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "fetch or write the file again",
                   "%s: expected a finite number, found %g", name, (double)bias);
    s->shift = (double)bias;
    s->applied = 1;
done:
    return st;
}

/*
 * A head that came with the weights: of a ...ForSequenceClassification folder, the value head that
 * TRL keeps in value_head.safetensors, or that of an export.
 */
static dial_status load_head(di_session *s, dial_error *err)
{
    static const char *const heads[][2] = {{"score.weight", "score.bias"},
                                           {"v_head.summary.weight", "v_head.summary.bias"}};
    dial_status st = DIAL_OK;
    di_lora_options none = {.r = 0};
    const int64_t width = di_source_config(s->source)->width;
    char *dense = di_path_join(s->al, s->base_path, "2_Dense/model.safetensors");
    const char *const *name = NULL;
    di_weight w;
    di_st file = {0};
    int found = 0;

    if (dense == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (strcmp(di_source_kind(s->source), "config") == 0) goto done;
    for (size_t i = 0; i < 2 && !found; i++) {
        name = heads[i];
        DI_TRY(di_source_find(s->source, name[0], &w, &found, err));
    }
    if (!found && !(s->merged && di_exists(dense))) goto done;
    if (found && (w.out != 1 || w.in != width))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "give a model with one label",
                   "%s: expected [1, %lld], found [%lld, %lld]", name[0], (long long)width,
                   (long long)w.out, (long long)w.in);
    DI_TRY(di_params_init(&s->params, s->al, di_source_config(s->source), &none, err));
    s->has_params = 1;
    if (!found) { /* of a sentence-transformers folder */
        DI_TRY(di_st_open(s->al, dense, &file, err));
        DI_TRY(di_st_read_f32(&file, dense, "linear.weight",
                              di_head_at(&s->params, s->params.theta), width, err));
        goto done;
    }
    di_dequantize(w.dtype, w.data, di_head_at(&s->params, s->params.theta), w.in);
    DI_TRY(load_bias(s, name[1], err));
done:
    di_st_close(&file);
    di_free(s->al, dense);
    return st;
}

/* Where the base of a run is: as said, or seen from the run's own folder; of an export itself. */
static dial_status find_base(di_session *s, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *beside = NULL;

    if (!s->merged && !di_exists(path) && path[0] != '/') { /* written from another folder */
        beside = di_path_join(s->al, s->path, path);
        if (beside != NULL && di_exists(beside)) path = beside;
    }
    if (!s->merged && !di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path,
                   path[0] == '/' ? "put the model back there"
                                  : "start dial in the folder where the training was started",
                   "the base model that the run '%s' was trained on is not there", s->path);
    s->base_path = di_strdup(s->al, s->merged ? s->path : path);
    if (s->base_path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
done:
    di_free(s->al, beside);
    return st;
}

/* The run's own reading of its base: policy, layer, pooling, head. The source is open. */
static dial_status apply_run(di_session *s, const dial_common_options *common, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *pooling = json_string_value(json_object_get(s->run, "pooling"));
    int64_t layer = json_integer_value(json_object_get(s->run, "layer"));

    DI_TRY(di_source_tokenizer(s->source, &s->tok, err));
    DI_TRY(di_session_run_policy(s, common, err));
    if (layer < 1 || layer > di_source_config(s->source)->layers)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s/dial.json", s->path), "train the run again",
                   "layer %lld is not in the base model", (long long)layer);
    s->layers = layer;
    s->pooling = pooling != NULL && strcmp(pooling, "mean") == 0 ? DI_POOL_MEAN : DI_POOL_LAST;
    read_head(s);
    DI_TRY(s->merged ? load_head(s, err) : load_adapter(s, err));
done:
    return st;
}

static dial_status open_run(di_session *s, const dial_common_options *common, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *base = json_object_get(s->run, "base"), *head = json_object_get(s->run, "head");
    const char *path = json_string_value(json_object_get(base, "path"));

    if (path == NULL || json_object_get(s->run, "pooling") == NULL || head == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s/dial.json", s->path), "train the run again",
                   "expected base.path, pooling and head");
    s->merged = json_is_string(json_object_get(s->run, "export"));
    DI_TRY(find_base(s, path, err));
    DI_TRY(di_source_open(s->al, s->env, s->base_path, &s->source, err));
    DI_TRY(check_hashes(s, common->allow_hash_mismatch, err));
    DI_TRY(apply_run(s, common, err));
    if (!s->merged && json_is_object(json_object_get(json_object_get(s->run, "lora"), "adaptor")) !=
                          di_has_adaptor(&s->params))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "restore it from the checkpoint, or train again",
                   "the run's adaptor.safetensors is %s",
                   di_has_adaptor(&s->params) ? "not of this run" : "missing");
done:
    return st;
}

/* What a GGUF file that dial wrote says of its run; s->run stays NULL in any other. */
static dial_status read_notes(di_session *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_str text;
    json_t *run = NULL;

    if (!di_source_note(s->source, "dial.run", &text)) goto done;
    DI_TRY(di_json_parse(text.data, text.size, DI_FMT("%s: dial.run", s->path), 1, &run, err));
    if (di_source_note(s->source, "dial.text", &text)) {
        json_t *policy = NULL;

        DI_TRY(
            di_json_parse(text.data, text.size, DI_FMT("%s: dial.text", s->path), 1, &policy, err));
        if (json_object_set_new(run, "text", policy) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the text policy");
    }
    if (di_source_note(s->source, "dial.selftest", &text)) {
        json_t *test = NULL;

        DI_TRY(di_json_parse(text.data, text.size, DI_FMT("%s: dial.selftest", s->path), 1, &test,
                             err));
        if (json_object_set_new(run, "selftest", test) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    }
    s->run = run;
    s->merged = 1;
    run = NULL;
done:
    json_decref(run);
    return st;
}

/* The base model that a PEFT folder names. */
static dial_status base_of_adapter(di_session *s, const char *config, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *v = NULL;
    const char *base;

    DI_TRY(di_json_read(s->al, config, &v, err));
    base = json_string_value(json_object_get(v, "base_model_name_or_path"));
    if (base == NULL || !di_exists(base))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, config, "set base_model_name_or_path to a model here",
                   "the adapter's base model '%s' is not a file or folder",
                   base != NULL ? base : "(none)");
    s->base_path = di_strdup(s->al, base);
    if (s->base_path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
done:
    json_decref(v);
    return st;
}

/* A base model, one with a head of its own, or a PEFT adapter that dial did not write. */
static dial_status open_base(di_session *s, const dial_common_options *common, di_session_need need,
                             const char *layer, const char *pooling, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *config = di_path_join(s->al, s->path, "adapter_config.json");

    if (config == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(config))
        DI_TRY(base_of_adapter(s, config, err));
    else
        s->base_path = di_strdup(s->al, s->path);
    if (s->base_path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_source_open(s->al, s->env, s->base_path, &s->source, err));
    DI_TRY(read_notes(s, err));
    if (s->run != NULL) {
        DI_TRY(apply_run(s, common, err));
        goto done;
    }
    if (need != DI_NEED_SHAPE && strcmp(di_source_kind(s->source), "config") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, s->path, "name the model's folder",
                   "a config.json has no weights; only bench and train --dry-run do without");
    if (need != DI_NEED_SHAPE || di_source_has_tokenizer(s->source))
        DI_TRY(di_source_tokenizer(s->source, &s->tok, err));
    DI_TRY(di_session_policy(s, common, err));
    DI_TRY(di_parse_layer(layer, di_source_config(s->source)->layers, &s->layers, err));
    s->pooling = pooling != NULL && strcmp(pooling, "mean") == 0 ? DI_POOL_MEAN : DI_POOL_LAST;
    DI_TRY(di_exists(config) ? load_adapter(s, err) : load_head(s, err));
done:
    di_free(s->al, config);
    return st;
}

/*
 * Results are gathered and must be what one process would have computed, and in training every rank
 * repeats the alignment on them: so all ranks compute alike, with the same model.
 */
static dial_status check_ranks(di_session *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dist *d = di_dist_of(s->env);
    json_t *files = json_object();
    di_buf b;

    di_buf_init(&b, s->al);
    if (files == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the hashes of the model");
    di_buf_printf(&b, "%s %s %s %d %d", DIAL_VERSION, s->dev.isa, di_dtype_name(s->dev.act),
                  s->int8, s->dev.threads);
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_dist_same(
        d, di_fnv1a(b.data, b.size), "version, instruction set, dtype, weights or threads",
        "use machines of one kind and the same dial, or give --dtype, --weights and --threads",
        err));
    DI_TRY(di_source_hashes(s->source, files, err));
    b.size = 0;
    DI_TRY(di_json_write(files, &b, err));
    DI_TRY(di_dist_same(d, di_fnv1a(b.data, b.size), "the files of the base model",
                        "give every machine the same files, or a folder that all of them see",
                        err));
    if (d->rank == 0)
        di_log(s->env, DIAL_LOG_INFO, "%d ranks on %d host%s, %d thread%s each", d->size, d->hosts,
               d->hosts == 1 ? "" : "s", s->dev.threads, s->dev.threads == 1 ? "" : "s");
done:
    json_decref(files);
    di_buf_deinit(&b);
    return st;
}

dial_status di_session_open(di_session *s, const char *path, const dial_common_options *common,
                            di_session_need need, const char *layer, const char *pooling,
                            const dial_env *env, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *config = NULL;
    int threads, classes_too = need >= DI_NEED_MODEL_OR_CLASSES;

    if (classes_too) need = need == DI_NEED_HEAD_OR_CLASSES ? DI_NEED_HEAD : DI_NEED_MODEL;
    *s = (di_session){.al = di_env_alloc(env),
                      .env = env,
                      .scale = 1,
                      .batch_tokens = common->batch_tokens,
                      .int8 = common->weights != NULL && strcmp(common->weights, "int8") == 0};
    s->path = di_strdup(s->al, path);
    config = di_path_join(s->al, path, "dial.json");
    if (s->path == NULL || config == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "check the path", "no such file or folder");
    threads = common->threads > 0 ? (int)common->threads : di_dist_of(env)->threads;
    DI_TRY(di_device_open(s->al, env, common->device, common->dtype, threads, &s->dev, err));
    s->device_open = 1;
    omp_set_num_threads(s->dev.threads); /* of what computes without a device: statistics, maps */
    if (di_exists(config)) {
        DI_TRY(di_json_read(s->al, config, &s->run, err));
        if (classes_of(s->run) > 0 && !classes_too)
            DI_FAIL_AT(
                err, DIAL_ERR_USAGE, path,
                "train with --objective bce, mse or pair; eval, embed and info read this run",
                "the run tells %lld classes apart (--objective ce) and has no reward",
                (long long)classes_of(s->run));
        DI_TRY(open_run(s, common, err));
    } else {
        DI_TRY(open_base(s, common, need, layer, pooling, err));
    }
    if (s->run != NULL && (layer != NULL || (pooling != NULL && need == DI_NEED_HEAD)))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--layer", "leave the flag out",
                   "the run fixes layer and pooling");
    if (need == DI_NEED_HEAD && !s->has_params)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path,
                   "give a finished run, a PEFT adapter or a model for sequence classification",
                   "the model has no reward head, and a random one would give random scores");
    if (di_dist_of(env)->size > 1) DI_TRY(check_ranks(s, err));
done:
    di_free(s->al, config);
    if (st != DIAL_OK) di_session_close(s);
    return st;
}

/* Were both runs trained on the same files, and do they read the same embedding? */
static int same_base(const json_t *a, const json_t *b)
{
    static const char *const key[] = {"layer", "pooling"};
    const json_t *x = json_object_get(json_object_get(a, "base"), "sha256");

    for (size_t i = 0; i < sizeof key / sizeof *key; i++)
        if (!json_equal(json_object_get(a, key[i]), json_object_get(b, key[i]))) return 0;
    return json_is_object(x) && json_object_size(x) > 0 &&
           json_equal(x, json_object_get(json_object_get(b, "base"), "sha256"));
}

dial_status di_session_open_on(di_session *s, const char *path, const dial_common_options *common,
                               di_session *lender, const dial_env *env, int *shared,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    char *config = di_path_join(al, path, "dial.json");
    json_t *run = NULL;

    if (config == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    *shared = 0;
    if (!di_exists(config)) goto done;
    DI_TRY(di_json_read(al, config, &run, err));
    if (lender->run == NULL || lender->merged || json_object_get(run, "export") != NULL ||
        classes_of(run) > 0 || /* di_session_open says why not */
        !same_base(run, lender->run))
        goto done;
    *s = (di_session){.al = al,
                      .env = env,
                      .batch_tokens = lender->batch_tokens,
                      .int8 = lender->int8,
                      .run = run,
                      .source = lender->source,
                      .tok = lender->tok,
                      .layers = lender->layers,
                      .pooling = lender->pooling,
                      .lender = lender};
    run = NULL;
    *shared = 1;
    s->path = di_strdup(al, path);
    s->base_path = di_strdup(al, lender->base_path);
    if (s->path == NULL || s->base_path == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    read_head(s);
    DI_TRY(di_session_run_policy(s, common, err));
    DI_TRY(load_adapter(s, err));
done:
    if (st != DIAL_OK && *shared) di_session_close(s);
    di_free(al, config);
    json_decref(run);
    return st;
}

static int same_lora(const di_lora_options *a, const di_lora_options *b)
{
    return a->r == b->r && a->targets == b->targets && a->first_layer == b->first_layer &&
           a->end_layer == b->end_layer;
}

/* A workspace serves every adapter of one shape, so that several runs cost one; an adaptor belongs
 * to its embedder. */
static int may_borrow_embedder(const di_session *s)
{
    const di_session *l = s->lender;

    return l != NULL && l->embedder != NULL && s->policy.max_length <= l->policy.max_length &&
           same_lora(&s->params.lora, &l->params.lora) && !di_has_adaptor(&s->params) &&
           !di_has_adaptor(&l->params);
}

dial_status di_session_ready(di_session *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_decoder_options o = {.n_layers = s->layers,
                            .pooling = s->pooling,
                            .with_logits = s->with_logits,
                            .int8 = s->int8};
    di_device *dev = s->lender != NULL ? &s->lender->dev : &s->dev;

    if (s->lender == NULL)
        DI_TRY(di_decoder_new(dev, s->source, &o, &s->decoder, err));
    else
        s->decoder = s->lender->decoder;
    if (s->has_params) di_decoder_set_lora(s->decoder, &s->params);
    if (may_borrow_embedder(s)) {
        s->embedder = s->lender->embedder;
        goto done;
    }
    DI_TRY(di_embedder_new(dev, s->decoder, s->batch_tokens,
                           s->longest > 0 ? s->longest : s->policy.max_length, &s->embedder, err));
    s->own_embedder = 1;
done:
    return st;
}

void di_session_rest(di_session *s)
{
    if (s->own_embedder) di_embedder_free(s->embedder);
    if (s->lender == NULL) di_decoder_free(s->decoder);
    s->embedder = NULL;
    s->decoder = NULL;
    s->own_embedder = 0;
}

void di_session_close(di_session *s)
{
    di_session_rest(s);
    if (s->lender == NULL) {
        di_tokenizer_close(s->tok);
        di_source_close(s->source);
    }
    if (s->has_params) di_params_deinit(&s->params);
    di_template_free(s->chat);
    if (s->device_open) di_device_close(&s->dev);
    json_decref(s->run);
    di_free(s->al, s->path);
    di_free(s->al, s->base_path);
    *s = (di_session){0};
}

void di_show_tokens(const di_session *s, const di_dataset *d, int64_t n)
{
    for (int64_t i = 0; i < n && i < d->n_seq; i++)
        for (int64_t k = 0; k < d->seq[i].n; k++) {
            int32_t id = d->seq[i].id[k];
            di_str t = di_tokenizer_token(s->tok, id);
            int special = id == s->policy.bos_id || id == s->policy.eos_id;

            di_log(s->env, DIAL_LOG_INFO, "text %lld  %6d  %s%.*s", (long long)i, (int)id,
                   special ? "(special) " : "", (int)t.size, t.data);
        }
}

dial_status di_document(const di_alloc *al, json_t *value, char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, al);
    if (value == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    DI_TRY(di_json_write(value, &b, err));
    *out = di_buf_take(&b);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_buf_deinit(&b);
    json_decref(value);
    return st;
}
