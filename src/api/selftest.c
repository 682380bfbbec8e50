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
