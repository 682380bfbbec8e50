#include "train/auxiliary.h"

#include <string.h>

#include "base/error.h"
#include "train/anchor.h"
#include "train/centring.h"
#include "train/length_guard.h"
#include "train/parallel.h"
#include "train/pseudo.h"

dial_status di_auxiliary_init(di_auxiliary *a, const di_alloc *al, const di_train_settings *set,
                              const di_step *s, int64_t rows, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_side *crossed = &s->side[DI_CROSSED], *target = &s->side[DI_TARGET];
    size_t n = (size_t)rows, c = (size_t)s->width;

    *a = (di_auxiliary){.al = al, .set = set};
    if (set->anchor > 0) {
        a->e0 = di_new_array(al, n * c, sizeof *a->e0);
        a->work = di_new_array(al, 2 * n + c, sizeof *a->work);
        if (a->e0 == NULL || a->work == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for anchors");
    }
    if (set->guard > 0 && set->guard_kind == DI_GUARD_MMD) {
        size_t texts = (size_t)(s->side[DI_SOURCE].cap * s->side[DI_SOURCE].per);

        a->guard_row = di_new_array(al, texts, sizeof *a->guard_row);
        a->guard_v = di_new_array(al, texts + texts * (texts - 1) / 2, sizeof *a->guard_v);
        if (a->guard_row == NULL || a->guard_v == NULL)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare %zu rewards", texts);
    }
    if (s->present[DI_CROSSED]) {
        a->crossed = di_new_array(al, (size_t)crossed->examples->n, sizeof *a->crossed);
        if (a->crossed == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for negatives");
        for (int64_t i = 0; i < crossed->examples->n; i++)
            a->crossed[i] = di_example_at(crossed->examples, i)->score;
    }
    if (set->pseudo_weight > 0) {
        a->n_pseudo = target->examples->n;
        a->pseudo = di_new_array(al, (size_t)a->n_pseudo, sizeof *a->pseudo);
        if (a->pseudo == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for pseudo-labels");
        for (int64_t i = 0; i < a->n_pseudo; i++) a->pseudo[i] = -1;
    }
done:
    if (st != DIAL_OK) di_auxiliary_deinit(a);
    return st;
}

void di_auxiliary_deinit(di_auxiliary *a)
{
    if (a->al == NULL) return;
    di_free(a->al, a->e0);
    di_free(a->al, a->work);
    di_free(a->al, a->guard_row);
    di_free(a->al, a->guard_v);
    di_free(a->al, a->crossed);
    di_free(a->al, a->pseudo);
    *a = (di_auxiliary){0};
}

/* Weight times the loss of a side whose first texts are better than their others. */
static double best_first(di_step *s, int k, double weight)
{
    di_loss_options o = {.objective = DI_OBJECTIVE_MCQ};
    double loss = di_step_loss(s, k, &o).loss;

    for (int64_t i = s->first[k]; i < s->first[k + 1]; i++) s->dr[i] *= (float)weight;
    return weight * loss;
}

static double centred(const di_train_settings *set, di_step *s)
{
    const di_side *side[2] = {&s->side[DI_SOURCE], &s->side[DI_TARGET]};
    const float *r[2] = {s->r, s->r + s->first[DI_TARGET]};
    float *dr[2] = {s->dr, s->dr + s->first[DI_TARGET]};
    int both = s->present[DI_TARGET] && (set->center_both || set->target_labels);

    return di_centring(set->center_form, set->center, side, r, dr, 1 + both);
}

/* All texts of source and target, each domain by itself: the relational form compares no rows of
 * different domains, whose angles the alignment is there to change. */
static double anchored(const di_auxiliary *a, di_step *s)
{
    int64_t c = s->width;
    double loss = 0;

    for (int k = 0; k <= DI_TARGET; k++) {
        const di_side *side = &s->side[k];
        int64_t at = s->first[k] * c;

        if (!s->present[k]) continue;
        for (int64_t i = 0; i < side->n_texts; i++)
            memcpy(a->e0 + at + side->row[i] * c, di_trunk_find(a->set->frozen, &side->text[i]),
                   (size_t)c * sizeof *a->e0);
        loss += di_anchor(a->set->anchor_kind, a->set->anchor, s->e + at, a->e0 + at, side->n_texts,
                          c, s->de + at, a->work);
    }
    return loss;
}

double di_auxiliary_loss(const di_auxiliary *a, di_step *s)
{
    const di_train_settings *set = a->set;
    const di_side *target = &s->side[DI_TARGET];
    int64_t t = s->first[DI_TARGET], x = s->first[DI_CROSSED], p = s->first[DI_PARALLEL];
    double loss = 0;

    if (set->target_labels) loss += di_step_loss(s, DI_TARGET, &set->loss).loss;
    if (s->present[DI_LABELLED]) loss += best_first(s, DI_LABELLED, set->labelled_weight);
    if (s->present[DI_CROSSED])
        loss += di_pseudo_loss(set->crossed_weight, a->crossed, &s->side[DI_CROSSED], s->r + x,
                               s->dr + x);
    if (s->present[DI_PARALLEL])
        loss += di_parallel_loss(set->consistency, &s->side[DI_PARALLEL], s->r + p, s->dr + p);
    if (a->pseudo != NULL)
        loss += di_pseudo_loss(set->pseudo_weight, a->pseudo, target, s->r + t, s->dr + t);
    if (a->guard_row != NULL)
        loss += di_length_guard_mmd(set->guard, &s->side[DI_SOURCE], s->r, s->dr, a->guard_row,
                                    a->guard_v);
    else if (set->guard > 0)
        loss += di_length_guard(set->guard, set->guard_least, target, s->r + t, s->dr + t);
    if (set->center > 0) loss += centred(set, s);
    if (a->e0 != NULL) loss += anchored(a, s);
    return loss;
}
