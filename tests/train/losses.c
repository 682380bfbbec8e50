/*
 * Losses and their gradients against PyTorch (tests/fixtures/make_losses.py). Values are sums of at
 * most 30 terms in f64, of inputs that both sides hold in f32; a gradient is rounded to f32 once:
 * 2^-24 of it, with room for a second rounding where two terms meet in one number.
 */
#include "test.h"

#include <math.h>

#include "model/safetensors.h"
#include "train/centring.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bradley_terry),
        cmocka_unit_test(points),
        cmocka_unit_test(multiple_choice),
        cmocka_unit_test(centring),
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
