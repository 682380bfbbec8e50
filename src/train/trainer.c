#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/head.h"
#include "train/gradsum.h"
#include "train/pass.h"

enum { SOURCE = DI_SOURCE, TARGET = DI_TARGET, SIDES = DI_SIDES };
enum { MAX_BAD_STEPS = 3 };

struct di_trainer {
    di_device *dev;
    di_params *params;
    di_alignment *align;
    di_train_settings set;
    int64_t width;
    di_side side[SIDES];
    int n_sides;            /* 1: the target takes no part in a step */
    di_sampler warm[SIDES]; /* order of the critic's warm-up */
    di_optimizer optimizer;
    di_pass *pass;
    const di_dist *dist;
    di_gradsum sum;
    float *e, *de; /* [n_s + n_t, C] */
    float *r, *dr; /* [n_s + n_t] */
    int64_t step, tokens;
    int bad_steps;
};

dial_status di_trainer_new(di_device *dev, di_decoder *decoder, di_params *params,
                           di_alignment *align, const di_train_settings *set,
                           const di_examples *source, const di_examples *target, di_trainer **out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trainer *t = di_zalloc(dev->al, sizeof *t);
    size_t rows = 0, f = sizeof(float);

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the trainer");
    t->dev = dev;
    t->params = params;
    t->align = align;
    t->set = *set;
    t->dist = di_dist_of(dev->env);
    t->width = params->width;
    t->n_sides = di_pass_sides(set);
    for (int k = 0; k < t->n_sides; k++) {
        const di_examples *x = k == SOURCE ? source : target;
        int64_t n = k == SOURCE ? set->batch_source : set->batch_target;

        rows += 2 * (size_t)n;
        DI_TRY(di_side_init(&t->side[k], dev->al, t->dist, x, n, set->seed,
                            k == SOURCE ? DI_RNG_SOURCE_ORDER : DI_RNG_TARGET_ORDER, err));
        DI_TRY(di_sampler_init(&t->warm[k], dev->al, x->n, set->seed + (uint64_t)k,
                               DI_RNG_WARMUP_ORDER, err));
    }
    DI_TRY(di_optimizer_init(&t->optimizer, dev, params, set->weight_decay, set->clip, err));
    DI_TRY(di_pass_new(dev, decoder, set, source, target, &t->pass, err));
    di_gradsum_init(&t->sum, t->dist, params, t->optimizer.g);
    t->e = dev->ops->buffer_new(dev, rows * (size_t)t->width * f);
    t->de = dev->ops->buffer_new(dev, rows * (size_t)t->width * f);
    t->r = di_new_array(dev->al, rows, f);
    t->dr = di_new_array(dev->al, rows, f);
    if (!t->e || !t->de || !t->r || !t->dr)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu embeddings", rows);
    *out = t;
    t = NULL;
done:
    di_trainer_free(t);
    return st;
}

void di_trainer_free(di_trainer *t)
{
    di_device *dev;

    if (t == NULL) return;
    dev = t->dev;
    for (int k = 0; k < SIDES; k++) {
        di_side_deinit(&t->side[k], dev->al);
        di_sampler_deinit(&t->warm[k]);
    }
    di_pass_free(t->pass);
    di_optimizer_deinit(&t->optimizer);
    dev->ops->buffer_free(dev, t->e);
    dev->ops->buffer_free(dev, t->de);
    di_free(dev->al, t->r);
    di_free(dev->al, t->dr);
    di_free(dev->al, t);
}

/* First row of side k in e. */
static int64_t first_row(const di_trainer *t, int k)
{
    return k == SOURCE ? 0 : t->side[SOURCE].n_texts;
}

static dial_status forward_side(di_trainer *t, int k, dial_error *err)
{
    return di_pass_forward(t->pass, k, &t->side[k], t->e + first_row(t, k) * t->width, err);
}

/* Adds the LoRA gradient of side k from t->de. last: the step has nothing to add after it. */
static dial_status backward_side(di_trainer *t, int k, int last, dial_error *err)
{
    return di_pass_backward(t->pass, k, &t->side[k], t->de + first_row(t, k) * t->width,
                            t->optimizer.g, last ? &t->sum.hook : NULL, err);
}

static void rewards_of(di_trainer *t, int k)
{
    const float *w = di_head_at(t->params, t->params->theta);

    for (int64_t i = 0; i < t->side[k].n_texts; i++) {
        int64_t row = first_row(t, k) + i;

        t->r[row] = di_reward(w, t->e + row * t->width, t->width);
    }
}

/*
 * Bradley-Terry on side k: dr of its rows, "=". Smoothing, centring and margins act on the source
 * and, for the oracle, alike on the target.
 */
static di_bt_result preference(di_trainer *t, int k)
{
    di_side *s = &t->side[k];
    int64_t row = first_row(t, k);

    return di_bt_loss(&(di_bt_args){.r = t->r + row,
                                    .margin = t->set.use_margin ? s->margin : NULL,
                                    .weight = s->weight,
                                    .m = s->n,
                                    .smoothing = t->set.smoothing,
                                    .center = t->set.center,
                                    .dr = t->dr + row});
}

/* r = w.e backwards for the rows of side k: dE += dr w^T, dw += E^T dr. */
static void reward_back(di_trainer *t, int k)
{
    int64_t first = first_row(t, k), c = t->width;
    const float *w = di_head_at(t->params, t->params->theta);
    float *dw = di_head_at(t->params, t->optimizer.g);

    for (int64_t i = first; i < first + t->side[k].n_texts; i++) {
        if (t->dr[i] == 0) continue; /* the target, where only the source has a loss */
        for (int64_t j = 0; j < c; j++) {
            t->de[i * c + j] += t->dr[i] * w[j];
            dw[j] += t->dr[i] * t->e[i * c + j];
        }
    }
}

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

/* Rewards and norms of the step, for the journal. */
static void describe(const di_trainer *t, di_step_report *rep)
{
    const di_side *s = &t->side[SOURCE];
    int64_t m = s->n;
    double unused;

    mean_std(t->r, m, &rep->reward_chosen_mean, &unused);
    mean_std(t->r + m, m, &rep->reward_rejected_mean, &unused);
    mean_std(t->r, 2 * m, &rep->reward_source_mean, &rep->reward_source_std);
    rep->reward_min = rep->reward_max = (double)t->r[0];
    for (int64_t i = 0; i < 2 * m; i++) {
        rep->reward_min = fmin(rep->reward_min, (double)t->r[i]);
        rep->reward_max = fmax(rep->reward_max, (double)t->r[i]);
    }
    rep->embed_norm_source = mean_norm(t->e, 2 * m, t->width);
    if (t->n_sides == 1) return;
    mean_std(t->r + 2 * m, t->side[TARGET].n_texts, &rep->reward_target_mean,
             &rep->reward_target_std);
    rep->embed_norm_target = mean_norm(t->e + 2 * m * t->width, t->side[TARGET].n_texts, t->width);
}

static di_step_report empty_report(void)
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

static void zero_gradients(di_trainer *t)
{
    size_t rows = (size_t)(first_row(t, TARGET) + t->side[TARGET].n_texts);

    memset(t->de, 0, rows * (size_t)t->width * sizeof *t->de);
    memset(t->dr, 0, rows * sizeof *t->dr);
}

/* What the alignment sees of the step. */
static di_align_step align_step(const di_trainer *t)
{
    di_align_side side[SIDES];

    for (int k = 0; k < SIDES; k++)
        side[k] = (di_align_side){t->side[k].n_texts, t->side[k].n, t->side[k].second};
    return (di_align_step){t->e, t->r, side[SOURCE], side[TARGET]};
}

/* alternate: one AdamW step on LoRA for lambda gap alone, then a new forward of the source. */
static dial_status align_alone(di_trainer *t, double lambda, double factor, di_align_stats *a,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_align_step step = align_step(t);

    zero_gradients(t);
    di_alignment_gradient(t->align, &step, lambda, lambda > 0 ? t->de : NULL, t->dr, a);
    if (lambda <= 0) return DIAL_OK;
    for (int k = 0; k < t->n_sides; k++) reward_back(t, k);
    DI_TRY(backward_side(t, SOURCE, 0, err));
    DI_TRY(backward_side(t, TARGET, 1, err));
    DI_TRY(di_gradsum_end(&t->sum, err));
    di_optimizer_step(&t->optimizer, DI_GROUP_LORA, t->set.lr * factor, 0);
    DI_TRY(forward_side(t, SOURCE, err));
    rewards_of(t, SOURCE);
done:
    return st;
}

/* One part of a step: everything up to the gradients in optimizer.g. last: of the step's parts. */
static dial_status accumulate(di_trainer *t, int last, double lambda, double factor,
                              di_step_report *rep, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_align_stats a = {0};
    di_bt_result source, target = {0};
    di_align_step step;
    int both = t->set.method == DI_METHOD_ORACLE ||
               (t->align != NULL && !t->set.alternate && lambda > 0); /* sides to go back through */

    for (int k = 0; k < t->n_sides; k++) {
        di_side_pick(&t->side[k], &t->side[k].order);
        rep->tokens += t->side[k].tokens;
    }
    for (int k = 0; k < t->n_sides; k++) DI_TRY(forward_side(t, k, err));
    for (int k = 0; k < t->n_sides; k++) rewards_of(t, k);
    step = align_step(t);
    if (t->align != NULL) di_alignment_fit(t->align, &step, &a);
    if (t->align != NULL && t->set.alternate) DI_TRY(align_alone(t, lambda, factor, &a, err));
    zero_gradients(t);
    source = preference(t, SOURCE);
    if (t->set.method == DI_METHOD_ORACLE) target = preference(t, TARGET);
    if (t->align != NULL && !t->set.alternate)
        di_alignment_gradient(t->align, &step, lambda, lambda > 0 ? t->de : NULL, t->dr, &a);
    for (int k = 0; k < t->n_sides; k++) reward_back(t, k);
    DI_TRY(backward_side(t, SOURCE, last && !both, err));
    if (both) DI_TRY(backward_side(t, TARGET, last, err));
    if (last) DI_TRY(di_gradsum_end(&t->sum, err));
    describe(t, rep);
    rep->loss_source = source.loss;
    rep->loss_aux = source.aux + target.loss + target.aux;
    rep->accuracy = source.accuracy;
    rep->margin = source.margin;
    rep->ties = source.ties;
    rep->loss = rep->loss_source + rep->loss_aux;
    if (t->align != NULL) {
        rep->loss_align = a.loss;
        rep->loss += lambda * a.loss;
        rep->w1 = a.w1;
        rep->gp = a.gp;
        rep->critic_loss = a.critic_loss;
        rep->critic_grad_norm = a.critic_grad_norm;
    }
done:
    return st;
}

static double epoch_of(const di_trainer *t)
{
    const di_sampler *s = &t->side[SOURCE].order;
    double source = (double)s->pass + (double)s->at / (double)s->n;

    if (t->n_sides == 1) return source;
    s = &t->side[TARGET].order;
    return fmin(source, (double)s->pass + (double)s->at / (double)s->n);
}

dial_status di_trainer_step(di_trainer *t, di_step_report *report, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_train_settings *set = &t->set;
    double factor = di_schedule_factor(set->schedule, t->step, set->steps, set->warmup);
    double lambda = set->lambda * di_ramp_factor(set->ramp, t->step, set->steps, set->ramp_over);
    di_step_report rep = empty_report();
    size_t g_bytes = (size_t)t->params->size * sizeof *t->optimizer.g;

    memset(t->optimizer.g, 0, g_bytes);
    for (int p = 0; p < set->parts && st == DIAL_OK; p++)
        st = accumulate(t, p + 1 == set->parts, lambda, factor, &rep, err);
    if (st != DIAL_OK && st != DIAL_ERR_NUMERIC) goto done;
    rep.skipped = st != DIAL_OK || !isfinite(rep.loss);
    if (rep.skipped)
        memset(t->optimizer.g, 0, g_bytes);
    else
        rep.grad_norm = di_optimizer_step(&t->optimizer, DI_GROUP_LORA | DI_GROUP_HEAD,
                                          set->lr * factor, set->head_lr * factor);
    rep.skipped = rep.skipped || !isfinite(rep.grad_norm);
    st = DIAL_OK;
    t->bad_steps = rep.skipped ? t->bad_steps + 1 : 0;
    t->tokens += rep.tokens;
    rep.step = ++t->step;
    rep.epoch = epoch_of(t);
    rep.lr = set->lr * factor;
    rep.lambda = t->align != NULL ? lambda : NAN;
    *report = rep;
    if (t->bad_steps >= MAX_BAD_STEPS)
        DI_FAIL_AT(err, DIAL_ERR_NUMERIC, DI_FMT("step %lld", (long long)t->step),
                   "lower --lr (or --lambda), or use --dtype f32; the last checkpoint is whole",
                   "loss or gradient is not finite in %d steps running", MAX_BAD_STEPS);
done:
    return st;
}

dial_status di_trainer_warm_critic(di_trainer *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_align_stats a;
    di_align_step step;

    if (t->align == NULL) return DIAL_OK;
    for (int64_t i = 0; i < t->set.critic_warmup; i++) {
        int stop = di_stop_asked(t->dev->env);

        DI_TRY(di_dist_any(t->dist, &stop, err));
        if (stop)
            DI_FAIL(err, DIAL_INTERRUPTED, "stopped in the critic's warm-up; nothing to save yet");
        for (int k = 0; k < t->n_sides; k++) {
            di_side_pick(&t->side[k], &t->warm[k]);
            DI_TRY(forward_side(t, k, err));
            rewards_of(t, k);
        }
        step = align_step(t);
        di_alignment_fit(t->align, &step, &a);
        if (t->dev->env != NULL && t->dev->env->progress != NULL)
            t->dev->env->progress(t->dev->env->ctx, &(dial_progress){.what = "critic warm-up",
                                                                     .done = i + 1,
                                                                     .total = t->set.critic_warmup,
                                                                     .loss = NAN,
                                                                     .accuracy = NAN,
                                                                     .w1 = -a.critic_loss,
                                                                     .tokens_per_second = NAN,
                                                                     .seconds_left = NAN});
    }
done:
    return st;
}

int64_t di_trainer_steps_done(const di_trainer *t)
{
    return t->step;
}

di_params *di_trainer_params(di_trainer *t)
{
    return t->params;
}

di_optimizer *di_trainer_optimizer(di_trainer *t)
{
    return &t->optimizer;
}

di_alignment *di_trainer_alignment(di_trainer *t)
{
    return t->align;
}

static const char *side_name(int k)
{
    return k == SOURCE ? "source" : "target";
}

json_t *di_trainer_state(const di_trainer *t)
{
    int failed = 0;
    json_t *state =
        json_pack("{s:I, s:I, s:i, s:I, s:I}", "step", (json_int_t)t->step, "tokens",
                  (json_int_t)t->tokens, "bad_steps", t->bad_steps, "t_lora",
                  (json_int_t)t->optimizer.t_lora, "t_head", (json_int_t)t->optimizer.t_head);

    for (int k = 0; k < t->n_sides; k++)
        di_json_put(state, side_name(k),
                    json_pack("{s:I, s:I}", "pass", (json_int_t)t->side[k].order.pass, "at",
                              (json_int_t)t->side[k].order.at),
                    &failed);
    if (t->align != NULL) di_json_put(state, "align", di_alignment_save(t->align), &failed);
    return di_json_whole(state, failed);
}

dial_status di_trainer_restore(di_trainer *t, const json_t *state, const char *where,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *v = (json_t *)(uintptr_t)state;
    json_int_t step, tokens, t_lora, t_head, pass, at;
    int bad;

    if (json_unpack(v, "{s:I, s:I, s:i, s:I, s:I}", "step", &step, "tokens", &tokens, "bad_steps",
                    &bad, "t_lora", &t_lora, "t_head", &t_head) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                   "expected step, tokens, bad_steps, t_lora and t_head");
    for (int k = 0; k < t->n_sides; k++) {
        if (json_unpack(json_object_get(v, side_name(k)), "{s:I, s:I}", "pass", &pass, "at", &at) !=
                0 ||
            pass < 0 || at < 0 || at > t->side[k].order.n)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume with the same data files",
                       "expected a position in the %s rows", side_name(k));
        di_sampler_seek(&t->side[k].order, pass, at);
    }
    if (t->align != NULL)
        DI_TRY(di_alignment_load(t->align, json_object_get(v, "align"), where, err));
    t->step = step;
    t->tokens = tokens;
    t->bad_steps = bad;
    t->optimizer.t_lora = t_lora;
    t->optimizer.t_head = t_head;
done:
    return st;
}
