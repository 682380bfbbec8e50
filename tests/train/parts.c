/* The small parts of training: the loss at its ends, schedules, order of rows, splits. */
#include "test.h"

#include <math.h>

#include "model/device.h"
#include "train/curriculum.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/sampler.h"
#include "train/schedule.h"
#include "train/split.h"

/* method.md 2.13, 2: at m = 0 and M = 1 the loss is ln 2 and dm = -1/2. */
static void bradley_terry_at_zero(void **state)
{
    float r[2] = {1.5f, 1.5f}, dr[2];
    di_loss_result out = di_bt_loss(&(di_bt_args){.r = r, .m = 1, .dr = dr});
    (void)state;
    assert_true(fabs(out.loss - 0.693147180559945) < 1e-12);
    assert_true(dr[0] == -0.5f && dr[1] == 0.5f);
    assert_true(out.accuracy == 0.5 && out.ties == 1);
}

static void extreme_margins_stay_finite(void **state)
{
    float r[2] = {-1e30f, 1e30f}, dr[2];
    di_loss_result out = di_bt_loss(&(di_bt_args){.r = r, .m = 1, .dr = dr});
    (void)state;
    assert_true(isfinite(out.loss) && dr[0] == -1.0f && dr[1] == 1.0f);
    assert_true(di_softplus(-800) == 0 && di_softplus(800) == 800);
}

static void schedules(void **state)
{
    (void)state;
    assert_true(di_schedule_factor(DI_CONSTANT, 0, 100, 0) == 1);
    assert_true(di_schedule_factor(DI_COSINE, 4, 100, 10) == 0.5);
    assert_true(di_schedule_factor(DI_COSINE, 10, 110, 10) == 1);
    assert_true(fabs(di_schedule_factor(DI_COSINE, 60, 110, 10) - 0.5) < 1e-12);
    assert_true(di_schedule_factor(DI_LINEAR, 75, 100, 0) == 0.25);
    assert_true(di_ramp_factor(DI_RAMP_DANN, 0, 100, 0, 0) == 0);
    assert_true(fabs(di_ramp_factor(DI_RAMP_DANN, 100, 100, 0, 0) - 0.9999092) < 1e-6);
    assert_true(di_ramp_factor(DI_RAMP_LINEAR, 5, 100, 0, 20) == 0.25);
    assert_true(di_ramp_factor(DI_RAMP_LINEAR, 50, 100, 0, 20) == 1);
    /* nothing before the start; from there what a ramp does from step 0, in the steps that are left
     */
    for (int kind = DI_RAMP_NONE; kind <= DI_RAMP_LINEAR; kind++) {
        assert_true(di_ramp_factor((di_ramp)kind, 29, 100, 30, 20) == 0);
        for (int step = 30; step < 100; step++)
            assert_true(di_ramp_factor((di_ramp)kind, step, 100, 30, 20) ==
                        di_ramp_factor((di_ramp)kind, step - 30, 70, 0, 20));
    }
}

/*
 * Two rows of a head behind three other weights. Without a limit a step of 0.1 takes row 0 from 5
 * to about 5.1; with one it ends on the ball, in the direction that the step gave it: products with
 * one factor, rounded to f32, so 2^-24 of each and of the norm. Row 1, which is short, and what is
 * no head move as without it; a step of LoRA alone looks at no head.
 */
static void head_is_held_to_a_norm(void **state)
{
    enum { LORA = 3, WIDTH = 2, SIZE = LORA + 2 * WIDTH };
    const float start[SIZE] = {9, 9, 9, -3, 4, 0.5f, 0}, g[SIZE] = {1, 1, 1, 1, -1, 1, 1};
    float theta[2][SIZE];
    di_device dev;
    dial_error err;
    double was, is;
    (void)state;

    assert_ok(di_device_open(di_alloc_default(), NULL, "ref", "f32", 1, &dev, &err), err);
    for (int k = 0; k < 2; k++) {
        di_params p = {.width = WIDTH, .size = SIZE, .head_at = LORA, .theta = theta[k]};
        di_optimizer o;

        assert_ok(di_optimizer_init(&o, &dev, &p, 0, 0, &err), err);
        o.head_norm_max = k == 0 ? 0 : 2;
        memcpy(theta[k], start, sizeof start);
        memcpy(o.g, g, sizeof g);
        di_optimizer_step(&o, DI_GROUP_LORA, 0.1, 0.1);
        assert_memory_equal(theta[k] + LORA, start + LORA, sizeof(float) * 2 * WIDTH);
        memcpy(o.g, g, sizeof g);
        di_optimizer_step(&o, DI_GROUP_LORA | DI_GROUP_HEAD, 0.1, 0.1);
        di_optimizer_deinit(&o);
    }
    for (int i = 0; i < SIZE; i++)
        if (i < LORA || i >= LORA + WIDTH) assert_true(theta[0][i] == theta[1][i]);
    was = hypot((double)theta[0][LORA], (double)theta[0][LORA + 1]);
    is = hypot((double)theta[1][LORA], (double)theta[1][LORA + 1]);
    assert_true(was > 5.1 && fabs(is - 2) < 2 * 0x1p-24);
    for (int i = LORA; i < LORA + WIDTH; i++)
        assert_true(fabs((double)theta[1][i] - (double)theta[0][i] * 2 / was) < 2 * 0x1p-24);
    di_device_close(&dev);
}

static void every_pass_sees_every_row_once(void **state)
{
    di_sampler s, again;
    dial_error err;
    int64_t first[7];
    int same = 1;
    (void)state;
    assert_ok(di_sampler_init(&s, di_alloc_default(), 7, 3, DI_RNG_SOURCE_ORDER, &err), err);
    for (int pass = 0; pass < 3; pass++) {
        int seen[7] = {0};

        for (int i = 0; i < 7; i++) {
            int64_t x = di_sampler_next(&s);

            seen[x]++;
            if (pass == 0) first[i] = x;
            same = same && (pass == 0 || x == first[i]);
        }
        for (int i = 0; i < 7; i++) assert_int_equal(seen[i], 1);
    }
    assert_false(same); /* reshuffled */
    assert_ok(di_sampler_init(&again, di_alloc_default(), 7, 3, DI_RNG_SOURCE_ORDER, &err), err);
    di_sampler_next(&s);
    di_sampler_next(&s);
    di_sampler_seek(&again, s.pass, s.at);
    for (int i = 0; i < 20; i++) assert_int_equal(di_sampler_next(&s), di_sampler_next(&again));
    di_sampler_deinit(&s);
    di_sampler_deinit(&again);
}

/* What a curriculum opens, and when: K = 3, with and without labels, of a run that thirds divide.
 */
static void bins_open_from_near_to_far(void **state)
{
    const di_curriculum plain = {.bins = 3}, labelled = {.bins = 3, .labelled = 1};
    (void)state;
    for (int64_t s = 0; s < 12; s++) {
        assert_int_equal(di_curriculum_open(&plain, s, 12), 1 + s / 4);
        assert_int_equal(di_curriculum_open(&labelled, s, 12), s < 6 ? 1 : s < 9 ? 2 : 3);
    }
    assert_int_equal(di_curriculum_begin(&plain, 1, 10), 4); /* rounded up */
    assert_int_equal(di_curriculum_rows(&plain, 1, 10), 3);
    assert_int_equal(di_curriculum_rows(&plain, 2, 10), 6);
    assert_int_equal(di_curriculum_rows(&plain, 3, 10), 10);
}

static void a_pass_goes_over_open_rows_alone(void **state)
{
    static const int64_t rank[6] = {4, 0, 5, 2, 1, 3};
    di_sampler s;
    dial_error err;
    (void)state;
    assert_ok(di_sampler_init(&s, di_alloc_default(), 6, 3, DI_RNG_TARGET_ORDER, &err), err);
    s.rank = rank;
    di_sampler_open(&s, 2);
    for (int i = 0; i < 5; i++) { /* ends within a pass */
        int64_t x = di_sampler_next(&s);

        assert_true(x == 4 || x == 0);
    }
    di_sampler_open(&s, 4);
    for (int pass = 0; pass < 2; pass++) {
        int seen[6] = {0};

        for (int i = 0; i < 4; i++) seen[di_sampler_next(&s)]++;
        for (int i = 0; i < 6; i++) assert_int_equal(seen[i], i != 1 && i != 3);
        di_sampler_open(&s, 4); /* nothing new: the pass goes on */
    }
    di_sampler_deinit(&s);
}

/* n pairs; pair i has prompt i % prompts, texts t(i) and u(i), and topic i % 2. */
typedef struct rows {
    di_dataset d, *list;
    di_seq seq[400];
    int32_t text_of[400];
    di_example example[200];
    di_examples all;
} rows;

static void make_rows(rows *r, int n, int prompts, int texts)
{
    dial_error err;

    memset(r, 0, sizeof *r);
    for (int i = 0; i < n; i++) {
        for (int t = 0; t < 2; t++) {
            r->seq[2 * i + t] = (di_seq){.n = 1,
                                         .prompt_hash = (uint64_t)(i % prompts),
                                         .hash = (uint64_t)(1000 + (t ? i % texts : 5000 + i))};
            r->text_of[2 * i + t] = 2 * i + t;
        }
        r->example[i] = (di_example){
            .kind = DI_ROW_PAIR, .first = 2 * i, .n_texts = 2, .group = i % 2 ? "odd" : "even"};
    }
    r->d = (di_dataset){.example = r->example, .n = n, .text_of = r->text_of, .seq = r->seq};
    r->list = &r->d;
    assert_ok(di_examples_all(di_alloc_default(), &r->list, 1, &r->all, &err), err);
}

static void held_out_rows_keep_their_prompts(void **state)
{
    rows r;
    di_examples held;
    int by_row;
    dial_error err;
    (void)state;
    make_rows(&r, 200, 40, 200);
    assert_ok(di_examples_hold_out(di_alloc_default(), &r.all, 0.1, 1, &held, &by_row, &err), err);
    assert_false(by_row);
    assert_int_equal(held.n + r.all.n, 200);
    assert_true(held.n >= 20 && held.n <= 30);
    for (int64_t i = 0; i < held.n; i++)
        for (int64_t j = 0; j < r.all.n; j++)
            assert_true(di_example_seq(&held, i, 0)->prompt_hash !=
                        di_example_seq(&r.all, j, 0)->prompt_hash);
    di_examples_free(di_alloc_default(), &held);
    di_examples_free(di_alloc_default(), &r.all);
}

static void equal_prompts_split_by_shared_texts(void **state)
{
    rows r;
    di_examples held;
    int by_row;
    dial_error err;
    (void)state;
    make_rows(&r, 200, 1, 50); /* four pairs share each second text */
    assert_ok(di_examples_hold_out(di_alloc_default(), &r.all, 0.1, 1, &held, &by_row, &err), err);
    assert_false(by_row);
    assert_int_equal(held.n % 4, 0);
    for (int64_t i = 0; i < held.n; i++)
        for (int64_t j = 0; j < r.all.n; j++)
            assert_true(di_example_seq(&held, i, 1)->hash != di_example_seq(&r.all, j, 1)->hash);
    di_examples_free(di_alloc_default(), &held);
    di_examples_free(di_alloc_default(), &r.all);
    make_rows(&r, 200, 1, 1); /* one connected group: by row, and said so */
    assert_ok(di_examples_hold_out(di_alloc_default(), &r.all, 0.1, 1, &held, &by_row, &err), err);
    assert_true(by_row);
    assert_int_equal(held.n, 20); /* a tenth of each of two topics */
    di_examples_free(di_alloc_default(), &held);
    di_examples_free(di_alloc_default(), &r.all);
}

static void a_draw_keeps_the_order_of_the_file(void **state)
{
    rows r;
    dial_error err;
    (void)state;
    make_rows(&r, 100, 10, 10);
    assert_ok(di_examples_draw(di_alloc_default(), &r.all, 30, 5, &err), err);
    assert_int_equal(r.all.n, 30);
    for (int i = 1; i < 30; i++) assert_true(r.all.ref[i].example > r.all.ref[i - 1].example);
    di_examples_free(di_alloc_default(), &r.all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bradley_terry_at_zero),
        cmocka_unit_test(extreme_margins_stay_finite),
        cmocka_unit_test(schedules),
        cmocka_unit_test(head_is_held_to_a_norm),
        cmocka_unit_test(every_pass_sees_every_row_once),
        cmocka_unit_test(bins_open_from_near_to_far),
        cmocka_unit_test(a_pass_goes_over_open_rows_alone),
        cmocka_unit_test(held_out_rows_keep_their_prompts),
        cmocka_unit_test(equal_prompts_split_by_shared_texts),
        cmocka_unit_test(a_draw_keeps_the_order_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
