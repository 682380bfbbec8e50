#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/head.h"
#include "train/auxiliary.h"
#include "train/gradsum.h"
#include "train/pass.h"
#include "train/sam.h"

enum { SOURCE = DI_SOURCE, TARGET = DI_TARGET, SIDES = DI_SIDES };
enum { MAX_BAD_STEPS = 3 };

struct di_trainer {
    di_device *dev;
    di_params *params;
    di_alignment *align;
    di_train_settings set;
    di_step s;
    di_auxiliary aux;
    float *reweight;        /* [source examples]; NULL: none */
    float *teacher;         /* running mean of params->theta; NULL: none */
    int64_t *near;          /* of a curriculum: [target examples] from near to far; NULL: none */
    di_sampler warm[SIDES]; /* order of the critic's warm-up */
    di_optimizer optimizer;
    di_sam sam;
    di_pass *pass;
    const di_dist *dist;
    di_gradsum sum;
    int64_t step, tokens;
    int bad_steps;
};

/* Target rows that the curriculum opens to the step to come. */
static int64_t open_rows(const di_trainer *t)
{
    const di_curriculum *c = &t->set.curriculum;

    return di_curriculum_rows(c, di_curriculum_open(c, t->step, t->set.steps),
                              t->s.side[TARGET].examples->n);
}

/* The target by its curriculum: its first bin. */
static dial_status begin_curriculum(di_trainer *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = t->set.curriculum.bins > 0 ? t->s.side[TARGET].examples->n : 0;
    di_sampler *order[] = {&t->s.side[TARGET].order, &t->warm[TARGET]};

    if (n == 0) return DIAL_OK;
    t->near = di_new_array(t->dev->al, (size_t)n, sizeof *t->near);
    if (t->near == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a curriculum");
    memcpy(t->near, t->set.near, (size_t)n * sizeof *t->near);
    for (int k = 0; k < 2; k++) {
        if (order[k]->perm == NULL) continue;
        order[k]->rank = t->near;
        order[k]->n = open_rows(t);
        di_sampler_seek(order[k], 0, 0);
    }
done:
    return st;
}

/* The sides of a step and room for their rows. */
static dial_status new_step(di_trainer *t, const di_examples *const side[DI_SIDES], dial_error *err)
{
    dial_status st = DIAL_OK;
    di_device *dev = t->dev;
    di_step *s = &t->s;
    size_t rows = 0, f = sizeof(float);
    int64_t seen = 0; /* rows of source and target */

    s->width = t->params->width;
    for (int k = 0; k < SIDES; k++) {
        if (t->set.batch[k] == 0) continue;
        s->present[k] = 1;
        DI_TRY(di_side_init(&s->side[k], dev->al, t->dist, side[k], t->set.batch[k], t->set.seed,
                            di_side_order[k], err));
        s->side[k].by_prompt = k == SOURCE && t->set.match_prompts;
        rows += (size_t)(s->side[k].cap * s->side[k].per);
        if (k == TARGET || k == SOURCE) seen = (int64_t)rows;
        if (k > TARGET || t->align == NULL) continue; /* the critic does not see it */
        DI_TRY(di_sampler_init(&t->warm[k], dev->al, side[k]->n, t->set.seed + (uint64_t)k,
                               DI_RNG_WARMUP_ORDER, err));
    }
    DI_TRY(begin_curriculum(t, err));
    s->e = dev->ops->buffer_new(dev, rows * (size_t)s->width * f);
    s->de = dev->ops->buffer_new(dev, rows * (size_t)s->width * f);
    s->r = di_new_array(dev->al, rows, f);
    s->dr = di_new_array(dev->al, rows, f);
    s->classes = t->set.loss.classes;
    if (s->classes > 0) {
        s->z = di_new_array(dev->al, rows * (size_t)s->classes, f);
        s->dz = di_new_array(dev->al, rows * (size_t)s->classes, f);
    }
    if (!s->e || !s->de || !s->r || !s->dr || (s->classes > 0 && (!s->z || !s->dz)))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu embeddings", rows);
    memset(s->r, 0, rows * f);
    DI_TRY(di_auxiliary_init(&t->aux, dev->al, &t->set, s, seen, err));
done:
    return st;
}

dial_status di_trainer_new(di_device *dev, di_decoder *decoder, di_params *params,
                           di_alignment *align, const di_train_settings *set,
                           const di_examples *const side[DI_SIDES], di_trainer **out,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trainer *t = di_zalloc(dev->al, sizeof *t);

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the trainer");
    t->dev = dev;
    t->params = params;
    t->align = align;
    t->set = *set;
    t->dist = di_dist_of(dev->env);
    DI_TRY(new_step(t, side, err));
    DI_TRY(di_optimizer_init(&t->optimizer, dev, params, set->weight_decay, set->clip, err));
    t->optimizer.head_norm_max = set->head_norm_max;
    DI_TRY(di_sam_init(&t->sam, dev, params, set->sam, err));
    DI_TRY(di_pass_new(dev, decoder, set, side, &t->pass, err));
    di_gradsum_init(&t->sum, t->dist, params, t->optimizer.g);
    if (set->teacher) {
        t->teacher = di_new_array(dev->al, (size_t)params->size, sizeof *t->teacher);
        if (t->teacher == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a teacher");
    }
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
        di_side_deinit(&t->s.side[k], dev->al);
        di_sampler_deinit(&t->warm[k]);
    }
    di_auxiliary_deinit(&t->aux);
    di_free(dev->al, t->reweight);
    di_free(dev->al, t->teacher);
    di_free(dev->al, t->near);
    di_pass_free(t->pass);
    di_optimizer_deinit(&t->optimizer);
    di_sam_deinit(&t->sam);
    dev->ops->buffer_free(dev, t->s.e);
    dev->ops->buffer_free(dev, t->s.de);
    di_free(dev->al, t->s.r);
    di_free(dev->al, t->s.dr);
    di_free(dev->al, t->s.z);
    di_free(dev->al, t->s.dz);
    di_free(dev->al, t);
}

/* Picks the next rows of side k, behind those of the sides before it. */
static void pick(di_trainer *t, int k, di_sampler *order)
{
    di_step *s = &t->s;

    if (s->present[k]) di_side_pick(&s->side[k], order);
    s->first[k + 1] = s->first[k] + (s->present[k] ? s->side[k].n_texts : 0);
}

/* Embeddings of side k, and their rewards or logits. */
static dial_status forward_side(di_trainer *t, int k, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_step *s = &t->s;
    const float *w = di_head_at(t->params, t->params->theta);

    if (!s->present[k]) return DIAL_OK;
    DI_TRY(di_pass_forward(t->pass, k, &s->side[k], s->e + s->first[k] * s->width, err));
    for (int64_t i = s->first[k]; i < s->first[k + 1]; i++) {
        const float *e = s->e + i * s->width;

        for (int64_t j = 0; j < s->classes; j++)
            s->z[i * s->classes + j] = di_reward(w + j * s->width, e, s->width);
        if (s->classes == 0) s->r[i] = di_reward(w, e, s->width);
    }
done:
    return st;
}

/* r = w.e backwards for one row: de += dr w, dw += dr e. */
static void row_back(float dr, const float *w, const float *e, int64_t c, float *de, float *dw)
{
    if (dr == 0) return; /* the target, where only the source has a loss */
    for (int64_t j = 0; j < c; j++) {
        de[j] += dr * w[j];
        dw[j] += dr * e[j];
    }
}

/* The same for all rows, and for each of their logits where the head has classes. g += . */
static void reward_back(di_trainer *t, float *g)
{
    di_step *s = &t->s;
    int64_t c = s->width;
    const float *w = di_head_at(t->params, t->params->theta);
    float *dw = di_head_at(t->params, g);

    for (int64_t i = 0; i < s->first[SIDES]; i++) {
        row_back(s->dr[i], w, s->e + i * c, c, s->de + i * c, dw);
        for (int64_t j = 0; j < s->classes; j++)
            row_back(s->dz[i * s->classes + j], w + j * c, s->e + i * c, c, s->de + i * c,
                     dw + j * c);
    }
}

/* Does anything go back through side k? next: its next-token loss does, whatever dE is. */
static int has_gradient(const di_step *s, int k, int next)
{
    const float *de = s->de + s->first[k] * s->width;
    int64_t n = (s->first[k + 1] - s->first[k]) * s->width;

    for (int64_t i = 0; i < n; i++)
        if (de[i] != 0) return 1;
    return next;
}

/* g += the gradients of all sides from de and dr, and that of the next-token loss. last: the step
 * has nothing to add after them. */
static dial_status backward(di_trainer *t, float *g, int last, int next, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_step *s = &t->s;
    int side = next && t->set.lm_weight > 0 ? t->set.lm_side : -1, end = -1;

    reward_back(t, g);
    for (int k = 0; k < SIDES; k++)
        if (has_gradient(s, k, k == side)) end = k;
    for (int k = 0; k <= end; k++)
        if (k == end || has_gradient(s, k, k == side))
            DI_TRY(di_pass_backward(t->pass, k, &s->side[k], s->de + s->first[k] * s->width,
                                    k == side, g, last && k == end ? &t->sum.hook : NULL, err));
    if (last) DI_TRY(di_gradsum_end(&t->sum, err));
done:
    return st;
}

static void zero_gradients(di_trainer *t)
{
    size_t rows = (size_t)t->s.first[SIDES];

    memset(t->s.de, 0, rows * (size_t)t->s.width * sizeof *t->s.de);
    memset(t->s.dr, 0, rows * sizeof *t->s.dr);
    if (t->s.dz != NULL) memset(t->s.dz, 0, rows * (size_t)t->s.classes * sizeof *t->s.dz);
}

/* What the alignment sees of the step. */
static di_align_step align_step(const di_trainer *t)
{
    di_align_side side[2];

    for (int k = 0; k < 2; k++) {
        const di_side *x = &t->s.side[k];

        side[k] = x->by_prompt ? (di_align_side){x->n_texts, x->n_drawn, x->drawn[0], x->drawn[1]}
                               : (di_align_side){x->n_texts, x->n_pairs, x->pair[0], x->pair[1]};
    }
    return (di_align_step){t->s.e, t->s.r, side[SOURCE], side[TARGET]};
}

/* Does side k have a loss of its own, beside the alignment? */
static int has_loss(const di_train_settings *set, int k)
{
    return k != TARGET || set->anchor > 0 || set->pseudo_weight > 0 ||
           (set->guard > 0 && set->guard_kind == DI_GUARD_CORR) ||
           (set->lm_weight > 0 && set->lm_side == TARGET) || (set->center > 0 && set->center_both);
}

/* alternate: one AdamW step on LoRA for lambda gap alone, then a new forward of the rest. */
static dial_status align_alone(di_trainer *t, double lambda, double factor, di_align_stats *a,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_align_step step = align_step(t);

    zero_gradients(t);
    di_alignment_gradient(t->align, &step, lambda, lambda > 0 ? t->s.de : NULL, t->s.dr, a);
    if (lambda <= 0) return DIAL_OK;
    DI_TRY(backward(t, t->optimizer.g, 1, 0, err));
    di_optimizer_step(&t->optimizer, DI_GROUP_LORA, t->set.lr * factor, 0);
    for (int k = 0; k < SIDES; k++)
        if (has_loss(&t->set, k)) DI_TRY(forward_side(t, k, err));
done:
    return st;
}

/*
 * optimizer.g += gradient of the source loss at theta' (train/sam.h), whose dr at theta is in the
 * step. Afterwards embeddings, rewards and activations are those of theta again, and so is theta:
 * what else the loss has is added there.
 */
static dial_status sharpen(di_trainer *t, dial_error *err)
{
    dial_status st = DIAL_OK;

    memset(t->sam.g, 0, (size_t)t->params->size * sizeof *t->sam.g);
    DI_TRY(backward(t, t->sam.g, 0, 0, err));
    di_sam_ascend(&t->sam);
    DI_TRY(forward_side(t, SOURCE, err));
    zero_gradients(t);
    di_step_loss(&t->s, SOURCE, &t->set.loss);
    DI_TRY(backward(t, t->optimizer.g, 0, 0, err));
    di_sam_return(&t->sam);
    DI_TRY(forward_side(t, SOURCE, err));
    zero_gradients(t);
done:
    di_sam_return(&t->sam); /* where a pass has failed */
    return st;
}

/* One part of a step: everything up to the gradients in optimizer.g. last: of the step's parts. */
static dial_status accumulate(di_trainer *t, int last, double lambda, double factor,
                              di_step_report *rep, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_step *s = &t->s;
    di_align_stats a = {0};
    di_loss_result source;
    di_align_step step;

    for (int k = 0; k < SIDES; k++) {
        pick(t, k, &s->side[k].order);
        rep->tokens += s->present[k] ? s->side[k].tokens : 0;
    }
    for (int k = 0; k < SIDES; k++) DI_TRY(forward_side(t, k, err));
    step = align_step(t);
    if (t->align != NULL && t->set.early_steps > 0)
        di_alignment_set_iters(t->align, t->step < t->set.early_steps ? t->set.early_iters
                                                                      : t->set.critic_iters);
    if (t->align != NULL) di_alignment_fit(t->align, &step, &a);
    if (t->align != NULL && t->set.alternate) DI_TRY(align_alone(t, lambda, factor, &a, err));
    zero_gradients(t);
    source = di_step_loss(s, SOURCE, &t->set.loss);
    if (t->sam.g != NULL) DI_TRY(sharpen(t, err));
    rep->loss_aux = di_auxiliary_loss(&t->aux, s);
    if (t->align != NULL && !t->set.alternate)
        di_alignment_gradient(t->align, &step, lambda, lambda > 0 ? s->de : NULL, s->dr, &a);
    DI_TRY(backward(t, t->optimizer.g, last, 1, err));
    if (t->set.lm_weight > 0) rep->loss_aux += di_pass_next_loss(t->pass);
    di_step_describe(s, rep);
    rep->loss_source = source.loss;
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

/* The side that is furthest behind. */
static double epoch_of(const di_trainer *t)
{
    double least = INFINITY;

    for (int k = 0; k <= TARGET; k++) {
        const di_sampler *s = &t->s.side[k].order;

        if (t->s.present[k]) least = fmin(least, (double)s->pass + (double)s->at / (double)s->n);
    }
    return least;
}

/* Running mean of the weights, decay 0.999, which a short past brings down. */
static void teach(di_trainer *t)
{
    double steps = (double)t->optimizer.t_head;
    float decay = (float)fmin(0.999, steps / (steps + 9));

    for (int64_t i = 0; i < t->params->size; i++)
        t->teacher[i] = decay * t->teacher[i] + (1 - decay) * t->params->theta[i];
}

dial_status di_trainer_step(di_trainer *t, di_step_report *report, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_train_settings *set = &t->set;
    double factor = di_schedule_factor(set->schedule, t->step, set->steps, set->warmup);
    double lambda = set->lambda * di_ramp_factor(set->ramp, t->step, set->steps, set->align_start,
                                                 set->ramp_over);
    di_step_report rep = di_step_report_empty();
    size_t g_bytes = (size_t)t->params->size * sizeof *t->optimizer.g;

    memset(t->optimizer.g, 0, g_bytes);
    if (t->near != NULL) di_sampler_open(&t->s.side[TARGET].order, open_rows(t));
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
    if (t->teacher != NULL && !rep.skipped) teach(t);
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
        for (int k = 0; k <= TARGET; k++) {
            pick(t, k, &t->warm[k]);
            DI_TRY(forward_side(t, k, err));
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

float *di_trainer_teacher(di_trainer *t)
{
    return t->teacher;
}

const int64_t *di_trainer_near(const di_trainer *t)
{
    return t->near;
}

int64_t di_trainer_pass(const di_trainer *t)
{
    const di_sampler *s = &t->s.side[SOURCE].order;

    return s->at == s->n ? s->pass + 1 : s->pass;
}

dial_status di_trainer_reweight(di_trainer *t, const float *u, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_side *s = &t->s.side[SOURCE];

    if (t->reweight == NULL)
        t->reweight = di_new_array(t->dev->al, (size_t)s->examples->n, sizeof *u);
    if (t->reweight == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for weights");
    memcpy(t->reweight, u, (size_t)s->examples->n * sizeof *u);
    s->reweight = t->reweight;
done:
    return st;
}

void di_trainer_relabel(di_trainer *t, const float *p)
{
    memcpy(t->aux.pseudo, p, (size_t)t->aux.n_pseudo * sizeof *p);
}

void di_trainer_restart(di_trainer *t)
{
    size_t bytes = (size_t)t->params->size * sizeof(float);

    memset(t->optimizer.m, 0, bytes);
    memset(t->optimizer.v, 0, bytes);
    t->optimizer.t_lora = t->optimizer.t_head = 0;
}

/* Numbers of each example, for a checkpoint; NULL gives null. */
static json_t *numbers(const float *x, int64_t n)
{
    json_t *list = x != NULL ? json_array() : json_null();
    int failed = 0;

    for (int64_t i = 0; x != NULL && i < n; i++) di_json_add(list, di_json_f32(x[i]), &failed);
    return di_json_whole(list, failed);
}

/* What numbers() wrote; *out [n]. */
static dial_status read_numbers(const json_t *list, const char *what, int64_t n, float *out,
                                const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (json_array_size(list) != (size_t)n)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume with the same data files",
                   "expected %s of %lld rows, found %zu", what, (long long)n,
                   json_array_size(list));
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)json_number_value(json_array_get(list, (size_t)i));
done:
    return st;
}

/* Order of the target's rows, and how many of them were open in the last step. */
static json_t *curriculum_state(const di_trainer *t)
{
    const di_side *s = &t->s.side[TARGET];
    json_t *near = json_array();
    int failed = 0;

    for (int64_t i = 0; i < s->examples->n; i++)
        di_json_add(near, json_integer(t->near[i]), &failed);
    return di_json_whole(json_pack("{s:I, s:o}", "open", (json_int_t)s->order.n, "near", near),
                         failed);
}

/* What curriculum_state wrote. The sampler's own numbers serve to see that every row stands there
 * once: its position is restored after this. */
static dial_status read_curriculum(di_trainer *t, const json_t *v, const char *where,
                                   dial_error *err)
{
    dial_status st = DIAL_OK;
    di_sampler *order = &t->s.side[TARGET].order;
    const json_t *near = json_object_get(v, "near");
    int64_t n = t->s.side[TARGET].examples->n,
            open = json_integer_value(json_object_get(v, "open"));

    if (json_array_size(near) != (size_t)n || open < 1 || open > n)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume with the same data files",
                   "expected the curriculum of %lld target rows, found %zu", (long long)n,
                   json_array_size(near));
    memset(order->perm, 0, (size_t)n * sizeof *order->perm);
    for (int64_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(near, (size_t)i);
        int64_t at = json_is_integer(x) ? json_integer_value(x) : -1;

        if (at < 0 || at >= n || order->perm[at]++ != 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                       "the curriculum does not name every target row once");
        t->near[i] = at;
    }
    order->n = open;
done:
    return st;
}

json_t *di_trainer_state(const di_trainer *t)
{
    int failed = 0;
    json_t *state =
        json_pack("{s:I, s:I, s:i, s:I, s:I}", "step", (json_int_t)t->step, "tokens",
                  (json_int_t)t->tokens, "bad_steps", t->bad_steps, "t_lora",
                  (json_int_t)t->optimizer.t_lora, "t_head", (json_int_t)t->optimizer.t_head);

    for (int k = 0; k < SIDES; k++)
        if (t->s.present[k])
            di_json_put(state, di_side_name[k],
                        json_pack("{s:I, s:I}", "pass", (json_int_t)t->s.side[k].order.pass, "at",
                                  (json_int_t)t->s.side[k].order.at),
                        &failed);
    if (t->align != NULL) di_json_put(state, "align", di_alignment_save(t->align), &failed);
    if (t->reweight != NULL)
        di_json_put(state, "weights", numbers(t->reweight, t->s.side[SOURCE].examples->n), &failed);
    if (t->near != NULL) di_json_put(state, "curriculum", curriculum_state(t), &failed);
    if (t->aux.pseudo != NULL)
        di_json_put(state, "pseudo", numbers(t->aux.pseudo, t->aux.n_pseudo), &failed);
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
    if (t->near != NULL) DI_TRY(read_curriculum(t, json_object_get(v, "curriculum"), where, err));
    for (int k = 0; k < SIDES; k++) {
        di_sampler *order = &t->s.side[k].order;

        if (!t->s.present[k]) continue;
        if (json_unpack(json_object_get(v, di_side_name[k]), "{s:I, s:I}", "pass", &pass, "at",
                        &at) != 0 ||
            pass < 0 || at < 0 || at > order->n)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume with the same data files",
                       "expected a position in the %s rows", di_side_name[k]);
        di_sampler_seek(order, pass, at);
    }
    if (t->align != NULL)
        DI_TRY(di_alignment_load(t->align, json_object_get(v, "align"), where, err));
    if (t->aux.pseudo != NULL)
        DI_TRY(read_numbers(json_object_get(v, "pseudo"), "pseudo-labels", t->aux.n_pseudo,
                            t->aux.pseudo, where, err));
    if (json_object_get(v, "weights") != NULL) {
        int64_t n = t->s.side[SOURCE].examples->n;

        if (t->reweight == NULL) t->reweight = di_new_array(t->dev->al, (size_t)n, sizeof(float));
        if (t->reweight == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for weights");
        DI_TRY(read_numbers(json_object_get(v, "weights"), "weights", n, t->reweight, where, err));
        t->s.side[SOURCE].reweight = t->reweight;
    }
    t->step = step;
    t->tokens = tokens;
    t->bad_steps = bad;
    t->optimizer.t_lora = t_lora;
    t->optimizer.t_head = t_head;
done:
    return st;
}
