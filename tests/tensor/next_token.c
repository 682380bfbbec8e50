/*
 * Cross-entropy of next tokens: ref against differences, the others against ref. Values of f32 rows
 * carry f64 sums in ref and f32 exponentials elsewhere: 2^-24 each of exp, its argument (up to 20
 * in size here, so 20 of them) and the last product, 32 of them in all, of the largest gradient u.
 */
#include "test.h"

#include <math.h>

#include "base/rng.h"
#include "model/device.h"

enum { N = 5, V = 37, STRIDE = 41 };

static void fill(float *x, float scale)
{
    di_rng r = di_rng_make(9, DI_RNG_WEIGHTS, 0);

    for (int i = 0; i < N * STRIDE; i++) x[i] = scale * (float)di_rng_normal(&r);
}

static const int32_t id[N] = {0, 36, 17, 5, 5};
static const float weight[N] = {1, 0.5f, 2, 0, 0.25f};

static void run(const char *backend, float cap, float scale, float *x, double *loss)
{
    di_device dev;
    dial_error err;
    di_mat m = {x, DI_F32, N, V, STRIDE};

    fill(x, scale);
    assert_ok(di_device_open(di_alloc_default(), NULL, backend, "f32", 2, &dev, &err), err);
    dev.ops->next_token(&dev, &m, id, weight, cap, loss);
    di_device_close(&dev);
}

/* Loss of row n by its definition. */
static double loss_of(const float *x, int n, float cap)
{
    double sum = 0, own = 0;

    for (int v = 0; v < V; v++) {
        double s = (double)x[n * STRIDE + v];

        if (cap > 0) s = (double)cap * tanh(s / (double)cap);
        sum += exp(s);
        if (v == id[n]) own = s;
    }
    return (double)weight[n] * (log(sum) - own);
}

static void ref_follows_differences(void **state)
{
    float x[N * STRIDE], y[N * STRIDE];
    double loss[N];
    (void)state;

    for (int k = 0; k < 2; k++) {
        float cap = k == 0 ? 0 : 3;

        run("ref", cap, 2, y, loss);
        fill(x, 2);
        for (int n = 0; n < N; n++) {
            assert_true(fabs(loss[n] - loss_of(x, n, cap)) < 1e-12);
            for (int v = 0; v < V; v++) {
                float keep = x[n * STRIDE + v], h = 0x1p-9f;
                double up, down;

                x[n * STRIDE + v] = keep + h;
                up = loss_of(x, n, cap);
                x[n * STRIDE + v] = keep - h;
                down = loss_of(x, n, cap);
                x[n * STRIDE + v] = keep;
                /* h^2/6 of a third derivative below 2, and the rounding of keep +- h */
                assert_true(fabs((up - down) / (2 * (double)h) - (double)y[n * STRIDE + v]) < 4e-5);
            }
            for (int v = V; v < STRIDE; v++)
                assert_true(y[n * STRIDE + v] == x[n * STRIDE + v]); /* what lies between rows */
        }
    }
}

static void cpu_equals_ref(void **state)
{
    float x[N * STRIDE], y[N * STRIDE];
    double a[N], b[N];
    (void)state;

    for (int k = 0; k < 2; k++) {
        float cap = k == 0 ? 0 : 10;

        run("ref", cap, 5, x, a);
        run("cpu", cap, 5, y, b);
        for (int n = 0; n < N; n++) {
            assert_true(fabs(a[n] - b[n]) <= 32 * 0x1p-24 * fmax(1, fabs(a[n])));
            for (int v = 0; v < V; v++)
                assert_true(fabsf(x[n * STRIDE + v] - y[n * STRIDE + v]) <=
                            32 * 0x1p-24f * weight[n]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_follows_differences),
        cmocka_unit_test(cpu_equals_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
