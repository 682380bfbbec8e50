/* What the trainer hands over and what comes back: scales, pair differences, the share, the state.
 */
#include "test.h"

#include <math.h>

#include "align/alignment.h"
#include "align/methods.h"
#include "base/rng.h"
#include "model/device.h"

enum { C = 6, PAIRS = 3, SINGLES = 1, N_S = 2 * PAIRS, N_T = 2 * PAIRS + SINGLES, N = N_S + N_T };

/* Firsts and singles come first, then the seconds of the pairs; the single is row 1 of the target.
 */
static const int32_t first_s[PAIRS] = {0, 1, 2}, second_s[PAIRS] = {3, 4, 5};
static const int32_t first_t[PAIRS] = {0, 2, 3}, second_t[PAIRS] = {4, 5, 6};

typedef struct scene {
    di_device dev;
    di_alignment *a;
    float e[N * C], de[N * C], r[N], dr[N];
    di_align_step step;
} scene;

static const di_wasserstein_options critic_options = {.width = C,
                                                      .max_rows = N,
                                                      .hidden = {8, 4},
                                                      .n_hidden = 2,
                                                      .act = DI_CRITIC_GELU,
                                                      .gp_kind = DI_GP_ONE_SIDED,
                                                      .gp = 10,
                                                      .iters = 20,
                                                      .lr = 1e-2,
                                                      .seed = 3};

static void open_scene(scene *x, const di_alignment_options *opt)
{
    di_wasserstein_options first = critic_options, second = critic_options;
    di_align *main = NULL, *beside = NULL;
    di_rng rng = di_rng_make(7, DI_RNG_WEIGHTS, 0);
    dial_error err;

    memset(x, 0, sizeof *x);
    second.stream = 1;
    if (opt->delta_kind == DI_DELTA_REWARD) first.width = 1;
    assert_ok(di_device_open(di_alloc_default(), NULL, "ref", "f32", 1, &x->dev, &err), err);
    assert_ok(di_wasserstein_new(&x->dev, &first, &main, &err), err);
    if (opt->share > 0) assert_ok(di_wasserstein_new(&x->dev, &second, &beside, &err), err);
    assert_ok(di_alignment_new(&x->dev, opt, main, beside, &x->a, &err), err);
    for (int i = 0; i < N * C; i++) /* the domains differ in place and in width */
        x->e[i] = (float)(di_rng_normal(&rng) * (i < N_S * C ? 1 : 2) + (i % C == 0 ? 3 : 0));
    for (int i = 0; i < N; i++) x->r[i] = (float)di_rng_normal(&rng);
    x->step = (di_align_step){
        x->e, x->r, {N_S, PAIRS, first_s, second_s}, {N_T, PAIRS, first_t, second_t}};
}

static void close_scene(scene *x)
{
    di_alignment_free(x->a);
    di_device_close(&x->dev);
}

static double value(scene *x)
{
    di_align_stats s = {0};

    di_alignment_gradient(x->a, &x->step, 1, NULL, NULL, &s);
    return s.loss;
}

/* Worst difference of n gradients from central differences of the loss in at; the largest of them.
 */
static void compare(scene *x, float *at, const float *given, int n, double *worst, double *largest)
{
    const double h = 0.02;

    for (int i = 0; i < n; i++) {
        float old = at[i];
        double up, down;

        at[i] = (float)((double)old + h);
        up = value(x);
        at[i] = (float)((double)old - h);
        down = value(x);
        at[i] = old;
        *worst = fmax(*worst, fabs((up - down) / (2 * h) - (double)given[i]));
        *largest = fmax(*largest, fabs((double)given[i]));
    }
}

/*
 * de, or of rewards dr, against central differences of the loss, whatever the rows are made of. The
 * loss is computed in f32 (relative rounding 6e-8 of values up to about 10) and differenced over 2h
 * = 0.04: noise of 6e-8 * 10 * sqrt(2) / 0.04 = 2e-5, and a truncation of h^2 / 6 times a third
 * derivative of order 1 after scaling: 7e-5. The limit is relative to the largest gradient (about
 * 0.1): 3e-3.
 */
static void check_gradient(const di_alignment_options *opt)
{
    scene x;
    di_align_stats s = {0};
    double worst = 0, largest = 0;

    open_scene(&x, opt);
    di_alignment_fit_scale(x.a, x.e, N_S);
    di_alignment_fit(x.a, &x.step, &s);
    di_alignment_gradient(x.a, &x.step, 1, x.de, x.dr, &s);
    if (opt->delta_kind == DI_DELTA_REWARD) compare(&x, x.r, x.dr, N, &worst, &largest);
    if (opt->delta_kind != DI_DELTA_REWARD || opt->share > 0)
        compare(&x, x.e, x.de, N * C, &worst, &largest);
    assert_true(largest > 1e-3);
    if (worst > 3e-3 * largest)
        fail_msg("worst difference %g of largest gradient %g", worst, largest);
    close_scene(&x);
}

static void gradients(void **state)
{
    (void)state;
    for (int scale = DI_SCALE_NONE; scale <= DI_SCALE_LAYERNORM; scale++) {
        check_gradient(
            &(di_alignment_options){.width = C, .max_rows = N, .scale = (di_scale_kind)scale});
        for (int kind = DI_DELTA_SYM; kind <= DI_DELTA_REWARD; kind++)
            check_gradient(&(di_alignment_options){.width = C,
                                                   .max_rows = N,
                                                   .on_delta = 1,
                                                   .delta_kind = (di_delta_kind)kind,
                                                   .share = 0.5,
                                                   .scale = (di_scale_kind)scale});
    }
}

/* An alignment of unscaled differences by a method without a critic, in the place of the scene's.
 */
static void use_method(scene *x, di_delta_kind kind, const char *name)
{
    di_alignment_options o = {.width = C, .max_rows = N, .on_delta = 1, .delta_kind = kind};
    di_align_options m = {.setup = {.width = kind == DI_DELTA_REWARD ? 1 : C, .max_rows = N},
                          .sliced = {.projections = 4}};
    di_align *main = NULL;
    dial_error err;

    open_scene(x, &o);
    di_alignment_free(x->a);
    assert_ok(di_align_find(name)->make(&x->dev, &m, &main, &err), err);
    assert_ok(di_alignment_new(&x->dev, &o, main, NULL, &x->a, &err), err);
}

/*
 * Oriented rows by their equation: under `mean` the loss is ||mean delta_s - mean tanh(m/2)
 * delta_t||^2. Sums of 6 coordinates of 3 rows each in f32: below 1e-5 of a loss of order 1. Target
 * texts in the other order give the same rows; source texts in the other order do not.
 */
static void oriented_rows_follow_label_and_prediction(void **state)
{
    scene x;
    double want = 0, given;

    (void)state;
    use_method(&x, DI_DELTA_ORIENTED, "mean");
    for (int k = 0; k < C; k++) {
        double apart = 0;

        for (int p = 0; p < PAIRS; p++) {
            const float *t = x.e + N_S * C, *r = x.r + N_S;
            double turn = tanh((double)(r[first_t[p]] - r[second_t[p]]) / 2);

            apart += (double)(x.e[first_s[p] * C + k] - x.e[second_s[p] * C + k]) / PAIRS;
            apart -= turn * (double)(t[first_t[p] * C + k] - t[second_t[p] * C + k]) / PAIRS;
        }
        want += apart * apart;
    }
    given = value(&x);
    if (fabs(given - want) > 1e-5 * want) fail_msg("%.9g, expected %.9g", given, want);
    x.step.target.first = second_t;
    x.step.target.second = first_t;
    assert_true(value(&x) == given);
    x.step.source.first = second_s;
    x.step.source.second = first_s;
    assert_true(fabs(value(&x) - given) > 1e-2 * given);
    close_scene(&x);
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/*
 * Rewards by theirs: every direction of one dimension sorts alike, so under `swd` the loss is the
 * mean of (a_i - b_i)^2 over sorted |m_s| and |m_t|. Nothing goes to e, whatever the order.
 */
static void rewards_match_sorted_margins(void **state)
{
    scene x;
    di_align_stats s = {0};
    double a[PAIRS], b[PAIRS], want = 0, sum = 0;

    (void)state;
    use_method(&x, DI_DELTA_REWARD, "swd");
    for (int p = 0; p < PAIRS; p++) {
        a[p] = fabs((double)(x.r[first_s[p]] - x.r[second_s[p]]));
        b[p] = fabs((double)(x.r[N_S + first_t[p]] - x.r[N_S + second_t[p]]));
    }
    qsort(a, PAIRS, sizeof *a, ascending);
    qsort(b, PAIRS, sizeof *b, ascending);
    for (int p = 0; p < PAIRS; p++) want += (a[p] - b[p]) * (a[p] - b[p]) / PAIRS;
    di_alignment_fit(x.a, &x.step, &s);
    di_alignment_gradient(x.a, &x.step, 1, x.de, x.dr, &s);
    if (fabs(s.loss - want) > 1e-5 * want) fail_msg("%.9g, expected %.9g", s.loss, want);
    for (int i = 0; i < N * C; i++) assert_true(x.de[i] == 0);
    for (int i = 0; i < N; i++) sum += fabs((double)x.dr[i]);
    assert_true(sum > 1e-2 && x.dr[N_S + 1] == 0); /* the single text has no margin */
    close_scene(&x);
}

/* Swapping the texts of every pair swaps their gradients and changes nothing else. */
static void order_of_a_pair_is_free(void **state)
{
    di_alignment_options o = {.width = C, .max_rows = N, .on_delta = 1, .scale = DI_SCALE_COORD};
    scene x, y;
    di_align_stats s = {0}, t = {0};

    (void)state;
    open_scene(&x, &o);
    open_scene(&y, &o);
    di_alignment_fit_scale(x.a, x.e, N_S);
    di_alignment_fit_scale(y.a, x.e, N_S);
    di_alignment_fit(x.a, &x.step, &s); /* the same critic in both: fitted on the same rows */
    di_alignment_fit(y.a, &x.step, &t);
    memcpy(y.e, x.e, sizeof y.e);
    for (int i = 0; i < PAIRS; i++) {
        memcpy(y.e + i * C, x.e + second_s[i] * C, C * sizeof(float));
        memcpy(y.e + second_s[i] * C, x.e + i * C, C * sizeof(float));
    }
    di_alignment_gradient(x.a, &x.step, 1, x.de, x.dr, &s);
    di_alignment_gradient(y.a, &y.step, 1, y.de, y.dr, &t);
    assert_true(fabs(s.loss - t.loss) < 1e-12);
    for (int i = 0; i < PAIRS; i++)
        for (int k = 0; k < C; k++)
            assert_true(fabsf(x.de[i * C + k] - y.de[second_s[i] * C + k]) < 1e-9f);
    close_scene(&x);
    close_scene(&y);
}

/* A constant added to every target embedding is invisible to pair differences. */
static void offset_cancels_in_differences(void **state)
{
    di_alignment_options o = {.width = C, .max_rows = N, .on_delta = 1, .scale = DI_SCALE_COORD};
    scene x;
    double before;

    (void)state;
    open_scene(&x, &o);
    di_alignment_fit_scale(x.a, x.e, N_S);
    before = value(&x);
    for (int i = N_S * C; i < N * C; i++) x.e[i] += 64; /* a power of two: nearly no rounding */
    assert_true(fabs(value(&x) - before) < 1e-5);
    close_scene(&x);
}

/* A share of single embeddings adds share times their loss; a single text reaches only that. */
static void share_adds_up(void **state)
{
    di_alignment_options both = {.width = C, .max_rows = N, .on_delta = 1, .share = 0.25};
    di_alignment_options delta = {.width = C, .max_rows = N, .on_delta = 1};
    scene x, y;
    di_align_stats s = {0}, t = {0};
    int moved = 0;

    (void)state;
    open_scene(&x, &both);
    open_scene(&y, &delta);
    di_alignment_gradient(x.a, &x.step, 2, x.de, x.dr, &s);
    di_alignment_gradient(y.a, &y.step, 2, y.de, y.dr, &t);
    assert_true(s.loss != t.loss);
    for (int k = 0; k < C; k++) {
        assert_true(y.de[(N_S + 1) * C + k] == 0); /* example 1 of the target is the single */
        moved += x.de[(N_S + 1) * C + k] != 0;
    }
    assert_true(moved > 0);
    close_scene(&x);
    close_scene(&y);
}

/*
 * The critic judged on the pairs of a step, 44 times over so that they do not fit one pass: w1 of
 * those rows, and the spread of its values about the means of their domains. Neither depends on
 * what was judged before. Values are f32 of size 1 and less, summed in another order: 1e-6.
 */
static void check_judge(const di_alignment_options *o)
{
    enum { TIMES = 44, JUDGED = TIMES * PAIRS };
    float e[2][2 * JUDGED * C], r[2][2 * JUDGED], none[2 * C] = {1}, zero[2] = {0};
    int copies = o->on_delta && o->delta_kind != DI_DELTA_SYM ? 1 : 2; /* rows of a pair */
    di_align_pairs all = {e[0], e[1], r[0], r[1], JUDGED, JUDGED};
    di_align_stats s = {0};
    double gap, sd, within = 0;
    scene x;

    open_scene(&x, o);
    x.step.target = (di_align_side){2 * PAIRS, PAIRS, first_s, second_s};
    di_alignment_fit_scale(x.a, x.e, N_S);
    di_alignment_fit(x.a, &x.step, &s);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 2 * JUDGED; i++) {
            int pair = i / 2 % PAIRS, row = i % 2 == 0 ? first_s[pair] : second_s[pair];

            memcpy(e[k] + i * C, x.e + (k * N_S + row) * C, C * sizeof(float));
            r[k][i] = x.r[k * N_S + row];
        }
    for (int k = 0; k < 2; k++) { /* sums of squares from the pairs one by one */
        double mean = 0, squares = 0;

        for (int i = 0; i < PAIRS; i++) {
            const float *ei = e[k] + 2 * i * C, *ri = r[k] + 2 * i;
            di_align_pairs alone = {
                k ? none : ei, k ? ei : none, k ? zero : ri, k ? ri : zero, 1, 1};
            di_align_pairs twice = {ei, ei, ri, ri, 1, 1};
            double own;

            assert_true(di_alignment_judge(x.a, &alone, &gap, &sd)); /* its mean, less a constant */
            mean += gap / PAIRS;
            squares += copies * gap * gap;
            assert_true(di_alignment_judge(x.a, &twice, &gap, &own));
            if (copies == 2) squares += own * own; /* about its mean: own^2 of two such pairs */
        }
        within += TIMES * (squares - copies * PAIRS * mean * mean);
    }
    assert_true(di_alignment_judge(x.a, &all, &gap, &sd));
    di_alignment_gradient(x.a, &x.step, 1, NULL, NULL, &s);
    if (!(fabs(gap - s.w1) < 1e-6 && fabs(gap) > 1e-3)) fail_msg("gap %.9g, w1 %.9g", gap, s.w1);
    within = sqrt(within / (2 * copies * JUDGED - 2));
    if (!(fabs(sd - within) < 1e-4 * within)) fail_msg("spread %.9g, expected %.9g", sd, within);
    close_scene(&x);
}
static void judged_pairs(void **state)
{
    di_alignment_options o = {.width = C, .max_rows = N};

    (void)state;
    for (int scale = DI_SCALE_NONE; scale <= DI_SCALE_LAYERNORM; scale++)
        for (int kind = -1; kind <= DI_DELTA_REWARD; kind++) {
            o.scale = (di_scale_kind)scale;
            o.on_delta = kind >= 0;
            o.delta_kind = kind >= 0 ? (di_delta_kind)kind : DI_DELTA_SYM;
            check_judge(&o);
        }
}

/* Tensors and counters carry a fit on as if it had not stopped; names tell the two critics apart.
 */
static void state_carries_on(void **state)
{
    di_alignment_options o = {
        .width = C, .max_rows = N, .on_delta = 1, .share = 0.1, .scale = DI_SCALE_EMA};
    di_align_tensor from[32], to[32];
    scene x, y;
    di_align_stats s = {0}, t = {0};
    json_t *saved;
    dial_error err;
    int n, second = 0;

    (void)state;
    open_scene(&x, &o);
    open_scene(&y, &o);
    di_alignment_fit(x.a, &x.step, &s);
    saved = di_alignment_save(x.a);
    n = di_alignment_tensors(x.a, from, 32);
    assert_int_equal(di_alignment_tensors(y.a, to, 32), n);
    for (int i = 0; i < n; i++) {
        size_t bytes =
            (size_t)(from[i].rows * (from[i].cols > 0 ? from[i].cols : 1)) * sizeof(float);

        assert_string_equal(from[i].name, to[i].name);
        memcpy(to[i].theta, from[i].theta, bytes);
        if (from[i].m != NULL) memcpy(to[i].m, from[i].m, bytes);
        if (from[i].v != NULL) memcpy(to[i].v, from[i].v, bytes);
        second += strncmp(from[i].name, "critic_e.layers.", 16) == 0;
    }
    assert_int_equal(second, 6);
    assert_ok(di_alignment_load(y.a, saved, "state", &err), err);
    di_alignment_fit(x.a, &x.step, &s);
    di_alignment_fit(y.a, &y.step, &t);
    assert_memory_equal(&s.critic_loss, &t.critic_loss, sizeof s.critic_loss);
    assert_true(value(&x) == value(&y));
    assert_int_equal(di_alignment_load(y.a, json_array_get(saved, 0), "state.json", &err),
                     DIAL_ERR_INPUT);
    json_decref(saved);
    close_scene(&x);
    close_scene(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
        cmocka_unit_test(oriented_rows_follow_label_and_prediction),
        cmocka_unit_test(rewards_match_sorted_margins),
        cmocka_unit_test(order_of_a_pair_is_free),
        cmocka_unit_test(offset_cancels_in_differences),
        cmocka_unit_test(share_adds_up),
        cmocka_unit_test(judged_pairs),
        cmocka_unit_test(state_carries_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
