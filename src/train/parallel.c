#include "train/parallel.h"

#include <stdlib.h>
#include <string.h>

#include "align/scale.h"
#include "base/error.h"

/* A row of two texts that has an id. */
typedef struct named {
    const char *id;
    int64_t at; /* in its list */
} named;

static int by_id(const void *a, const void *b)
{
    const named *x = a, *y = b;
    int order = strcmp(x->id, y->id);

    return order != 0 ? order : (x->at > y->at) - (x->at < y->at);
}

/* Returns how many; out [x->n] by id. */
static int64_t list_named(const di_examples *x, named *out)
{
    int64_t n = 0;

    for (int64_t i = 0; i < x->n; i++) {
        const di_example *e = di_example_at(x, i);

        if (e->id != NULL && e->n_texts == 2) out[n++] = (named){e->id, i};
    }
    qsort(out, (size_t)n, sizeof *out, by_id);
    return n;
}

/* Rows from `at` on that have the id of that one. */
static int64_t run_of(const named *x, int64_t n, int64_t at)
{
    int64_t k = at + 1;

    while (k < n && strcmp(x[k].id, x[at].id) == 0) k++;
    return k - at;
}

/* Both lists in step: s and t keep the partners at their front. Returns how many. */
static int64_t match(named *s, int64_t n_s, named *t, int64_t n_t, int64_t *repeated)
{
    int64_t i = 0, j = 0, n = 0;

    *repeated = 0;
    while (i < n_s && j < n_t) {
        int64_t same_s = run_of(s, n_s, i), same_t = run_of(t, n_t, j);
        int order = strcmp(s[i].id, t[j].id);

        if (order == 0 && same_s == 1 && same_t == 1) { /* n <= i, j: what is read lies behind */
            s[n] = s[i];
            t[n++] = t[j];
        }
        *repeated += order == 0 && same_s + same_t > 2;
        if (order <= 0) i += same_s;
        if (order >= 0) j += same_t;
    }
    return n;
}

/* The examples of four texts. */
static dial_status make_rows(di_parallel *p, const di_alloc *al, const di_examples *source,
                             const di_examples *target, const named *s, const named *t, int64_t n,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset *d = di_zalloc(al, sizeof *d);
    size_t texts = DI_PARALLEL_TEXTS * (size_t)n;

    if (d == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for parallel rows");
    p->set = d;
    d->al = al;
    d->n = n;
    d->n_seq = (int64_t)texts;
    d->example = di_new_array(al, (size_t)n, sizeof *d->example);
    d->text_of = di_new_array(al, texts, sizeof *d->text_of);
    d->seq = di_new_array(al, texts, sizeof *d->seq);
    p->rows = (di_examples){.set = &p->set, .n = n};
    p->rows.ref = di_new_array(al, (size_t)n, sizeof *p->rows.ref);
    if (!d->example || !d->text_of || !d->seq || !p->rows.ref)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld parallel rows", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        int32_t first = (int32_t)(DI_PARALLEL_TEXTS * i);

        d->example[i] = *di_example_at(source, s[i].at);
        d->example[i].first = first;
        d->example[i].n_texts = DI_PARALLEL_TEXTS;
        p->rows.ref[i] = (di_example_ref){0, (int32_t)i};
        for (int k = 0; k < DI_PARALLEL_TEXTS; k++) {
            d->text_of[first + k] = first + k;
            d->seq[first + k] = k < 2 ? *di_example_seq(source, s[i].at, k)
                                      : *di_example_seq(target, t[i].at, k - 2);
        }
    }
done:
    return st;
}

dial_status di_parallel_init(di_parallel *p, const di_alloc *al, const di_examples *source,
                             const di_examples *target, dial_error *err)
{
    dial_status st = DIAL_OK;
    named *s = di_new_array(al, (size_t)source->n, sizeof *s);
    named *t = di_new_array(al, (size_t)target->n, sizeof *t);
    int64_t n;

    *p = (di_parallel){0};
    if (s == NULL || t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to match rows by id");
    n = match(s, list_named(source, s), t, list_named(target, t), &p->repeated);
    if (n > 0) DI_TRY(make_rows(p, al, source, target, s, t, n, err));
done:
    di_free(al, s);
    di_free(al, t);
    if (st != DIAL_OK) di_parallel_deinit(p, al);
    return st;
}

void di_parallel_deinit(di_parallel *p, const di_alloc *al)
{
    di_dataset_free(p->set);
    di_free(al, p->rows.ref);
    *p = (di_parallel){0};
}

dial_status di_parallel_settle(di_parallel *p, const di_alloc *al, float *e, int64_t c,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = p->rows.n;
    di_scale scale = {0};

    DI_TRY(di_scale_init(&scale, al, DI_SCALE_COORD, c, err));
    di_scale_fit(&scale, e, 2 * n);
    di_scale_apply(&scale, e, 4 * n, e);
    for (int64_t i = 0; i < n; i++) {
        const float *s = e + 2 * i * c, *t = e + (2 * n + 2 * i) * c;
        int32_t *text = p->set->text_of + DI_PARALLEL_TEXTS * i, third = text[2];
        double dot = 0;

        for (int64_t k = 0; k < c; k++)
            dot += ((double)s[k] - (double)s[c + k]) * ((double)t[k] - (double)t[c + k]);
        if (!(dot < 0)) continue;
        text[2] = text[3];
        text[3] = third;
    }
done:
    di_scale_deinit(&scale, al);
    return st;
}

double di_parallel_loss(double weight, const di_side *side, const float *r, float *dr)
{
    double loss = 0, share = weight / (double)side->n;

    for (int64_t i = 0; i < side->n; i++) {
        int32_t row[DI_PARALLEL_TEXTS];
        double apart;
        float d;

        for (int k = 0; k < DI_PARALLEL_TEXTS; k++) row[k] = di_side_row(side, i, k);
        apart = ((double)r[row[0]] - (double)r[row[1]]) - ((double)r[row[2]] - (double)r[row[3]]);
        loss += share * apart * apart;
        d = (float)(2 * share * apart);
        dr[row[0]] += d;
        dr[row[1]] -= d;
        dr[row[2]] -= d;
        dr[row[3]] += d;
    }
    return loss;
}
