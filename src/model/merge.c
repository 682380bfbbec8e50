#include "model/merge.h"

#include <string.h>

#include "base/error.h"

static dial_status check_alike(const di_params *const *run, int n, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_lora_options *a = &run[0]->lora, *b;

    for (int k = 1; k < n; k++) {
        int trained;

        b = &run[k]->lora;
        trained = (a->r > 0) == (b->r > 0) && (a->adaptor_r > 0) == (b->adaptor_r > 0);
        if (trained && a->adaptor_tanh == b->adaptor_tanh &&
            (a->r == 0 || (a->targets == b->targets && a->first_layer == b->first_layer &&
                           a->end_layer == b->end_layer)))
            continue;
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("run %d", k + 1),
                   "merge runs of one set of --lora-targets, --lora-layers and --adaptor",
                   "what was trained differs from the first run");
    }
done:
    return st;
}

/* Stacks the rows of A, or the columns of B times its factor, of parameter i of all runs. */
static void stack(const di_params *const *run, const double *share, int n, int i,
                  const di_params *out)
{
    const di_param *to = &out->param[i];
    int64_t at = 0;

    for (int k = 0; k < n; k++) {
        const di_param *from = &run[k]->param[i];
        const float *x = run[k]->theta + from->at;
        double scale = to->layer == DI_ADAPTOR ? 1 : (double)di_lora_scale(&run[k]->lora);
        float *y = out->theta + to->at;

        if (!to->is_b) {
            memcpy(y + at * to->cols, x, (size_t)(from->rows * from->cols) * sizeof *y);
            at += from->rows;
            continue;
        }
        for (int64_t r = 0; r < from->rows; r++)
            for (int64_t c = 0; c < from->cols; c++)
                y[r * to->cols + at + c] =
                    (float)(share[k] * scale * (double)x[r * from->cols + c]);
        at += from->cols;
    }
}

dial_status di_params_merge(const di_alloc *al, const di_config *c, const di_params *const *run,
                            const double *share, int n, int head, di_params *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_lora_options lora = run[0]->lora;
    di_params p = {.al = al};

    DI_TRY(check_alike(run, n, err));
    lora.r = lora.adaptor_r = 0;
    for (int k = 0; k < n; k++) {
        lora.r += run[k]->lora.r;
        lora.adaptor_r += run[k]->lora.adaptor_r;
    }
    lora.alpha = lora.r > 0 ? (float)lora.r : lora.alpha; /* scale 1: B carries each run's own */
    lora.rslora = 0;
    DI_TRY(di_params_init(&p, al, c, &lora, err));
    for (int i = 0; i < p.n; i++)
        if (p.param[i].layer != DI_HEAD) stack(run, share, n, i, &p);
    for (int64_t j = 0; j < p.width; j++) {
        double w = 0;

        for (int k = 0; k < n; k++)
            w += (head < 0 ? share[k] : k == head) * (double)di_head_at(run[k], run[k]->theta)[j];
        di_head_at(&p, p.theta)[j] = (float)w;
    }
    *out = p;
    p = (di_params){.al = al};
done:
    di_params_deinit(&p);
    return st;
}
