/*
 * The adaptor of head-only runs: value and gradients against PyTorch, its file, and its fold into
 * the head.
 */
#include "decoder_fixture.h"

#include "model/adaptor.h"
#include "model/head.h"

enum { N = 37, C = 40, R = 6 };

static const di_config CONFIG = {
    .vocab = 9, .width = C, .mlp = 8, .layers = 1, .heads = 4, .kv_heads = 2, .head_dim = 10};
static const char *const KINDS[] = {"linear", "tanh"};

/* Parameters and expected values of a fixture; closes with close_case. */
typedef struct adaptor_case {
    di_st f;
    di_params p;
} adaptor_case;

static void open_case(adaptor_case *c, int tanh)
{
    char path[512];
    dial_error err;
    di_lora_options o = {.adaptor_r = R, .adaptor_tanh = tanh};

    snprintf(path, sizeof path, TEST_DIR "/fixtures/adaptor/%s.safetensors", KINDS[tanh]);
    assert_ok(di_st_open(di_alloc_default(), path, &c->f, &err), err);
    assert_ok(di_params_init(&c->p, di_alloc_default(), &CONFIG, &o, &err), err);
    assert_int_equal(c->p.n, 3);
    memcpy(c->p.theta + c->p.param[0].at, expected(&c->f, "A", R * C), R * C * sizeof(float));
    memcpy(c->p.theta + c->p.param[1].at, expected(&c->f, "B", C * R), R * C * sizeof(float));
    memcpy(di_head_at(&c->p, c->p.theta), expected(&c->f, "w", C), C * sizeof(float));
}

static void close_case(adaptor_case *c)
{
    di_params_deinit(&c->p);
    di_st_close(&c->f);
}

/*
 * Every backend in f32, though the device computes in bf16: sums of at most C + R terms in f32, so
 * 2e-6 of the norm (46 roundings of 2^-24, at random rather than all one way).
 */
static void follows_pytorch(void **state)
{
    static const char *const DTYPES[] = {"f32", "bf16"};

    (void)state;
    for (int k = 0; k < N_BACKENDS * 2 * 2; k++) {
        adaptor_case c;
        di_device dev;
        di_adaptor a;
        dial_error err;
        float out[N * C], one[C], *grad;

        open_case(&c, k % 2);
        open_device(BACKENDS[k / 4], DTYPES[k / 2 % 2], &dev);
        assert_ok(di_adaptor_init(&a, &dev, &c.p, N, &err), err);
        grad = calloc((size_t)c.p.size, sizeof *grad);
        di_adaptor_forward(&a, expected(&c.f, "e", N * C), N, out);
        di_adaptor_backward(&a, expected(&c.f, "e", N * C), expected(&c.f, "de", N * C), N, grad);
        assert_true(relative(out, expected(&c.f, "out", N * C), N * C) < 2e-6);
        assert_true(relative(grad + c.p.param[0].at, expected(&c.f, "dA", R * C), R * C) < 2e-6);
        assert_true(relative(grad + c.p.param[1].at, expected(&c.f, "dB", R * C), R * C) < 2e-6);
        for (int i = 0; i < C; i++) assert_true(di_head_at(&c.p, grad)[i] == 0);
        for (int i = 0; i < N; i++) { /* a row alone as among others */
            di_adaptor_forward(&a, expected(&c.f, "e", N * C) + i * C, 1, one);
            assert_same_bits("alone", one, out + i * C, C);
        }
        free(grad);
        di_adaptor_deinit(&a);
        di_device_close(&dev);
        close_case(&c);
    }
}

/*
 * w'.e = w.e'. Rounding of w' (E = 2^-24 of each), of u = A e, of B u and of e' (sums of C, R + 1
 * terms), and of the two results:
 *     |difference| <= E (|w'|.|e| + |w|.|e'| (C + R + 3 with |B||A||e| for e') + |r| + |r'|).
 */
static void fold_is_the_adaptor(void **state)
{
    const double E = 0x1p-24;
    adaptor_case c;
    dial_error err;
    float fold[C];

    (void)state;
    open_case(&c, 0);
    assert_ok(di_adaptor_fold(&c.p, fold, &err), err);
    for (int i = 0; i < N; i++) {
        const float *e = expected(&c.f, "e", N * C) + i * C;
        const float *a = c.p.theta + c.p.param[0].at, *b = c.p.theta + c.p.param[1].at;
        double want = (double)expected(&c.f, "reward", N)[i], size = 0, limit = 0;
        float got = di_reward(fold, e, C);

        for (int j = 0; j < C; j++) {
            size = fabs((double)e[j]);
            for (int r = 0; r < R; r++) {
                double u = 0;

                for (int l = 0; l < C; l++) u += fabs((double)a[r * C + l] * (double)e[l]);
                size += fabs((double)b[j * R + r]) * u;
            }
            limit += fabs((double)fold[j] * (double)e[j]) +
                     fabs((double)di_head_at(&c.p, c.p.theta)[j]) * size * (C + R + 3);
        }
        assert_true(fabs((double)got - want) <= E * (limit + fabs(want) + fabs((double)got)));
    }
    close_case(&c);
    open_case(&c, 1);
    assert_int_equal(di_adaptor_fold(&c.p, fold, &err), DIAL_ERR_USAGE);
    assert_non_null(strstr(err.message, "does not fold"));
    close_case(&c);
}

/* What is saved comes back to the bit; other programs see the fold; a cut file is refused. */
static void files_keep_all(void **state)
{
    (void)state;
    for (int tanh = 0; tanh < 2; tanh++) {
        adaptor_case c;
        char dir[256], path[300];
        dial_error err;
        di_lora_options o;
        di_params back;
        di_st f;
        float fold[C];

        open_case(&c, tanh);
        make_temp_dir(dir);
        assert_ok(di_adapter_save(&c.p, dir, "base", &err), err);
        assert_ok(di_adapter_read_config(di_alloc_default(), dir, &CONFIG, &o, &err), err);
        assert_int_equal(o.adaptor_r, R);
        assert_int_equal(o.adaptor_tanh, tanh);
        assert_ok(di_params_init(&back, di_alloc_default(), &CONFIG, &o, &err), err);
        assert_ok(di_adapter_load(di_alloc_default(), dir, &back, &err), err);
        assert_memory_equal(back.theta, c.p.theta, (size_t)c.p.size * sizeof *back.theta);
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
        assert_ok(di_st_open(di_alloc_default(), path, &f, &err), err);
        assert_int_equal(f.n, 1);
        memcpy(fold, di_head_at(&c.p, c.p.theta), sizeof fold);
        if (!tanh) assert_ok(di_adaptor_fold(&c.p, fold, &err), err);
        assert_memory_equal(f.tensor[0].data, fold, sizeof fold);
        di_st_close(&f);
        snprintf(path, sizeof path, "%s/adaptor.safetensors", dir);
        assert_int_equal(truncate(path, 200), 0);
        assert_int_equal(di_adapter_load(di_alloc_default(), dir, &back, &err), DIAL_ERR_INPUT);
        assert_non_null(strstr(err.where, "adaptor.safetensors"));
        di_params_deinit(&back);
        close_case(&c);
        di_remove_tree(dir, NULL);
    }
}

static void starts_as_nothing(void **state)
{
    di_lora_options o = {.adaptor_r = R},
                    both = {.r = 2, .alpha = 2, .targets = 1, .end_layer = 1, .adaptor_r = R};
    di_params p;
    dial_error err;
    double most = 0;

    (void)state;
    assert_ok(di_params_init(&p, di_alloc_default(), &CONFIG, &o, &err), err);
    di_params_randomize(&p, 3);
    for (int i = 0; i < R * C; i++) {
        assert_true(p.theta[p.param[1].at + i] == 0); /* B: e' = e at first */
        most = fmax(most, fabs((double)p.theta[p.param[0].at + i]));
    }
    assert_true(most <= 1 / sqrt(C) && most > 0.9 / sqrt(C)); /* A ~ U(-1/sqrt(C), 1/sqrt(C)) */
    di_params_deinit(&p);
    assert_int_equal(di_params_init(&p, di_alloc_default(), &CONFIG, &both, &err), DIAL_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_pytorch),
        cmocka_unit_test(fold_is_the_adaptor),
        cmocka_unit_test(files_keep_all),
        cmocka_unit_test(starts_as_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
