/*
 * The merged model is the mean of products: every s B A, dense, against sum_k c_k s_k B_k A_k in
 * f64, for ranks and scales that differ. Each number of a merged B is rounded to f32 once and a
 * product is a sum of at most 7 terms in f64: 2^-24 of the sum of their sizes bounds the distance.
 */
#include "decoder_fixture.h"

#include "base/rng.h"
#include "model/merge.h"

enum { RUNS = 3 };
static const double SHARE[RUNS] = {0.5, 0.2, 0.3};

static void make(di_params *p, const di_config *c, int k)
{
    static const di_lora_options option[RUNS] = {
        {.r = 2, .alpha = 4, .end_layer = 3, .targets = 1u << DI_Q_PROJ | 1u << DI_DOWN_PROJ},
        {.r = 1, .alpha = 8, .end_layer = 3, .targets = 1u << DI_Q_PROJ | 1u << DI_DOWN_PROJ},
        {.r = 4,
         .alpha = 2,
         .rslora = 1,
         .end_layer = 3,
         .targets = 1u << DI_Q_PROJ | 1u << DI_DOWN_PROJ},
    };
    di_rng r = di_rng_make((uint64_t)k, DI_RNG_WEIGHTS, 0);
    dial_error err = {0};

    assert_ok(di_params_init(p, di_alloc_default(), c, &option[k], &err), err);
    for (int64_t i = 0; i < p->size; i++) p->theta[i] = (float)di_rng_normal(&r);
}

/* Element (row, col) of s B A of a pair, and (size) the sum of its terms' sizes. */
static double product(const di_params *p, int64_t layer, di_linear l, int64_t row, int64_t col,
                      int64_t in, double *size)
{
    const float *a = di_param_at(p, p->theta, layer, l, 0),
                *b = di_param_at(p, p->theta, layer, l, 1);
    double sum = 0, s = (double)di_lora_scale(&p->lora);

    for (int64_t k = 0; k < p->lora.r; k++) {
        double term = s * (double)b[row * p->lora.r + k] * (double)a[k * in + col];

        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static void products_are_averaged(void **state)
{
    di_source *source;
    const di_config *c;
    di_params run[RUNS], m;
    const di_params *list[RUNS];
    static const di_linear linear[] = {DI_Q_PROJ, DI_DOWN_PROJ};
    dial_error err = {0};
    (void)state;

    assert_ok(di_source_open(di_alloc_default(), NULL, MODELS "llama", &source, &err), err);
    c = di_source_config(source);
    for (int k = 0; k < RUNS; k++) {
        make(&run[k], c, k);
        list[k] = &run[k];
    }
    assert_ok(di_params_merge(di_alloc_default(), c, list, SHARE, RUNS, -1, &m, &err), err);
    assert_int_equal(m.lora.r, 7);
    for (int64_t layer = 0; layer < 3; layer++)
        for (int l = 0; l < 2; l++) {
            int64_t out, in;

            di_linear_shape(c, linear[l], &out, &in);
            for (int64_t i = 0; i < out * in; i++) {
                double want = 0, size = 0, unused = 0, got;

                got = product(&m, layer, linear[l], i / in, i % in, in, &size);
                for (int k = 0; k < RUNS; k++)
                    want +=
                        SHARE[k] * product(&run[k], layer, linear[l], i / in, i % in, in, &unused);
                assert_true(fabs(got - want) <= 0x1p-24 * size);
            }
        }
    for (int64_t j = 0; j < m.width; j++) {
        double want = 0;

        for (int k = 0; k < RUNS; k++)
            want += SHARE[k] * (double)di_head_at(list[k], list[k]->theta)[j];
        assert_true(fabs((double)di_head_at(&m, m.theta)[j] - want) <= 0x1p-23);
    }
    di_params_deinit(&m);
    assert_ok(di_params_merge(di_alloc_default(), c, list, SHARE, RUNS, 1, &m, &err), err);
    assert_memory_equal(di_head_at(&m, m.theta), di_head_at(&run[1], run[1].theta),
                        (size_t)m.width * sizeof(float));
    di_params_deinit(&m);
    run[2].lora.targets = 1u << DI_Q_PROJ; /* runs that trained other layers are no mean */
    assert_int_equal(di_params_merge(di_alloc_default(), c, list, SHARE, RUNS, -1, &m, &err),
                     DIAL_ERR_USAGE);
    for (int k = 0; k < RUNS; k++) di_params_deinit(&run[k]);
    di_source_close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_averaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
