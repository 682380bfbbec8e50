/*
 * Losses and their gradients against PyTorch (tests/fixtures/make_losses.py). Values are sums of at
 * most 30 terms in f64, of inputs that both sides hold in f32; a gradient is rounded to f32 once:
 * 2^-24 of it, with room for a second rounding where two terms meet in one number.
 */
#include "test.h"

#include <math.h>

#include "model/safetensors.h"
#include "train/anchor.h"
#include "train/centring.h"
#include "train/length_guard.h"
#include "train/parallel.h"
#include "train/pseudo.h"

static di_st f;

static const float *input(const char *name)
{
    const di_st_tensor *x = di_st_find(&f, name);

    assert_non_null(x);
    return x->data;
}

static void check(const char *name, double loss, const float *d, int n)
{
    char key[64];
    const float *want;
    float scale = 0;

    want = input(name);
    if (!(fabs(loss - (double)want[0]) <= 1e-6 * fmax(1e-3, fabs((double)want[0]))))
        fail_msg("%s is %.9g, the fixture has %.9g", name, loss, (double)want[0]);
    snprintf(key, sizeof key, "%s.d", name);
    want = input(key);
    for (int i = 0; i < n; i++) scale = fmaxf(scale, fabsf(want[i]));
    for (int i = 0; i < n; i++)
        if (!(fabsf(d[i] - want[i]) <= 2e-7f * fmaxf(scale, 1e-6f)))
            fail_msg("%s: gradient %d is %.9g, the fixture has %.9g", name, i, (double)d[i],
                     (double)want[i]);
}

static void bradley_terry(void **state)
{
    float d[10];
    di_bt_args a = {.r = input("pair.r"), .m = 5, .dr = d};

    (void)state;
    check("bt.plain", di_bt_loss(&a).loss, d, 10);
    a.margin = input("pair.margin");
    a.weight = input("pair.weight");
    a.smoothing = 0.1;
    check("bt.full", di_bt_loss(&a).loss, d, 10);
}

static void classes(void **state)
{
    float d[20], y[5], far[3] = {1e30f, -1e30f, 0}, one = 1;
    di_ce_args a = {
        .z = input("ce.z"), .weight = input("ce.weight"), .n = 5, .classes = 4, .dz = d};
    di_loss_result out;

    (void)state;
    for (int i = 0; i < 5; i++) y[i] = input("ce.label")[i];
    a.y = y;
    check("ce", di_ce_loss(&a).loss, d, 20);
    /* a tie of two of three is half right; far logits overflow nothing */
    out = di_ce_loss(&(di_ce_args){.z = (float[3]){2, 2, 1}, .y = &one, .n = 1, .classes = 3});
    assert_true(out.accuracy == 0.5 && out.ties == 1);
    out = di_ce_loss(&(di_ce_args){.z = far, .y = &one, .n = 1, .classes = 3, .dz = d});
    assert_true(isfinite(out.loss) && d[0] == 1 && d[1] == -1 && out.accuracy == 0);
}

static void points(void **state)
{
    float d[6];
    const float *score = input("point.score");
    di_point_args a = {.r = input("point.r"),
                       .y = input("point.label"),
                       .weight = input("point.weight"),
                       .n = 6,
                       .dr = d};
    double squares = 0;
    (void)state;

    check("bce", di_bce_loss(&a).loss, d, 6);
    a.y = score;
    for (int i = 0; i < 6; i++) a.mean += (double)score[i] / 6;
    for (int i = 0; i < 6; i++) squares += pow((double)score[i] - a.mean, 2) / 6;
    a.sd = sqrt(squares);
    check("mse", di_mse_loss(&a).loss, d, 6);
    assert_true(isnan(di_mse_loss(&a).accuracy));
}

static const int32_t rows[] = {0, 4, 8, -1, 1, 5, -1, -1, 2, 6, 9, 10, 3, 7, -1, -1};

static void multiple_choice(void **state)
{
    float d[11], tied[3] = {1, 1, 0};
    di_mcq_args a = {.r = input("mcq.r"), .row_of = rows, .n = 4, .per = 4, .dr = d};
    di_loss_result out;

    (void)state;
    check("mcq.plain", di_mcq_loss(&a).loss, d, 11);
    a.weight = input("mcq.weight");
    a.smoothing = 0.1;
    check("mcq.full", di_mcq_loss(&a).loss, d, 11);
    out = di_mcq_loss(&(di_mcq_args){.r = tied, .row_of = (int32_t[]){0, 1, 2}, .n = 1, .per = 3});
    assert_true(out.accuracy == 0.5 && out.ties == 1 && out.margin == 0.5);
}

/* Two sides of a step: the first has the fixture's pairs. */
static void centring(void **state)
{
    const float *r = input("pair.r");
    int32_t first[] = {0, 1, 2, 3, 4}, second[] = {5, 6, 7, 8, 9};
    di_side pairs = {.n_texts = 10, .n_pairs = 5, .pair = {first, second}};
    const di_side *side[] = {&pairs, &pairs};
    float d[10] = {0}, other[10] = {0};
    double loss;
    (void)state;

    loss = di_centring(DI_CENTER_PAIR, 0.03, side, &r, (float *[]){d}, 1);
    check("center.pair", loss, d, 10);
    memset(d, 0, sizeof d);
    loss = di_centring(DI_CENTER_BATCH, 0.03, side, &r, (float *[]){d}, 1);
    check("center.batch", loss, d, 10);
    /* the same rows twice: the joint mean is the same, and half its gradient falls on each */
    memset(d, 0, sizeof d);
    loss =
        di_centring(DI_CENTER_BATCH, 0.03, side, (const float *[]){r, r}, (float *[]){d, other}, 2);
    for (int i = 0; i < 10; i++) d[i] += other[i];
    check("center.batch", loss, d, 10);
}

/* The five pairs as a side of a step. */
static di_side five_pairs(const float *log_words)
{
    static int32_t first[] = {0, 1, 2, 3, 4}, second[] = {5, 6, 7, 8, 9};
    static int32_t row_of[] = {0, 5, 1, 6, 2, 7, 3, 8, 4, 9};
    static int64_t picked[] = {0, 1, 2, 3, 4};

    return (di_side){.n = 5,
                     .per = 2,
                     .n_texts = 10,
                     .row_of = row_of,
                     .picked = picked,
                     .n_pairs = 5,
                     .pair = {first, second},
                     .log_words = (float *)(uintptr_t)log_words};
}

static void pseudo_labels(void **state)
{
    float d[10] = {0}, some[5] = {-1, -1, -1, -1, -1};
    di_side side = five_pairs(NULL);
    (void)state;

    check("pseudo", di_pseudo_loss(0.3, input("pair.p"), &side, input("pair.r"), d), d, 10);
    memset(d, 0, sizeof d);
    assert_true(di_pseudo_loss(0.3, some, &side, input("pair.r"), d) == 0);
    for (int i = 0; i < 10; i++) assert_true(d[i] == 0);
}

static void length_guard(void **state)
{
    static const char *const name[] = {"guard.plus", "guard.minus"};
    (void)state;

    for (int k = 0; k < 2; k++) {
        float d[10] = {0}, words[10] = {0};
        di_side side = five_pairs(words);

        for (int i = 0; i < 5; i++) words[k == 0 ? i : i + 5] = input("pair.length")[i];
        check(name[k], di_length_guard(1, 0.3, &side, input("pair.r"), d), d, 10);
    }
}

/* Ten pairs of the fixture: of the better texts two are as long as the median, of the others none.
 */
static void length_guard_by_label(void **state)
{
    int32_t row_of[20], row[20];
    float words[20], d[20] = {0}, v[20 + 190];
    di_side side = {.n = 10, .per = 2, .n_texts = 20, .row_of = row_of, .log_words = words};
    (void)state;

    for (int i = 0; i < 20; i++) {
        row_of[i] = i / 2 + 10 * (i % 2);
        words[i] = logf(input("guard.words")[i]);
    }
    check("guard.mmd", di_length_guard_mmd(1, &side, input("guard.r"), d, row, v), d, 20);
    for (int i = 0; i < 10; i++)
        if (input("guard.words")[i] == 5) assert_true(d[i] == 0);
    memset(d, 0, sizeof d); /* all of one length, or too few of a kind: nothing to say */
    for (int i = 0; i < 20; i++) words[i] = i % 10 == 3 ? 2 : 1;
    assert_true(di_length_guard_mmd(1, &side, input("guard.r"), d, row, v) == 0);
    for (int i = 0; i < 20; i++) assert_true(d[i] == 0);
}

static void parallel_rows(void **state)
{
    int32_t row_of[] = {0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11};
    di_side side = {.n = 3, .per = DI_PARALLEL_TEXTS, .row_of = row_of};
    float d[12] = {0};
    (void)state;

    check("parallel", di_parallel_loss(0.7, &side, input("parallel.r"), d), d, 12);
}

/* Texts of one token each; those of row i are 10 i and 10 i + 1. */
static void pairs_with_ids(di_dataset *d, di_examples *x, const char *const *id, int n, int texts)
{
    static int32_t token[100];
    int at = 0;

    for (int i = 0; i < n; i++) {
        d->example[i] = (di_example){.id = id[i], .n_texts = texts, .first = at};
        x->ref[i] = (di_example_ref){0, i};
        for (int k = 0; k < texts; k++, at++) {
            token[10 * i + k] = 10 * i + k;
            d->text_of[at] = at;
            d->seq[at] = (di_seq){.id = &token[10 * i + k], .n = 1};
        }
    }
    x->n = n;
}

/* By id, whatever the order of the files; an id that stands twice, that is missing or that is of a
 * single text has no partner. */
static void partners_by_id(void **state)
{
    static const char *const ids_s[] = {"b", NULL, "a", "twice", "c", "twice"};
    static const char *const ids_t[] = {"x", "a", "twice", "b", "c"};
    di_example example_s[6], example_t[5];
    di_example_ref ref_s[6], ref_t[5];
    int32_t text_s[12], text_t[10];
    di_seq seq_s[12], seq_t[10];
    di_dataset s = {.example = example_s, .text_of = text_s, .seq = seq_s};
    di_dataset t = {.example = example_t, .text_of = text_t, .seq = seq_t};
    di_dataset *set_s = &s, *set_t = &t;
    di_examples source = {.set = &set_s, .ref = ref_s}, target = {.set = &set_t, .ref = ref_t};
    di_parallel p;
    dial_error err;
    (void)state;

    pairs_with_ids(&s, &source, ids_s, 6, 2);
    pairs_with_ids(&t, &target, ids_t, 5, 2);
    example_t[4].n_texts = 1;
    assert_ok(di_parallel_init(&p, di_alloc_default(), &source, &target, &err), err);
    assert_int_equal(p.rows.n, 2);
    assert_int_equal(p.repeated, 1);
    for (int k = 0; k < 4; k++) { /* a: rows 2 and 1; b: rows 0 and 3 */
        assert_int_equal(di_example_seq(&p.rows, 0, k)->id[0], (k < 2 ? 20 : 10 - 2) + k);
        assert_int_equal(di_example_seq(&p.rows, 1, k)->id[0], (k < 2 ? 0 : 30 - 2) + k);
    }
    di_parallel_deinit(&p, di_alloc_default());
    example_t[1].id = example_t[3].id = NULL;
    assert_ok(di_parallel_init(&p, di_alloc_default(), &source, &target, &err), err);
    assert_int_equal(p.rows.n, 0);
    di_parallel_deinit(&p, di_alloc_default());
}

/*
 * Coordinate 0 is large, the same for all texts of a row but for noise, and would decide by itself;
 * in units of its spread it says little, and coordinate 1 finds the partners.
 */
static void partners_settle_by_direction(void **state)
{
    static const char *const ids[] = {"a", "b", "c"};
    di_example example[3];
    di_example_ref ref[3];
    int32_t text[6];
    di_seq seq[6];
    di_dataset d = {.example = example, .text_of = text, .seq = seq}, *set = &d;
    di_examples x = {.set = &set, .ref = ref};
    /* source texts, then target texts in the order a b c */
    float e[] = {100, 1, 400, -1, -300, 2, 0,  -2, 700, -1, 200, 1,
                 90,  9, 60,  7,  10,   1, 40, 3,  30,  0,  50,  4};
    di_parallel p;
    dial_error err;
    (void)state;

    pairs_with_ids(&d, &x, ids, 3, 2);
    assert_ok(di_parallel_init(&p, di_alloc_default(), &x, &x, &err), err);
    assert_ok(di_parallel_settle(&p, di_alloc_default(), e, 2, &err), err);
    /* a: (-300, 2).(30, 2) in units of (319, 1.4) > 0 stays; b: the target points the other way; c
     * stays */
    assert_int_equal(di_example_seq(&p.rows, 0, 2)->id[0], 0);
    assert_int_equal(di_example_seq(&p.rows, 1, 2)->id[0], 11);
    assert_int_equal(di_example_seq(&p.rows, 1, 3)->id[0], 10);
    assert_int_equal(di_example_seq(&p.rows, 2, 2)->id[0], 20);
    di_parallel_deinit(&p, di_alloc_default());
}

static void anchors(void **state)
{
    static const char *const name[] = {"anchor.cosine", "anchor.relational"};
    double work[2 * 6 + 5];
    (void)state;

    for (int k = 0; k < 2; k++) {
        float d[30] = {0};

        check(name[k],
              di_anchor((di_anchor_kind)k, 1, input("rows.e"), input("rows.e0"), 6, 5, d, work), d,
              30);
    }
}

/* Margins that are tau times a well-calibrated model's: the fit finds tau. 1e-6 of it is far above
 * the 60 golden sections of 12 (0.618^60 12 = 3e-12), as far as the least is round: the risk moves
 * by its second derivative times the square. */
static void temperature(void **state)
{
    enum { N = 4000 };
    static double m[N];
    double at, tau = 3;
    int n = 0;
    (void)state;

    for (int i = 0; i < N / 10; i++) { /* odds 9 : 1 are a margin of ln 9 */
        for (int k = 0; k < 10; k++) m[n++] = tau * log(9) * (k < 9 ? 1 : -1);
    }
    at = di_temperature(m, n);
    assert_true(fabs(at - tau) < 1e-5 * tau);
    m[0] = 1;
    assert_true(di_temperature(m, 1) < 0.01); /* all right: as sure as it may be */
}

static void accepted_labels(void **state)
{
    /* margins, teacher's, log lengths: sure and agreed on but where said otherwise */
    double m[] = {3, 2.5, 4, -3, 1, 3, 2.2, -2, 3};
    double teacher[] = {3, 3, 3, -3, 3, -3, 3, -3, 0.1};
    double length[] = {1, 1, 1, 1, 1, 1, 1, -1, 1}; /* 0 1 2 6 longer wins, 3 shorter, 7 longer */
    di_pseudo_options o = {.confidence = 0.8, .tau = 1, .teacher_tau = 1, .longer_share = -1};
    di_pseudo_counts c;
    float p[9];
    dial_error err;
    (void)state;

    assert_ok(di_pseudo_label(di_alloc_default(), &o, m, teacher, length, 9, p, &c, &err), err);
    assert_true(p[4] < 0 && p[5] < 0 && p[8] < 0); /* unsure; the teacher differs; is unsure */
    assert_int_equal(c.accepted, 6);
    assert_int_equal(c.longer, 5);
    assert_int_equal(c.shorter, 1);
    assert_true(fabsf(p[0] - 0.952574127f) < 1e-6f && fabsf(p[3] - 0.0474258732f) < 1e-6f);
    o.longer_share = 0.75; /* three to one: the two least sure of the five go, 7 and 6 */
    assert_ok(di_pseudo_label(di_alloc_default(), &o, m, teacher, length, 9, p, &c, &err), err);
    assert_int_equal(c.longer, 3);
    assert_int_equal(c.shorter, 1);
    assert_true(p[7] < 0 && p[6] < 0 && p[1] > 0);
    o.hard = 1;
    assert_ok(di_pseudo_label(di_alloc_default(), &o, m, NULL, length, 9, p, &c, &err), err);
    for (int i = 0; i < 9; i++) assert_true(p[i] == -1 || p[i] == 0 || p[i] == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bradley_terry),
        cmocka_unit_test(points),
        cmocka_unit_test(classes),
        cmocka_unit_test(multiple_choice),
        cmocka_unit_test(centring),
        cmocka_unit_test(pseudo_labels),
        cmocka_unit_test(length_guard),
        cmocka_unit_test(anchors),
        cmocka_unit_test(temperature),
        cmocka_unit_test(accepted_labels),
        cmocka_unit_test(length_guard_by_label),
        cmocka_unit_test(parallel_rows),
        cmocka_unit_test(partners_by_id),
        cmocka_unit_test(partners_settle_by_direction),
    };
    dial_error err;
    int failed;

    assert_ok(
        di_st_open(di_alloc_default(), TEST_DIR "/fixtures/losses/losses.safetensors", &f, &err),
        err);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    di_st_close(&f);
    return failed;
}
