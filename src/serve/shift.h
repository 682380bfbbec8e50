/*
 * Has live traffic left the domains that a run was trained on? A window of recent embeddings is
 * compared with the run's reference.safetensors, again and again, and the looks are put together so
 * that looking often does not make alarms.
 *
 * What it is compared with. Traffic that looks like the source, like the training target or like
 * any mix of the two is no shift. So each look first finds the mix that is nearest to the window,
 *
 *     share = argmin_a |mean(window) - a mean(S) - (1-a) mean(T)|, coordinates divided by the
 *             reference's sd, 0 <= a <= 1
 *
 * and draws that many rows of each domain. One number is fitted, which can only make a test of the
 * window against the mix more careful.
 *
 * Independent rows. A permutation test believes that rows can be exchanged. Two responses to one
 * prompt cannot: of the reference one text of a row is taken, of the traffic one text of a prompt,
 * and no text twice (monitor.c). Windows share no row.
 *
 * Repeated looks. A look's MMD p-value becomes an e-value, e = p^(-3/4)/4 (its mean is at most 1
 * where nothing has shifted: the integral of k p^(k-1) over [0,1] is 1, here k = 1/4), and
 * e-values are put together as a Shiryaev-Roberts e-detector (Shin, Ramdas, Rinaldo 2023, "E-
 * detectors", eq. 7): M = (M + 1) e. The alarm goes off at M >= 10,000. While nothing has shifted
 * it takes at least 10,000 looks on average to get there, 2.56 million texts at 256 a window, for
 * windows that are independent samples of the mix; with p at its least, 1/1000, it takes 3 looks.
 *
 * A difference that matters. A reference of rows that were trained on, which is what a run has that
 * held out too few, is not quite a sample of new traffic: p of unseen rows is small at every look.
 * And what is significant need not be large. So p counts as 1 unless the
 * lower end of the A-distance's interval exceeds 0.2, below which method.md 7 calls two domains
 * alike; such a look takes three quarters of the evidence away.
 *
 * An alarm ends after 3 looks in turn that speak against it: p > 0.05, or an A-distance as above.
 */
#ifndef DI_SERVE_SHIFT_H
#define DI_SERVE_SHIFT_H

#include "eval/stats.h"
#include "tensor/ops.h"

/* Rows of the source first; without a target n_t is 0. */
typedef struct di_shift_reference {
    const di_alloc *al;
    float *e; /* [n_s + n_t, c] */
    int64_t n_s, n_t, c;
} di_shift_reference;

/*
 * The reference of a run folder, one text of each row. ERR_USAGE: the run has none; ERR_INPUT: a
 * damaged one, one of another width, or under 32 rows of either domain that it has.
 */
dial_status di_shift_reference_open(const di_alloc *al, const char *run, int64_t width,
                                    di_shift_reference *out, dial_error *err);
void di_shift_reference_close(di_shift_reference *r);

typedef struct di_shift_look {
    double share; /* of the source in the nearest mix */
    int64_t n, n_ref;
    double w1;         /* fresh critics, held out, less the same between halves of the mix
                          (eval/criticw1.h);         unit: the root mean square norm of the mix */
    double a_distance; /* held-out probe (eval/domain.h) */
    di_interval a_ci;
    double mmd_p;
    double reward_drift; /* |mean r - mean r of the mix| / pooled sd (method.md 7) */
} di_shift_look;

/*
 * e (n, c): the window, n >= 8. head (c). seed: another one for every look. dev: its critics run on
 * it; the rest uses the OpenMP threads of the caller. ERR_NUMERIC: rows that are all equal or not
 * finite. ERR_NOMEM.
 */
dial_status di_shift_compare(di_device *dev, const di_shift_reference *r, const float *e, int64_t n,
                             const float *head, uint64_t seed, di_shift_look *out, dial_error *err);

/* Zero at the start. */
typedef struct di_shift_state {
    double evidence; /* M */
    int alarm, calm; /* calm: looks in turn that spoke against the alarm */
    int64_t looks;
} di_shift_state;

typedef enum di_shift_turn { DI_SHIFT_SAME, DI_SHIFT_BEGINS, DI_SHIFT_ENDS } di_shift_turn;

/* Is the difference large enough to count? */
int di_shift_differs(const di_shift_look *look);

di_shift_turn di_shift_judge(di_shift_state *s, const di_shift_look *look);

#endif
