/* The table of trainable tensors: names, places, first values. */
#include <math.h>

#include "files.h"

#include "model/lora.h"

/* Heads and widths all different, so that a mixed-up shape cannot pass. */
static const di_config CONFIG = {
    .vocab = 50, .width = 12, .mlp = 20, .layers = 5, .heads = 4, .kv_heads = 2, .head_dim = 6};

static di_params make(di_lora_options o)
{
    dial_error err = {0};
    di_params p;

    assert_ok(di_params_init(&p, di_alloc_default(), &CONFIG, &o, &err), err);
    return p;
}

static void table_tiles_the_block(void **state)
{
    di_params p = make(
        (di_lora_options){.r = 3, .alpha = 6, .targets = 127, .first_layer = 1, .end_layer = 4});
    int64_t at = 0;
    (void)state;

    assert_int_equal(p.n, 3 * 7 * 2 + 1);
    for (int i = 0; i < p.n; i++) {
        const di_param *t = &p.param[i];
        int64_t out, in;

        assert_int_equal(t->at, at);
        at += t->rows * t->cols;
        if (i == p.n - 1) {
            assert_int_equal(t->layer, -1);
            assert_int_equal(t->rows, 1);
            assert_int_equal(t->cols, 12);
            assert_int_equal(t->at, p.head_at);
            assert_string_equal(t->name, "base_model.model.score.weight");
            continue;
        }
        di_linear_shape(&CONFIG, t->linear, &out, &in);
        assert_int_equal(t->rows, t->is_b ? out : 3);
        assert_int_equal(t->cols, t->is_b ? 3 : in);
        assert_ptr_equal(di_param_at(&p, p.theta, t->layer, t->linear, t->is_b), p.theta + t->at);
    }
    assert_int_equal(p.size, at);
    assert_string_equal(p.param[0].name,
                        "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight");
    assert_string_equal(p.param[13].name,
                        "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
    assert_null(di_param_at(&p, p.theta, 0, DI_Q_PROJ, 0));
    assert_null(di_param_at(&p, p.theta, 4, DI_Q_PROJ, 0));
    for (int64_t i = 0; i < p.size; i++) assert_true(p.theta[i] == 0);
    di_params_deinit(&p);
    di_params_deinit(&p); /* harmless */
}

static void shapes_are_those_of_the_model(void **state)
{
    static const int64_t want[DI_LINEAR_COUNT][2] = {{24, 12}, {12, 12}, {12, 12}, {12, 24},
                                                     {20, 12}, {20, 12}, {12, 20}};
    char path[80];
    (void)state;

    for (int l = 0; l < DI_LINEAR_COUNT; l++) {
        int64_t out, in;

        di_linear_shape(&CONFIG, (di_linear)l, &out, &in);
        assert_int_equal(out, want[l][0]);
        assert_int_equal(in, want[l][1]);
    }
    di_linear_path(path, sizeof path, 255, DI_DOWN_PROJ);
    assert_string_equal(path, "model.layers.255.mlp.down_proj");
}

static void rank_0_is_the_head_alone(void **state)
{
    di_params p = make((di_lora_options){.r = 0});
    (void)state;

    assert_int_equal(p.n, 1);
    assert_int_equal(p.size, 12);
    assert_int_equal(p.head_at, 0);
    assert_null(di_param_at(&p, p.theta, 0, DI_Q_PROJ, 0));
    assert_true(di_lora_scale(&p.lora) == 0);
    di_params_deinit(&p);
}

static void scale_is_alpha_over_rank(void **state)
{
    (void)state;
    assert_true(di_lora_scale(&(di_lora_options){.r = 16, .alpha = 8}) == 0.5F);
    assert_true(di_lora_scale(&(di_lora_options){.r = 16, .alpha = 8, .rslora = 1}) == 2.0F);
}

/*
 * A: each value is the documented number of its own stream. Over all of A the sample mean of U(-b,
 * b) has standard error b / sqrt(3 n) and the mean square b^2/3 one of b^2 sqrt(4/45) / sqrt(n):
 * five of each. The head likewise, N(0, 0.02^2): 0.02 / sqrt(n) and 0.02^2 sqrt(2/n).
 */
static void first_values_come_from_the_seed(void **state)
{
    di_config big = CONFIG;
    di_lora_options o = {.r = 8,
                         .alpha = 8,
                         .targets = 1U << DI_Q_PROJ | 1U << DI_DOWN_PROJ,
                         .first_layer = 0,
                         .end_layer = 5};
    di_params p, q;
    dial_error err = {0};
    double sum = 0, square = 0, n;
    (void)state;

    big.width = 1000;
    big.mlp = 640;
    assert_ok(di_params_init(&p, di_alloc_default(), &big, &o, &err), err);
    di_params_randomize(&p, 42);
    for (int i = 0; i < p.n - 1; i++) {
        const di_param *t = &p.param[i];
        double b = 1 / sqrt((double)t->cols);
        di_rng g = di_rng_make(42, DI_RNG_LORA_INIT, (uint32_t)i);

        sum = square = 0;
        n = (double)(t->rows * t->cols);
        for (int64_t k = 0; k < t->rows * t->cols; k++) {
            double v = (double)p.theta[t->at + k];

            if (t->is_b) {
                assert_true(v == 0);
                continue;
            }
            assert_true(fabs(v) <= b);
            assert_true((float)v == (float)(b * (2 * di_rng_uniform(&g) - 1)));
            sum += v / b;
            square += v * v / b / b;
        }
        if (t->is_b) continue;
        assert_true(fabs(sum / n) <= 5 / sqrt(3 * n));
        assert_true(fabs(square / n - 1.0 / 3) <= 5 * sqrt(4.0 / 45 / n));
    }
    sum = square = 0;
    n = (double)p.width;
    for (int64_t k = 0; k < p.width; k++) {
        double v = (double)p.theta[p.head_at + k] / 0.02;
        sum += v;
        square += v * v;
    }
    assert_true(fabs(sum / n) <= 5 / sqrt(n));
    assert_true(fabs(square / n - 1) <= 5 * sqrt(2 / n));

    /* the head does not depend on the LoRA beside it; another seed gives another one */
    assert_ok(di_params_init(&q, di_alloc_default(), &big, &(di_lora_options){.r = 0}, &err), err);
    di_params_randomize(&q, 42);
    assert_memory_equal(q.theta, p.theta + p.head_at, 1000 * sizeof *q.theta);
    di_params_randomize(&q, 43);
    assert_true(q.theta[0] != p.theta[p.head_at]);
    di_params_deinit(&p);
    di_params_deinit(&q);
}

static void refuses_wrong_options(void **state)
{
    static const di_lora_options wrong[] = {
        {.r = -1},
        {.r = 4, .targets = 0, .end_layer = 5},
        {.r = 4, .targets = 128, .end_layer = 5},
        {.r = 4, .targets = 1, .first_layer = 2, .end_layer = 2},
        {.r = 4, .targets = 1, .first_layer = -1, .end_layer = 2},
        {.r = 4, .targets = 1, .end_layer = 6},
        {.r = 4, .targets = 1, .end_layer = 5, .alpha = NAN},
    };
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dial_error err = {0};
        di_params p = {.n = 77};

        assert_int_equal(di_params_init(&p, di_alloc_default(), &CONFIG, &wrong[i], &err),
                         DIAL_ERR_USAGE);
        assert_true(err.message[0] != '\0');
        assert_int_equal(p.n, 77); /* untouched */
    }
}

static dial_status init_once(void *arg, dial_error *err)
{
    di_lora_options o = {.r = 4, .alpha = 4, .targets = 5, .end_layer = 2};
    di_params p = {.al = &heap_alloc};
    dial_status st = di_params_init(&p, &heap_alloc, arg, &o, err);

    di_params_deinit(&p);
    return st;
}

static void survives_failed_allocations(void **state)
{
    (void)state;
    assert_int_equal(fail_each_allocation(init_once, (void *)(uintptr_t)&CONFIG), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_tiles_the_block),
        cmocka_unit_test(shapes_are_those_of_the_model),
        cmocka_unit_test(rank_0_is_the_head_alone),
        cmocka_unit_test(scale_is_alpha_over_rank),
        cmocka_unit_test(first_values_come_from_the_seed),
        cmocka_unit_test(refuses_wrong_options),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
