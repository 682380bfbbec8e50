#include "train/step.h"

#include <math.h>
#include <stddef.h>

static void mean_std(const float *x, int64_t n, double *mean, double *std)
{
    double s = 0, s2 = 0;

    for (int64_t i = 0; i < n; i++) s += (double)x[i];
    s /= (double)n;
    for (int64_t i = 0; i < n; i++) s2 += ((double)x[i] - s) * ((double)x[i] - s);
    *mean = s;
    *std = sqrt(s2 / (double)n);
}

static double mean_norm(const float *e, int64_t n, int64_t c)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        double q = 0;

        for (int64_t j = 0; j < c; j++) q += (double)e[i * c + j] * (double)e[i * c + j];
        sum += sqrt(q);
    }
    return sum / (double)n;
}

di_step_report di_step_report_empty(void)
{
    double x = NAN;

    return (di_step_report){.loss = x,
                            .loss_source = x,
                            .loss_align = x,
                            .loss_aux = x,
                            .accuracy = x,
                            .margin = x,
                            .reward_chosen_mean = x,
                            .reward_rejected_mean = x,
                            .reward_min = x,
                            .reward_max = x,
                            .reward_source_mean = x,
                            .reward_source_std = x,
                            .reward_target_mean = x,
                            .reward_target_std = x,
                            .grad_norm = x,
                            .lr = x,
                            .lambda = x,
                            .embed_norm_source = x,
                            .embed_norm_target = x,
                            .critic_loss = x,
                            .w1 = x,
                            .critic_grad_norm = x,
                            .gp = x};
}

/* Rewards of the source, and of the target where it takes part. */
static void describe_rewards(const di_step *s, di_step_report *out)
{
    int64_t m = s->side[DI_SOURCE].n, n = s->side[DI_SOURCE].n_texts;
    double unused;

    if (n > m) { /* texts 0 come first in the rows */
        mean_std(s->r, m, &out->reward_chosen_mean, &unused);
        mean_std(s->r + m, n - m, &out->reward_rejected_mean, &unused);
    }
    mean_std(s->r, n, &out->reward_source_mean, &out->reward_source_std);
    out->reward_min = out->reward_max = (double)s->r[0];
    for (int64_t i = 0; i < n; i++) {
        out->reward_min = fmin(out->reward_min, (double)s->r[i]);
        out->reward_max = fmax(out->reward_max, (double)s->r[i]);
    }
    if (s->present[DI_TARGET])
        mean_std(s->r + s->first[DI_TARGET], s->side[DI_TARGET].n_texts, &out->reward_target_mean,
                 &out->reward_target_std);
}

void di_step_describe(const di_step *s, di_step_report *out)
{
    int64_t c = s->width;

    if (s->z == NULL) describe_rewards(s, out);
    out->embed_norm_source = mean_norm(s->e, s->side[DI_SOURCE].n_texts, c);
    if (s->present[DI_TARGET])
        out->embed_norm_target =
            mean_norm(s->e + s->first[DI_TARGET] * c, s->side[DI_TARGET].n_texts, c);
}

di_loss_result di_step_loss(const di_step *s, int k, const di_loss_options *o)
{
    const di_side *side = &s->side[k];
    const float *r = s->r + s->first[k];
    float *dr = s->dr + s->first[k];
    di_point_args point = {.r = r,
                           .y = side->score,
                           .weight = side->weight,
                           .n = side->n,
                           .mean = o->score_mean,
                           .sd = o->score_sd,
                           .dr = dr};

    switch (o->objective) {
    case DI_OBJECTIVE_BCE: return di_bce_loss(&point);
    case DI_OBJECTIVE_MSE: return di_mse_loss(&point);
    case DI_OBJECTIVE_CE:
        return di_ce_loss(&(di_ce_args){.z = s->z + s->first[k] * s->classes,
                                        .y = side->score,
                                        .weight = side->weight,
                                        .n = side->n,
                                        .classes = s->classes,
                                        .dz = s->dz + s->first[k] * s->classes});
    case DI_OBJECTIVE_MCQ:
        return di_mcq_loss(&(di_mcq_args){.r = r,
                                          .row_of = side->row_of,
                                          .n = side->n,
                                          .per = side->per,
                                          .weight = side->weight,
                                          .smoothing = o->smoothing,
                                          .dr = dr});
    case DI_OBJECTIVE_PAIR: break;
    }
    return di_bt_loss(&(di_bt_args){.r = r,
                                    .margin = o->use_margin ? side->margin : NULL,
                                    .weight = side->weight,
                                    .m = side->n,
                                    .smoothing = o->smoothing,
                                    .dr = dr});
}
