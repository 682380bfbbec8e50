/* The self-test of a run: texts whose scores were saved at the end of the training. */
#include <math.h>
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "model/head.h"

dial_status di_session_selftest(di_session *s, int64_t *n, double *worst, int *ok, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *saved = json_object_get(s->run, "selftest"), *text;
    const di_device *dev = s->lender != NULL ? &s->lender->dev : &s->dev;
    di_text_scratch scratch = {.al = s->al};
    float *e = di_new_array(s->al, (size_t)s->params.width, sizeof *e);
    size_t i;
    const char *dtype = json_string_value(json_object_get(saved, "dtype"));
    const char *weights = json_string_value(json_object_get(saved, "weights"));
    int same =
        !s->int8 && dtype != NULL && strcmp(dtype, dev->act == DI_BF16 ? "bf16" : "f32") == 0;
    int lossy = weights != NULL && strcmp(weights, "f32") != 0;
    double most = 0;

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    *worst = 0;
    *n = (int64_t)json_array_size(json_object_get(saved, "texts"));
    json_array_foreach (json_object_get(saved, "texts"), i, text) {
        const char *string = json_string_value(json_object_get(text, "text"));
        di_text t = {.prompt = "",
                     .response = string,
                     .response_size = json_string_length(json_object_get(text, "text")),
                     .rendered = 1};
        const int32_t *ids;
        unsigned flags;
        di_seq_view view;
        double was = json_number_value(json_object_get(text, "score"));

        DI_TRY(di_text_encode(&s->policy, s->tok, &t, &scratch, &ids, &view.n, &flags, err));
        view.id = ids;
        DI_TRY(di_embed_texts(s->embedder, &view, NULL, 1, "self-test", e, err));
        most = fmax(most, fabs(was));
        *worst =
            fmax(*worst, fabs((double)di_reward_sum(di_head_at(&s->params, s->params.theta),
                                                    di_head_rows(&s->params), e, s->params.width) -
                              was));
    }
    /*
     * Another dtype than that of the scores rounds differently: 2^-7 of a reward near 4. In an
     * export other things are rounded too (LoRA and base in one, weights in few bits): a twentieth
     * tells it from another model. In 8 bits rewards move by 0.09 to 0.21 of their standard
     * deviation (docs/performance.md): the largest of a few texts by a quarter of the largest
     * reward.
     */
    *ok = *worst <= (s->int8          ? 0.03 + 0.25 * most
                     : same && !lossy ? 1e-4
                     : s->merged      ? 0.03 + 0.05 * most
                                      : 0.03);
done:
    di_text_scratch_deinit(&scratch);
    di_free(s->al, e);
    return st;
}

dial_status di_session_renew_selftest(di_session *s, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *test = json_deep_copy(json_object_get(s->run, "selftest")), *text;
    float *e = di_new_array(s->al, (size_t)s->params.width, sizeof *e);
    int32_t *id = NULL;
    int failed = 0;
    size_t i;

    if (test == NULL || e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    json_array_foreach (json_object_get(test, "texts"), i, text) {
        const json_t *ids = json_object_get(text, "ids");
        di_seq_view view = {NULL, (int64_t)json_array_size(ids)};

        di_free(s->al, id);
        id = di_new_array(s->al, (size_t)view.n, sizeof *id);
        if (id == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
        for (int64_t k = 0; k < view.n; k++)
            id[k] = (int32_t)json_integer_value(json_array_get(ids, (size_t)k));
        view.id = id;
        DI_TRY(di_embed_texts(s->embedder, &view, NULL, 1, "self-test", e, err));
        di_json_put(
            text, "score",
            di_json_f32(di_reward(di_head_at(&s->params, s->params.theta), e, s->params.width)),
            &failed);
    }
    di_json_put(test, "backend", json_string(s->dev.ops->name), &failed);
    di_json_put(test, "dtype", json_string(s->dev.act == DI_BF16 ? "bf16" : "f32"), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    *out = json_incref(test);
done:
    json_decref(test);
    di_free(s->al, id);
    di_free(s->al, e);
    return st;
}
