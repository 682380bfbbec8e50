/*
 * A GGUF file: the merged backbone for llama.cpp, and the head where llama.cpp has a place for it
 * or, for dial alone, in the metadata (interfaces.md 4.4).
 */
#include <string.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/log.h"
#include "model/gguf_model.h"

enum { POOL_MEAN = 1, POOL_LAST = 3, POOL_RANK = 4 };

/* qwen3 alone among these families has a tensor for a head in llama.cpp. */
static int has_place_for_head(const di_export_job *job)
{
    return strcmp(di_source_config(job->run.source)->arch, "qwen3") == 0 &&
           job->run.pooling == DI_POOL_LAST;
}

static dial_status put_json(di_gguf_out *o, const di_alloc *al, const char *key, const json_t *v,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, al);
    DI_TRY(di_json_write(v, &b, err));
    di_gguf_put_string(o, key, b.data, b.size);
done:
    di_buf_deinit(&b);
    return st;
}

/* dial.text, dial.selftest and, of the rest of dial.json, what scoring needs. */
static dial_status put_run(const di_export_job *job, di_gguf_out *o, dial_error *err)
{
    static const char *const keys[] = {"schema",  "dial_version", "export",      "layer",
                                       "pooling", "head",         "reward_stats"};
    dial_status st = DIAL_OK;
    const char *sha = json_string_value(
        json_object_get(json_object_get(job->run.run, "text"), "tokenizer_sha256"));
    json_t *run = di_export_run_json(job, NULL, sha != NULL ? sha : ""), *brief = json_object();

    if (run == NULL || brief == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for dial.json");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *v = json_object_get(run, keys[i]);

        if (v != NULL && json_object_set(brief, keys[i], v) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for dial.run");
    }
    DI_TRY(put_json(o, job->al, "dial.run", brief, err));
    DI_TRY(put_json(o, job->al, "dial.text", json_object_get(run, "text"), err));
    if (json_object_get(run, "selftest") != NULL)
        DI_TRY(put_json(o, job->al, "dial.selftest", json_object_get(run, "selftest"), err));
done:
    json_decref(run);
    json_decref(brief);
    return st;
}

/*
 * What llama-server puts around query and document when it ranks, where it adds no token of its
 * own: the run's form of a text, BOS and EOS spelt out.
 */
static dial_status put_rerank_form(const di_export_job *job, di_gguf_out *o, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_text_policy *p = &job->run.policy;
    const di_str bos = di_tokenizer_token(job->run.tok, p->adds_bos ? p->bos_id : -1);
    const di_str eos = di_tokenizer_token(job->run.tok, p->appends_eos ? p->eos_id : -1);
    const di_turn turns[] = {{"user", {"{query}", 7}}, {"assistant", {"{document}", 10}}};
    const int raw = p->chat == NULL || strcmp(p->template_name, "auto") == 0; /* of strings */
    di_buf body, form;

    di_buf_init(&body, job->al);
    di_buf_init(&form, job->al);
    if (raw)
        di_buf_printf(&body, "{query}{document}");
    else
        DI_TRY(di_template_render(p->chat, turns, 2, &body, err));
    DI_TRY(di_buf_status(&body, err));
    if (body.size < bos.size || memcmp(body.data, bos.data, bos.size) != 0)
        di_buf_append(&form, bos.data, bos.size);
    di_buf_append(&form, body.data, body.size);
    di_buf_append(&form, eos.data, eos.size);
    DI_TRY(di_buf_status(&form, err));
    di_gguf_put_string(o, "tokenizer.chat_template.rerank", form.data, form.size);
done:
    di_buf_deinit(&body);
    di_buf_deinit(&form);
    return st;
}

/*
 * llama.cpp reads a sliding window of gemma2 and gemma3 files alone. Of the other families it looks
 * at the whole past, so a text longer than the window has another reward there than here.
 */
static int64_t window_ignored(const di_export_job *job)
{
    const di_config *c = di_source_config(job->run.source);
    int64_t least = 0;

    for (int64_t i = 0; !c->post_norms && i < job->fold.layers; i++)
        if (c->window[i] > 0 && (least == 0 || c->window[i] < least)) least = c->window[i];
    return least < job->run.policy.max_length ? least : 0;
}

dial_status di_export_gguf(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *s = &job->run;
    const int ranks = has_place_for_head(job);
    const char *arch = di_gguf_arch(di_source_config(s->source)), *slash = strrchr(s->path, '/');
    const char *name = slash != NULL && slash[1] != '\0' ? slash + 1 : s->path;
    const di_str labels[] = {{"reward", 6}, {"zero", 4}};
    di_gguf_model m = {.fold = &job->fold,
                       .dtype = job->dtype,
                       .head = ranks ? job->head : NULL,
                       .tok = s->tok,
                       .add_bos = s->policy.adds_bos,
                       .add_eos = s->policy.appends_eos};
    di_gguf_out o;

    di_gguf_out_init(&o, job->al);
    if (di_source_gguf(s->source) == NULL)
        di_gguf_put_string(&o, "general.name", name, strlen(name));
    di_gguf_put_u32(&o, DI_FMT("%s.pooling_type", arch),
                    ranks                        ? POOL_RANK
                    : s->pooling == DI_POOL_MEAN ? POOL_MEAN
                                                 : POOL_LAST);
    if (ranks) {
        di_gguf_put_strings(&o, DI_FMT("%s.classifier.output_labels", arch), labels, 2);
        DI_TRY(put_rerank_form(job, &o, err));
    } else {
        di_gguf_put_f32s(&o, "dial.head.weight", job->head, (size_t)s->params.width);
    }
    if (job->shift != 0) di_gguf_put_f32(&o, "dial.head.shift", (float)job->shift);
    job->window_ignored = window_ignored(job);
    if (job->window_ignored > 0)
        di_log(job->run.env, DIAL_LOG_WARN,
               "llama.cpp does not read the model's sliding window: texts of more than %lld tokens "
               "have other rewards there",
               (long long)job->window_ignored);
    DI_TRY(put_run(job, &o, err));
    DI_TRY(di_gguf_model_write(&m, job->tmp, &o, err));
done:
    di_gguf_out_deinit(&o);
    return st;
}
