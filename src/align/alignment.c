#include "align/alignment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { SCALE_ROWS = 1024, MAX_PARTS = 2, JUDGED = 64 }; /* JUDGED: pairs of one pass */

/* One method and the rows that it gets. */
typedef struct part {
    di_align *method;
    int on_delta;
    double weight; /* of its loss in the sum */
} part;

struct di_alignment {
    di_device *dev;
    di_alignment_options opt;
    di_scale scale;
    part part[MAX_PARTS];
    int n_parts;
    di_scale delta_scale; /* of pair differences, after that of the embeddings */
    float *z, *dz;        /* [max_rows, C] scaled embeddings */
    float *x, *dx;        /* [max_rows, C] made of pair differences: at most 2M rows of 2M texts */
    float *margin, *dmargin; /* [max_rows] */
    float *turn;             /* [max_rows] x = turn delta; rewards: |m| = turn m */
};

/* Of a row that is made of a pair difference. */
static int64_t delta_width(const di_alignment_options *opt)
{
    return opt->delta_kind == DI_DELTA_REWARD ? 1 : opt->width;
}

dial_status di_alignment_new(di_device *dev, const di_alignment_options *opt, di_align *main,
                             di_align *beside, di_alignment **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_alignment *a = di_zalloc(dev->al, sizeof *a);
    size_t rows = (size_t)opt->max_rows, block = rows * (size_t)opt->width;

    if (a == NULL) {
        main->method->free(main);
        if (beside != NULL) beside->method->free(beside);
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the alignment");
    }
    a->dev = dev;
    a->opt = *opt;
    a->part[a->n_parts++] = (part){main, opt->on_delta, 1};
    if (beside != NULL) a->part[a->n_parts++] = (part){beside, 0, opt->share};
    DI_TRY(di_scale_init(&a->scale, dev->al, opt->scale, opt->width, err));
    DI_TRY(di_scale_init(&a->delta_scale, dev->al,
                         opt->scale == DI_SCALE_NONE ? DI_SCALE_NONE : DI_SCALE_EMA,
                         delta_width(opt), err));
    a->z = di_new_array(dev->al, block, sizeof *a->z);
    a->dz = di_new_array(dev->al, block, sizeof *a->dz);
    a->x = di_new_array(dev->al, block, sizeof *a->x);
    a->dx = di_new_array(dev->al, block, sizeof *a->dx);
    a->margin = di_new_array(dev->al, rows, sizeof *a->margin);
    a->dmargin = di_new_array(dev->al, rows, sizeof *a->dmargin);
    a->turn = di_new_array(dev->al, rows, sizeof *a->turn);
    if (!a->z || !a->dz || !a->x || !a->dx || !a->margin || !a->dmargin || !a->turn)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to align %zu rows", rows);
    *out = a;
    a = NULL;
done:
    di_alignment_free(a);
    return st;
}

void di_alignment_free(di_alignment *a)
{
    void *own[7];
    const di_alloc *al;

    if (a == NULL) return;
    al = a->dev->al;
    memcpy(own, (void *[]){a->z, a->dz, a->x, a->dx, a->margin, a->dmargin, a->turn}, sizeof own);
    for (int k = 0; k < a->n_parts; k++) a->part[k].method->method->free(a->part[k].method);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) di_free(al, own[i]);
    di_scale_deinit(&a->scale, al);
    di_scale_deinit(&a->delta_scale, al);
    di_free(al, a);
}

int64_t di_alignment_scale_rows(const di_alignment *a)
{
    return a->opt.scale == DI_SCALE_COORD ? SCALE_ROWS : 0;
}

void di_alignment_fit_scale(di_alignment *a, const float *e, int64_t n)
{
    di_scale_fit(&a->scale, e, n);
}

/* Of pair p in its order (copy 0) or the other (copy 1, symmetric rows alone): the factor of its
 * difference. */
static float turn_of(di_delta_kind kind, int is_target, int copy, float margin)
{
    switch (kind) {
    case DI_DELTA_ORIENTED: return is_target ? tanhf(margin / 2) : 1;
    case DI_DELTA_REWARD: return margin < 0 ? -1 : 1;
    case DI_DELTA_SYM: break;
    }
    return copy == 0 ? 1 : -1;
}

/*
 * Rows of a side behind the `at` rows that are there. Symmetric: delta_p at row p of the M and
 * -delta_p at row M + p, margins likewise. z and r are the side's own rows. Returns how many.
 */
static int64_t differences(di_alignment *a, int is_target, const di_align_side *side,
                           const float *z, const float *r, int64_t at)
{
    di_delta_kind kind = a->opt.delta_kind;
    int64_t c = a->opt.width, w = delta_width(&a->opt), m = side->pairs;
    int copies = kind == DI_DELTA_SYM ? 2 : 1;

    for (int64_t p = 0; p < copies * m; p++) {
        int64_t i = side->first[p % m], j = side->second[p % m], row = at + p;
        float margin = r[i] - r[j], turn = turn_of(kind, is_target, p >= m, margin);

        a->turn[row] = turn;
        a->margin[row] = turn * margin;
        if (kind == DI_DELTA_REWARD) a->x[row] = turn * margin;
        for (int64_t n = 0; n < w && kind != DI_DELTA_REWARD; n++)
            a->x[row * w + n] = turn * (z[i * c + n] - z[j * c + n]);
    }
    return copies * m;
}

/* The transpose of `differences`: dz and dr of the side += , turns being constants. */
static void differences_back(const di_alignment *a, const di_align_side *side, int64_t at,
                             float *dz, float *dr)
{
    di_delta_kind kind = a->opt.delta_kind;
    int64_t c = a->opt.width, m = side->pairs;
    const float *dx = a->dx + at * delta_width(&a->opt), *turn = a->turn + at;
    const float *dm = kind == DI_DELTA_REWARD ? dx : a->dmargin + at;
    int both = kind == DI_DELTA_SYM;

    for (int64_t p = 0; p < m; p++) {
        int64_t i = side->first[p], j = side->second[p];
        float d = turn[p] * dm[p] + (both ? turn[m + p] * dm[m + p] : 0);

        dr[i] += d;
        dr[j] -= d;
        for (int64_t n = 0; n < c && kind != DI_DELTA_REWARD; n++) {
            d = turn[p] * dx[p * c + n] + (both ? turn[m + p] * dx[(m + p) * c + n] : 0);
            dz[i * c + n] += d;
            dz[j * c + n] -= d;
        }
    }
}

/*
 * Rows of part p, from a->z. n_s or n_t 0: this step has nothing for it. Differences are divided by
 * their running rms norm s: where a pair differs in one word they are short, and a critic whose
 * inputs are short is a straight line, which is blind to symmetric rows. The loss is s times that
 * of the divided rows, so that it is still a distance of the differences: W1(delta) = s W1(delta /
 * s). observe: the step counts in s.
 */
static di_align_rows rows_of(di_alignment *a, const part *p, const di_align_step *step, int observe)
{
    int64_t c = a->opt.width, n_s = step->source.rows;
    di_align_rows rows = {a->z, n_s, step->target.rows, NULL};

    if (!p->on_delta) return rows;
    rows.x = a->x;
    rows.margin = a->opt.delta_kind == DI_DELTA_SYM ? a->margin : NULL;
    rows.n_s = differences(a, 0, &step->source, a->z, step->r, 0);
    rows.n_t = differences(a, 1, &step->target, a->z + n_s * c, step->r + n_s, rows.n_s);
    if (observe) di_scale_observe(&a->delta_scale, a->x, rows.n_s + rows.n_t);
    di_scale_apply(&a->delta_scale, a->x, rows.n_s + rows.n_t, a->x);
    return rows;
}

void di_alignment_set_iters(di_alignment *a, int iters)
{
    for (int k = 0; k < a->n_parts; k++) {
        di_align *m = a->part[k].method;

        if (m->method->set_iters != NULL) m->method->set_iters(m, iters);
    }
}

void di_alignment_fit(di_alignment *a, const di_align_step *step, di_align_stats *stats)
{
    int64_t n = step->source.rows + step->target.rows;

    di_scale_observe(&a->scale, step->e, n);
    di_scale_apply(&a->scale, step->e, n, a->z);
    for (int k = 0; k < a->n_parts; k++) {
        di_align_rows rows = rows_of(a, &a->part[k], step, 1);
        di_align_stats own = {.w1 = NAN, .critic_loss = NAN, .gp = NAN, .critic_grad_norm = NAN};
        di_align *method = a->part[k].method;

        if (method->method->fit != NULL && rows.n_s > 0 && rows.n_t > 0)
            method->method->fit(method, &rows, &own);
        if (k == 0) *stats = own;
    }
}

/* Adds what part p gives to dz and dr; returns its loss. */
static double part_gradient(di_alignment *a, const part *p, const di_align_step *step,
                            double lambda, int wanted, float *dr, di_align_stats *stats)
{
    di_align_rows rows = rows_of(a, p, step, 0);
    int64_t c = a->opt.width, n = rows.n_s + rows.n_t, n_s = step->source.rows;
    float *dmargin = wanted && rows.margin != NULL ? a->dmargin : NULL;
    float *dx = p->on_delta ? a->dx : a->dz;
    double weight = p->weight * (p->on_delta ? di_scale_norm(&a->delta_scale) : 1);

    if (rows.n_s == 0 || rows.n_t == 0) return 0;
    if (wanted && p->on_delta) {
        memset(a->dx, 0, (size_t)(n * delta_width(&a->opt)) * sizeof *a->dx);
        memset(a->dmargin, 0, (size_t)n * sizeof *a->dmargin);
    }
    p->method->method->gradient(p->method, &rows, lambda * weight, wanted ? dx : NULL, dmargin,
                                stats);
    if (wanted && p->on_delta) {
        di_scale_apply(&a->delta_scale, a->dx, n, a->dx); /* a factor: its own transpose */
        differences_back(a, &step->source, 0, a->dz, dr);
        differences_back(a, &step->target, rows.n_s, a->dz + n_s * c, dr + n_s);
    }
    stats->w1 *= weight / p->weight;
    return weight * stats->loss;
}

void di_alignment_gradient(di_alignment *a, const di_align_step *step, double lambda, float *de,
                           float *dr, di_align_stats *stats)
{
    int64_t n = step->source.rows + step->target.rows;
    double loss = 0;

    di_scale_apply(&a->scale, step->e, n, a->z);
    memset(a->dz, 0, (size_t)(n * a->opt.width) * sizeof *a->dz);
    for (int k = 0; k < a->n_parts; k++) {
        di_align_stats own = *stats;

        loss += part_gradient(a, &a->part[k], step, lambda, de != NULL, dr, &own);
        if (k == 0) *stats = own;
    }
    stats->loss = loss;
    if (de != NULL) di_scale_pull_back(&a->scale, step->e, n, a->dz, de);
}

/* Sums over the critic's values in one domain. */
typedef struct spread {
    double sum, squares;
    int64_t n;
} spread;

/* Values of main's critic on what a step makes of such pairs: rows of their differences, or their
 * texts. e [2n, C], r [2n]. */
static spread judge_side(di_alignment *a, int is_target, const float *e, const float *r, int64_t n)
{
    const part *p = &a->part[0];
    int32_t first[JUDGED], second[JUDGED];
    di_align_side side = {.first = first, .second = second};
    int64_t c = a->opt.width, most = a->opt.max_rows / 2 < JUDGED ? a->opt.max_rows / 2 : JUDGED;
    spread s = {.n = 0};

    for (int32_t i = 0; i < JUDGED; i++) {
        first[i] = 2 * i;
        second[i] = 2 * i + 1;
    }
    for (int64_t at = 0; at < n; at += most) {
        int64_t rows = 2 * (side.pairs = at + most < n ? most : n - at);
        const float *x = a->z;

        di_scale_apply(&a->scale, e + 2 * at * c, rows, a->z);
        if (p->on_delta) {
            rows = differences(a, is_target, &side, a->z, r + 2 * at, 0);
            di_scale_apply(&a->delta_scale, a->x, rows, a->x);
            x = a->x;
        }
        p->method->method->judge(p->method, x, rows, a->dmargin);
        for (int64_t i = 0; i < rows; i++) {
            s.sum += (double)a->dmargin[i];
            s.squares += (double)a->dmargin[i] * (double)a->dmargin[i];
        }
        s.n += rows;
    }
    return s;
}

int di_alignment_judge(di_alignment *a, const di_align_pairs *pairs, double *gap, double *sd)
{
    double unit = a->part[0].on_delta ? di_scale_norm(&a->delta_scale) : 1, within = 0;
    spread side[2];

    if (a->part[0].method->method->judge == NULL) return 0;
    side[0] = judge_side(a, 0, pairs->e_s, pairs->r_s, pairs->n_s);
    side[1] = judge_side(a, 1, pairs->e_t, pairs->r_t, pairs->n_t);
    for (int k = 0; k < 2; k++)
        within += fmax(0, side[k].squares - side[k].sum * side[k].sum / (double)side[k].n);
    *gap = unit * (side[0].sum / (double)side[0].n - side[1].sum / (double)side[1].n);
    *sd = unit * sqrt(within / fmax((double)(side[0].n + side[1].n - 2), 1));
    return 1;
}

int di_alignment_tensors(di_alignment *a, di_align_tensor *out, int cap)
{
    int n = 0;

    for (int k = 0; k < a->n_parts; k++) {
        di_align *m = a->part[k].method;
        int own = m->method->tensors != NULL ? m->method->tensors(m, out + n, cap - n) : 0;

        for (int i = n; i < n + own && k > 0; i++) { /* critic.x of the second is critic_e.x */
            char *dot = strchr(out[i].name, '.');
            char rest[sizeof out[i].name];

            snprintf(rest, sizeof rest, "%s", dot != NULL ? dot : "");
            if (dot != NULL)
                snprintf(dot, sizeof out[i].name - (size_t)(dot - out[i].name), "_e%.50s", rest);
        }
        n += own;
    }
    if (a->opt.scale == DI_SCALE_COORD && n + 2 <= cap) {
        out[n++] = (di_align_tensor){"scale.mean", a->scale.mu, NULL, NULL, a->opt.width, 0};
        out[n++] = (di_align_tensor){"scale.sd", a->scale.sd, NULL, NULL, a->opt.width, 0};
    }
    if (a->opt.on_delta && a->delta_scale.kind == DI_SCALE_EMA && n + 1 <= cap)
        out[n++] = (di_align_tensor){"scale.delta", &a->delta_scale.s2, NULL, NULL, 1, 0};
    if (a->opt.scale == DI_SCALE_EMA && n + 1 <= cap)
        out[n++] = (di_align_tensor){"scale.square", &a->scale.s2, NULL, NULL, 1, 0};
    return n;
}

json_t *di_alignment_save(const di_alignment *a)
{
    json_t *list = json_array();
    int failed = 0;

    for (int k = 0; k < a->n_parts; k++) {
        const di_align *m = a->part[k].method;

        di_json_add(list, m->method->save != NULL ? m->method->save(m) : json_object(), &failed);
    }
    return di_json_whole(list, failed);
}

dial_status di_alignment_load(di_alignment *a, const json_t *state, const char *where,
                              dial_error *err)
{
    dial_status st = DIAL_OK;

    if (json_array_size(state) != (size_t)a->n_parts)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                   "expected the state of %d alignment methods, found %zu", a->n_parts,
                   json_array_size(state));
    for (int k = 0; k < a->n_parts; k++) {
        di_align *m = a->part[k].method;

        if (m->method->load != NULL)
            DI_TRY(m->method->load(m, json_array_get(state, (size_t)k), where, err));
    }
done:
    return st;
}
