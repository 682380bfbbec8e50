/* Does an export score as its run? The same texts, through the files that were written. */
#include <math.h>
#include <string.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/file.h"
#include "eval/stats.h"
#include "model/head.h"
#include "model/safetensors.h"

enum { CUTS = 8, N_TEXTS = 64 }; /* each of eight texts is cut to an eighth, two eighths, ... */

/* For what has no self-test: an adapter of PEFT, a model that came with a head. */
static const char *const own_texts[] = {
    "What is the capital of France? The capital of France is Paris.",
    "2 + 2 = 4, and 17 * 3 = 51; x = -1.5e-3",
    "How do I sort a list in Python?\n\n```python\nsorted(xs, key=len)\n```\n",
    "I cannot help with that. Please ask something else!",
    "\xc2\xbfQu\xc3\xa9 hora es? Son las tres y media de la tarde.",
    "\xe4\xbb\x8a\xe5\xa4\xa9\xe5\xa4\xa9\xe6\xb0\x94\xe5\xbe\x88\xe5\xa5\xbd \xf0\x9f\x98\x80",
    "   spaces,\ttabs and\n\n\nlines   ",
    "The quick brown fox jumps over the lazy dog, again and again and again, until it is tired.",
};

/* s cut after about n bytes, between two characters and not to nothing. */
static size_t cut_at(const char *s, size_t size, size_t n)
{
    if (n < 1) n = 1;
    while (n < size && ((unsigned char)s[n] & 0xc0) == 0x80) n++;
    return n;
}

static dial_status make_texts(const di_export_job *job, di_export_scores *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *saved = json_object_get(json_object_get(job->run.run, "selftest"), "texts");
    const size_t n = json_array_size(saved);

    s->text = di_new_array(s->al, N_TEXTS, sizeof *s->text);
    s->reward = di_new_array(s->al, N_TEXTS, sizeof *s->reward);
    if (s->text == NULL || s->reward == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for texts");
    for (size_t i = 0; i < N_TEXTS; i++) {
        const char *text =
            n > 0 ? json_string_value(json_object_get(json_array_get(saved, i / CUTS % n), "text"))
                  : own_texts[i / CUTS];
        size_t size;

        if (text == NULL)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, job->run.path, "train the run again",
                       "selftest: expected texts");
        size = strlen(text);
        s->text[s->n] = di_strndup(s->al, text, cut_at(text, size, size * (i % CUTS + 1) / CUTS));
        if (s->text[s->n] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for texts");
        s->n++;
    }
done:
    return st;
}

/* Rewards of the texts by a session that is ready, before shift; scale as the session says. */
static dial_status score(di_session *s, const di_export_scores *t, const float *head, double scale,
                         double *reward, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_text_scratch scratch = {.al = s->al};
    float *e = di_new_array(s->al, (size_t)s->params.width, sizeof *e);

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for an embedding");
    for (int64_t i = 0; i < t->n; i++) {
        const di_text text = {.prompt = "",
                              .response = t->text[i],
                              .response_size = strlen(t->text[i]),
                              .rendered = 1};
        const int32_t *ids;
        di_seq_view view;
        unsigned flags;

        DI_TRY(di_text_encode(&s->policy, s->tok, &text, &scratch, &ids, &view.n, &flags, err));
        view.id = ids;
        if (view.n > 0) DI_TRY(di_embed_texts(s->embedder, &view, NULL, 1, "verify", e, err));
        reward[i] = view.n > 0 ? scale * (double)di_reward(head, e, s->params.width) : 0;
    }
done:
    di_text_scratch_deinit(&scratch);
    di_free(s->al, e);
    return st;
}

dial_status di_export_scores_of(di_export_job *job, di_export_scores *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session *run = &job->run;

    s->al = job->al;
    DI_TRY(make_texts(job, s, err));
    DI_TRY(score(run, s, di_head_at(&run->params, run->params.theta), job->scale, s->reward, err));
done:
    return st;
}

/*
 * The self-test that goes along. Its scores are computed anew in f32: a run that was trained in
 * bf16 rounds base and adapter apart, which merged weights cannot repeat.
 */
dial_status di_export_selftest(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session *run = &job->run;
    json_t *saved = json_object_get(run->run, "selftest"), *test = NULL, *row;
    const size_t n = json_array_size(json_object_get(saved, "texts"));
    di_export_scores s = {.al = job->al};
    size_t i;
    int failed = 0;

    if (n == 0) goto done;
    test = json_deep_copy(saved);
    s.text = di_new_array(s.al, n, sizeof *s.text);
    s.reward = di_new_array(s.al, n, sizeof *s.reward);
    if (s.text == NULL || s.reward == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    json_array_foreach (json_object_get(test, "texts"), i, row) {
        const char *text = json_string_value(json_object_get(row, "text"));

        s.text[s.n] = di_strdup(s.al, text != NULL ? text : "");
        if (s.text[s.n++] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    }
    DI_TRY(score(run, &s, di_head_at(&run->params, run->params.theta), job->scale, s.reward, err));
    json_array_foreach (json_object_get(test, "texts"), i, row)
        di_json_put(row, "score", di_json_f32((float)s.reward[i]), &failed);
    di_json_put(test, "dtype", json_string("f32"), &failed);
    di_json_put(test, "weights", json_string(job->opt->weights), &failed);
    job->selftest = di_json_whole(json_incref(test), failed);
    if (job->selftest == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
done:
    json_decref(test);
    di_export_scores_deinit(&s);
    return st;
}

void di_export_scores_deinit(di_export_scores *s)
{
    if (s->al == NULL) return;
    for (int64_t i = 0; s->text != NULL && i < s->n; i++) di_free(s->al, s->text[i]);
    di_free(s->al, s->text);
    di_free(s->al, s->reward);
}

/* hf, st, gguf: opened like any model. */
static dial_status score_model(const di_export_job *job, const di_export_scores *t, double *got,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_session s = {0};

    DI_TRY(
        di_session_open(&s, job->tmp, &job->common, DI_NEED_HEAD, NULL, NULL, job->run.env, err));
    DI_TRY(di_session_ready(&s, err));
    DI_TRY(score(&s, t, di_head_at(&s.params, s.params.theta), 1, got, err));
done:
    if (s.al != NULL) di_session_close(&s);
    return st;
}

/* The run with its adapter read back, or with the vector of the .npy as head on plain e. */
static dial_status score_part(di_export_job *job, const di_export_scores *t, double *got,
                              dial_error *err)
{
    enum { NPY_HEADER = 128 };
    dial_status st = DIAL_OK;
    di_session *s = &job->run;
    const di_config *c = di_source_config(s->source);
    di_lora_options lora;
    di_params back = {0}, own = s->params;
    char *npy = NULL;
    size_t n = 0;

    if (strcmp(job->opt->to, "peft") == 0) {
        DI_TRY(di_adapter_read_config(job->al, job->tmp, c, &lora, err));
        DI_TRY(di_params_init(&back, job->al, c, &lora, err));
        DI_TRY(di_adapter_load(job->al, job->tmp, &back, err));
    } else {
        lora = own.lora;
        lora.adaptor_r = 0;
        DI_TRY(di_params_init(&back, job->al, c, &lora, err));
        if (lora.r > 0) memcpy(back.theta, own.theta, (size_t)back.head_at * sizeof *back.theta);
        DI_TRY(di_read_file(job->al, job->tmp, &npy, &n, err));
        if (n != NPY_HEADER + (size_t)own.width * sizeof(float))
            DI_FAIL_AT(err, DIAL_ERR_IO, job->tmp, NULL, "the file has %zu bytes", n);
        memcpy(di_head_at(&back, back.theta), npy + NPY_HEADER, (size_t)own.width * sizeof(float));
    }
    s->params = back;
    DI_TRY(di_session_ready(s, err));
    DI_TRY(score(s, t, di_head_at(&back, back.theta), 1, got, err));
done:
    di_session_rest(s);
    s->params = own;
    if (back.al != NULL) di_params_deinit(&back);
    di_free(job->al, npy);
    return st;
}

dial_status di_export_compare(di_export_job *job, const di_export_scores *s, json_t **out, int *ok,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const int part = strcmp(job->opt->to, "peft") == 0 || strcmp(job->opt->to, "head") == 0;
    double *got = di_new_array(job->al, (size_t)s->n, sizeof *got), worst = 0, most = 1, order = 1;
    double tolerance;

    if (got == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores");
    DI_TRY(part ? score_part(job, s, got, err) : score_model(job, s, got, err));
    for (int64_t i = 0; i < s->n; i++) {
        worst = fmax(worst, fabs(got[i] - s->reward[i]));
        most = fmax(most, fabs(s->reward[i]));
    }
    if (!di_spearman(job->al, s->reward, got, s->n, &order)) order = worst == 0;
    /* f32: the roundings of the merge (RT2, RT5); fewer bits keep the order */
    tolerance = 1e-5 * most;
    *ok = job->dtype == DI_F32 ? worst <= tolerance : order >= 0.99;
    *out = json_pack("{s:I, s:o, s:o, s:o, s:b}", "texts", (json_int_t)s->n, "max_abs_diff",
                     di_json_stat(worst), "tolerance",
                     job->dtype == DI_F32 ? di_json_stat(tolerance) : json_null(), "spearman",
                     di_json_stat(order), "ok", *ok);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_free(job->al, got);
    return st;
}
