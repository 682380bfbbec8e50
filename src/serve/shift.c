#include "serve/shift.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "eval/criticw1.h"
#include "eval/mmd.h"
#include "eval/rows.h"
#include "eval/validators.h"
#include "model/safetensors.h"

enum { LEAST_ROWS = 32, MOST_ROWS = 512, PERMUTATIONS = 999, FOLDS = 5, CALM_LOOKS = 3 };
static const double alike = 0.2, indistinct_p = 0.05, calibration = 0.25, enough = 1e4;

/* ---- the reference ---- */

/* Rows of a tensor [n, c] and its row numbers, one text of each number, to *e and *n. */
static dial_status read_domain(const di_st *file, const char *where, const char *name, int64_t c,
                               float *e, int64_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_st_tensor *t = di_st_find(file, name), *row = di_st_find(file, DI_FMT("%s_row", name));
    int64_t kept = 0, rows = t->dim[0];

    if (row == NULL || strcmp(row->dtype_name, "I64") != 0 || row->count != rows)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "train the run again",
                   "the tensor %s_row is missing, or is not one int64 a row of %s", name, name);
    DI_TRY(di_st_read_f32(file, where, name, e, rows * c, err));
    for (int64_t i = 0, last = -1; i < rows; i++) {
        int64_t number;

        memcpy(&number, (const char *)row->data + (size_t)i * sizeof number, sizeof number);
        if (number == last) continue; /* the texts of a row stand together */
        last = number;
        memmove(e + kept++ * c, e + i * c, (size_t)c * sizeof *e);
    }
    if (kept < LEAST_ROWS)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "train on more rows",
                   "expected at least %d rows of the %s to compare with, found %lld", LEAST_ROWS,
                   name, (long long)kept);
    *n = kept;
done:
    return st;
}

static dial_status check_width(const di_st_tensor *t, const char *where, int64_t width,
                               dial_error *err)
{
    dial_status st = DIAL_OK;

    if (t != NULL && (t->n_dims != 2 || t->dim[1] != width))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "train the run again",
                   "the tensor %s has not the model's %lld columns", t->name, (long long)width);
done:
    return st;
}

dial_status di_shift_reference_open(const di_alloc *al, const char *run, int64_t width,
                                    di_shift_reference *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_shift_reference r = {.al = al, .c = width};
    di_st file = {0};
    char *path = di_path_join(al, run, "reference.safetensors");
    const di_st_tensor *s, *t;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "train the run again with this version",
                   "the run keeps no sample of its training domains to compare with");
    DI_TRY(di_st_open(al, path, &file, err));
    s = di_st_find(&file, "source");
    t = di_st_find(&file, "target");
    if (s == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the run again",
                   "there is no tensor `source` in it");
    DI_TRY(check_width(s, path, width, err));
    DI_TRY(check_width(t, path, width, err));
    r.e =
        di_new_array(al, (size_t)((s->dim[0] + (t != NULL ? t->dim[0] : 0)) * width), sizeof *r.e);
    if (r.e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the reference");
    DI_TRY(read_domain(&file, path, "source", width, r.e, &r.n_s, err));
    if (t != NULL)
        DI_TRY(read_domain(&file, path, "target", width, r.e + r.n_s * width, &r.n_t, err));
    *out = r;
    r.e = NULL;
done:
    di_st_close(&file);
    di_free(al, r.e);
    di_free(al, path);
    return st;
}

void di_shift_reference_close(di_shift_reference *r)
{
    di_free(r->al, r->e);
    *r = (di_shift_reference){0};
}

/* ---- a look ---- */

/* Share of the source in the mix whose mean is nearest to that of the window. */
static dial_status nearest_share(const di_shift_reference *r, const float *e, int64_t n,
                                 double *share, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t c = r->c;
    double *m = di_new_array(r->al, 5 * (size_t)c, sizeof *m), *s = m, *t = m + c, *x = m + 2 * c,
           *sd = m + 3 * c, *unused = m + 4 * c, up = 0, down = 0;

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare traffic");
    *share = 1;
    if (r->n_t == 0) goto done;
    di_row_moments(r->e, r->n_s + r->n_t, c, unused, sd);
    di_row_moments(r->e, r->n_s, c, s, unused);
    di_row_moments(r->e + r->n_s * c, r->n_t, c, t, unused);
    di_row_moments(e, n, c, x, unused);
    for (int64_t j = 0; j < c; j++) {
        double d = (s[j] - t[j]) / sd[j];

        up += d * (x[j] - t[j]) / sd[j];
        down += d * d;
    }
    if (down > 0) *share = fmin(fmax(up / down, 0), 1);
done:
    di_free(r->al, m);
    return st;
}

/* Rows of the mix: as many as both domains can give at this share, to ref (MOST_ROWS, c). */
static dial_status draw_mix(const di_shift_reference *r, double share, uint64_t seed, float *ref,
                            int64_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    double most = MOST_ROWS;
    int64_t *order = di_new_array(r->al, (size_t)(r->n_s + r->n_t), sizeof *order), k[2];
    di_rng g = di_rng_make(seed, DI_RNG_SELECT, 900);

    if (order == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare traffic");
    if (share > 0) most = fmin(most, (double)r->n_s / share);
    if (share < 1) most = fmin(most, (double)r->n_t / (1 - share));
    k[0] = (int64_t)floor(most * share + 1e-9);
    k[1] = (int64_t)floor(most * (1 - share) + 1e-9);
    *n = 0;
    for (int d = 0; d < 2; d++) {
        int64_t rows = d == 0 ? r->n_s : r->n_t;

        for (int64_t i = 0; i < rows; i++) order[i] = (d == 0 ? 0 : r->n_s) + i;
        di_rng_shuffle(&g, order, rows);
        for (int64_t i = 0; i < k[d]; i++)
            memcpy(ref + (*n)++ * r->c, r->e + order[i] * r->c, (size_t)r->c * sizeof *ref);
    }
done:
    di_free(r->al, order);
    return st;
}

static dial_status w1_of(di_device *dev, const di_two_sets *x, uint64_t seed, double *out,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = dev->al;
    float *y = di_new_array(al, (size_t)((x->n_s + x->n_t) * x->c), sizeof *y);
    int32_t *half = di_new_array(al, (size_t)(x->n_s + x->n_t), sizeof *half);
    di_two_sets z = {y, y + x->n_s * x->c, x->n_s, x->n_t, x->c};
    di_w1_options o = di_w1_options_default();

    if (y == NULL || half == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare traffic");
    o.block = 1;
    o.inits = 1;
    o.seed = seed;
    DI_TRY(di_coord_normalised(al, x, 1, y, err));
    DI_TRY(di_folds(al, x->n_s, NULL, 2, seed, half, err));
    DI_TRY(di_folds(al, x->n_t, NULL, 2, seed + 1, half + x->n_s, err));
    DI_TRY(di_critic_w1(dev, &z, half, half + x->n_s, &o, out, err));
done:
    di_free(al, y);
    di_free(al, half);
    return st;
}

static dial_status probe_of(const di_alloc *al, const di_two_sets *x, uint64_t seed,
                            di_domain_probe_result *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int32_t *fold = di_new_array(al, (size_t)(x->n_s + x->n_t), sizeof *fold);

    if (fold == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare traffic");
    DI_TRY(di_folds(al, x->n_s, NULL, FOLDS, seed, fold, err));
    DI_TRY(di_folds(al, x->n_t, NULL, FOLDS, seed + 1, fold + x->n_s, err));
    DI_TRY(di_domain_probe(al, x, fold, fold + x->n_s, FOLDS, NULL, NULL, out, err));
done:
    di_free(al, fold);
    return st;
}

dial_status di_shift_compare(di_device *dev, const di_shift_reference *r, const float *e, int64_t n,
                             const float *head, uint64_t seed, di_shift_look *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = dev->al;
    float *ref = di_new_array(al, (size_t)(MOST_ROWS * r->c), sizeof *ref);
    di_two_sets x = {ref, e, 0, n, r->c};
    di_shift_look look = {.n = n};
    di_domain_probe_result probe;
    di_mmd_result mmd;

    if (ref == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to compare traffic");
    DI_TRY(nearest_share(r, e, n, &look.share, err));
    DI_TRY(draw_mix(r, look.share, seed, ref, &x.n_s, err));
    look.n_ref = x.n_s;
    DI_TRY(di_mmd_test(al, &x, 1, PERMUTATIONS, seed, &mmd, err));
    look.mmd_p = mmd.p;
    DI_TRY(probe_of(al, &x, seed, &probe, err));
    look.a_distance = probe.a_distance;
    look.a_ci = probe.a_ci;
    DI_TRY(w1_of(dev, &x, seed, &look.w1, err));
    look.reward_drift = di_reward_drift(head, &x);
    *out = look;
done:
    di_free(al, ref);
    return st;
}

/* ---- the looks together ---- */

int di_shift_differs(const di_shift_look *look)
{
    return look->a_ci.lo > alike;
}

di_shift_turn di_shift_judge(di_shift_state *s, const di_shift_look *look)
{
    int differs = di_shift_differs(look);
    double p = differs ? look->mmd_p : 1, e = calibration * pow(p, calibration - 1);

    s->looks++;
    s->evidence = fmin((s->evidence + 1) * e, 1e300);
    if (!s->alarm) {
        s->alarm = s->evidence >= enough;
        s->calm = 0;
        return s->alarm ? DI_SHIFT_BEGINS : DI_SHIFT_SAME;
    }
    s->calm = !differs || look->mmd_p > indistinct_p ? s->calm + 1 : 0;
    if (s->calm < CALM_LOOKS) return DI_SHIFT_SAME;
    *s = (di_shift_state){.looks = s->looks};
    return DI_SHIFT_ENDS;
}
