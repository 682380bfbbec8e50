/* Properties of the critic that method.md 2.13 asks for, on every backend. */
#include "test.h"

#include <math.h>

#include "align/align.h"
#include "base/rng.h"
#include "model/device.h"

enum { C = 8, ROWS = 4 };

typedef struct game {
    di_device dev;
    di_align *align;
    float e[2 * ROWS * C], de[2 * ROWS * C];
} game;

/* h: width of the first hidden layer, twice that of the second */
static void open_game(game *g, const char *backend, di_critic_act act, int h, double gp, int iters,
                      double decay)
{
    di_wasserstein_options o = {.width = C,
                                .max_rows = 2 * ROWS,
                                .hidden = {h, h / 2},
                                .n_hidden = 2,
                                .act = act,
                                .gp = gp,
                                .iters = iters,
                                .lr = 1e-3,
                                .decay = decay,
                                .seed = 3};
    dial_error err;

    memset(g, 0, sizeof *g);
    assert_ok(di_device_open(di_alloc_default(), NULL, backend, "f32", 1, &g->dev, &err), err);
    assert_ok(di_wasserstein_new(&g->dev, &o, &g->align, &err), err);
}

static void close_game(game *g)
{
    g->align->method->free(g->align);
    di_device_close(&g->dev);
}

static di_align_stats play(game *g)
{
    di_align_stats s = {0};

    g->align->method->fit(g->align, &(di_align_rows){g->e, ROWS, ROWS, NULL}, &s);
    memset(g->de, 0, sizeof g->de);
    g->align->method->gradient(g->align, &(di_align_rows){g->e, ROWS, ROWS, NULL}, 1, g->de, NULL,
                               &s);
    return s;
}

/*
 * Test 8: four source rows at 0, four target rows at theta u. The exact W1 is theta; a fitted
 * critic's gap lies in [theta, 1.02 theta (1 + 3 theta/(2 l))], and the target's gradient is about
 * one long at any distance, so that descent carries the target to the source.
 */
static void disjoint_supports(const char *backend)
{
    static const double distance[] = {0.1, 1, 10};

    for (int k = 0; k < 3; k++) {
        game g;
        double theta = distance[k], l = 10, most = 1 + 3 * theta / (2 * l);
        di_align_stats s;

        open_game(&g, backend, DI_CRITIC_GELU, 256, l, 600, 0);
        for (int i = 0; i < ROWS; i++) g.e[(ROWS + i) * C + 2] = (float)theta;
        s = play(&g);
        assert_true(s.w1 >= theta && s.w1 <= 1.02 * theta * most);
        for (int i = 0; i < ROWS; i++) {
            const float *dt = g.de + (ROWS + i) * C;
            double norm = 0;

            for (int j = 0; j < C; j++) norm += (double)dt[j] * (double)dt[j];
            norm = ROWS * sqrt(norm);
            assert_true(norm >= 0.9 && norm <= most);
            assert_true(dt[2] > 0); /* minus this gradient points to the source */
        }
        close_game(&g);
    }
}

/* 2.10: a linear critic at |Delta| = 2, l = 1 has slope 2, gap 4 and objective 3 at its optimum. */
static void linear_optimum(const char *backend)
{
    game g;
    di_align_stats s;

    open_game(&g, backend, DI_CRITIC_LINEAR, 32, 1, 4000, 0);
    for (int i = 0; i < ROWS; i++) g.e[i * C + 1] = 2;
    s = play(&g);
    assert_true(fabs(s.w1 - 4) < 0.04);
    assert_true(fabs(s.critic_loss + 3) < 0.03);
    assert_true(fabs(s.critic_grad_norm - 2) < 0.02); /* a gap of 4 is 2 along a distance of 2 */
    close_game(&g);
}

/* Test 4: equal sets give gap 0 and dE_S = -dE_T; exchanging the sets negates the gap. */
static void equal_and_exchanged_sets(const char *backend)
{
    game g;
    di_rng r = di_rng_make(5, DI_RNG_GP_ALPHA, 0);
    di_align_stats s, t;
    float swapped[2 * ROWS * C];

    open_game(&g, backend, DI_CRITIC_GELU, 32, 1, 3, 1e-3);
    for (int i = 0; i < ROWS * C; i++) g.e[i] = g.e[ROWS * C + i] = (float)di_rng_normal(&r);
    s = play(&g);
    assert_true(fabs(s.w1) < 1e-6);
    for (int i = 0; i < ROWS * C; i++) assert_true(g.de[i] == -g.de[ROWS * C + i]);
    for (int i = 0; i < ROWS * C; i++) g.e[i] = (float)di_rng_normal(&r);
    memcpy(swapped, g.e + ROWS * C, sizeof swapped / 2);
    memcpy(swapped + ROWS * C, g.e, sizeof swapped / 2);
    g.align->method->gradient(g.align, &(di_align_rows){g.e, ROWS, ROWS, NULL}, 1, NULL, NULL, &s);
    g.align->method->gradient(g.align, &(di_align_rows){swapped, ROWS, ROWS, NULL}, 1, NULL, NULL,
                              &t);
    assert_true(fabs(s.w1 + t.w1) < 1e-6 && fabs(s.w1) > 1e-3);
    close_game(&g);
}

/* Draws of the test below: alpha and pairing. */
static void fixed_draw(void *ctx, float *alpha, int64_t *perm, int64_t n2, int64_t n_t)
{
    (void)ctx;
    for (int64_t i = 0; i < n2; i++) alpha[i] = (float)(i + 1) / 16;
    for (int64_t j = 0; j < n_t; j++) perm[j] = (j + 1) % n_t;
}

/*
 * The penalty at chosen kinds of points: its value and the mean slope are those of the backend's
 * critic_penalty (checked against differences in tests/tensor/critic.c) at points laid out here by
 * the formulas of method.md 2.4, for the critic as it was before the iteration. Same operations on
 * the same numbers, but interpolates that the compiler may contract: 1e-6.
 */
static void chosen_points(const char *backend)
{
    enum { N2 = 2 * ROWS };

    for (unsigned points = 1; points <= DI_GP_AT_ALL; points++) {
        di_wasserstein_options o = {.width = C,
                                    .max_rows = N2,
                                    .hidden = {16, 8},
                                    .n_hidden = 2,
                                    .points = points,
                                    .gp = 10,
                                    .iters = 1,
                                    .lr = 1e-2,
                                    .seed = 3};
        di_rng r = di_rng_make(9, DI_RNG_GP_ALPHA, 0);
        float x[N2 * C], xp[3 * N2 * C], theta[6][16 * C];
        di_align_tensor tensor[8];
        di_critic d = {.n_layers = 3, .width = {C, 16, 8, 1}};
        di_mat at = {xp, DI_F32, 0, C, C};
        di_align_stats s = {0};
        di_device dev;
        di_align *a;
        double gp, slope;
        void *work;
        dial_error err;

        assert_ok(di_device_open(di_alloc_default(), NULL, backend, "f32", 1, &dev, &err), err);
        assert_ok(di_wasserstein_new(&dev, &o, &a, &err), err);
        di_wasserstein_set_draw(a, fixed_draw, NULL);
        assert_int_equal(a->method->tensors(a, tensor, 8), 6);
        for (int i = 0; i < 6; i++) {
            int64_t n = tensor[i].rows * (tensor[i].cols > 0 ? tensor[i].cols : 1);

            memcpy(theta[i], tensor[i].theta, (size_t)n * sizeof(float));
            *(i % 2 == 0 ? &d.w[i / 2] : &d.b[i / 2]) = theta[i];
        }
        for (int i = 0; i < N2 * C; i++) x[i] = (float)(di_rng_normal(&r) * (i < ROWS * C ? 1 : 2));
        for (unsigned kind = 1; kind < DI_GP_AT_ALL; kind *= 2)
            for (int i = 0; i < N2 && (points & kind); i++, at.rows++)
                for (int k = 0; k < C; k++) {
                    float e = x[i % ROWS * C + k], t = x[(ROWS + (i % ROWS + 1) % ROWS) * C + k];

                    xp[at.rows * C + k] = kind == DI_GP_AT_INTERP
                                              ? e + (float)(i + 1) / 16 * (t - e)
                                          : kind == DI_GP_AT_SOURCE ? e
                                                                    : t;
                }
        a->method->fit(a, &(di_align_rows){x, ROWS, ROWS, NULL}, &s);
        work = dev.ops->buffer_new(&dev, dev.ops->critic_bytes(&dev, &d, 3 * N2));
        gp = dev.ops->critic_penalty(&dev, &d, &at, DI_GP_TWO_SIDED, 1, NULL, &slope, work);
        if (!(fabs(s.gp - gp) < 1e-6 && fabs(s.critic_grad_norm - slope) < 1e-6 && gp > 0.01))
            fail_msg("points %u: penalty %.9g, slope %.9g, expected %.9g and %.9g", points, s.gp,
                     s.critic_grad_norm, gp, slope);
        dev.ops->buffer_free(&dev, work);
        a->method->free(a);
        di_device_close(&dev);
    }
}

/* Iterations set on the way are those of a critic that was made with them. */
static void iterations_set_on_the_way(const char *backend)
{
    game a, b;
    di_rng r = di_rng_make(8, DI_RNG_GP_ALPHA, 0);
    di_align_stats s, t;

    open_game(&a, backend, DI_CRITIC_GELU, 32, 1, 3, 1e-3);
    open_game(&b, backend, DI_CRITIC_GELU, 32, 1, 7, 1e-3);
    for (int i = 0; i < 2 * ROWS * C; i++) a.e[i] = b.e[i] = (float)di_rng_normal(&r);
    a.align->method->set_iters(a.align, 7);
    s = play(&a);
    t = play(&b);
    assert_memory_equal(&s, &t, sizeof s);
    a.align->method->set_iters(a.align, 2);
    s = play(&a);
    t = play(&b);
    assert_true(s.w1 < t.w1); /* fewer updates, a smaller gap */
    close_game(&a);
    close_game(&b);
}

/* Saved counters and tensors continue with the same bits. */
static void state_continues(const char *backend)
{
    game a, b;
    di_rng r = di_rng_make(6, DI_RNG_GP_ALPHA, 0);
    di_align_tensor x[16], y[16];
    json_t *state;
    dial_error err;
    di_align_stats s, t;
    int n;

    open_game(&a, backend, DI_CRITIC_GELU, 32, 1, 3, 1e-3);
    open_game(&b, backend, DI_CRITIC_GELU, 32, 1, 3, 1e-3);
    for (int i = 0; i < 2 * ROWS * C; i++) a.e[i] = b.e[i] = (float)di_rng_normal(&r);
    play(&a);
    state = a.align->method->save(a.align);
    n = a.align->method->tensors(a.align, x, 16);
    assert_int_equal(b.align->method->tensors(b.align, y, 16), n);
    assert_int_equal(n, 6);
    for (int i = 0; i < n; i++) {
        size_t bytes = (size_t)(x[i].rows * (x[i].cols > 0 ? x[i].cols : 1)) * sizeof(float);

        memcpy(y[i].theta, x[i].theta, bytes);
        memcpy(y[i].m, x[i].m, bytes);
        memcpy(y[i].v, x[i].v, bytes);
    }
    assert_ok(b.align->method->load(b.align, state, "state", &err), err);
    json_decref(state);
    s = play(&a);
    t = play(&b);
    assert_memory_equal(&s, &t, sizeof s);
    assert_memory_equal(a.de, b.de, sizeof a.de);
    state = json_object();
    assert_int_equal(b.align->method->load(b.align, state, "state.json", &err), DIAL_ERR_INPUT);
    assert_string_equal(err.where, "state.json");
    json_decref(state);
    close_game(&a);
    close_game(&b);
}

#define ON_EACH(name)                                                                              \
    static void name##_ref(void **state)                                                           \
    {                                                                                              \
        (void)state;                                                                               \
        name("ref");                                                                               \
    }                                                                                              \
    static void name##_cpu(void **state)                                                           \
    {                                                                                              \
        (void)state;                                                                               \
        name("cpu");                                                                               \
    }

ON_EACH(disjoint_supports)
ON_EACH(linear_optimum)
ON_EACH(equal_and_exchanged_sets)
ON_EACH(chosen_points)
ON_EACH(iterations_set_on_the_way)
ON_EACH(state_continues)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disjoint_supports_ref),
        cmocka_unit_test(disjoint_supports_cpu),
        cmocka_unit_test(linear_optimum_ref),
        cmocka_unit_test(linear_optimum_cpu),
        cmocka_unit_test(equal_and_exchanged_sets_ref),
        cmocka_unit_test(equal_and_exchanged_sets_cpu),
        cmocka_unit_test(chosen_points_ref),
        cmocka_unit_test(chosen_points_cpu),
        cmocka_unit_test(iterations_set_on_the_way_ref),
        cmocka_unit_test(iterations_set_on_the_way_cpu),
        cmocka_unit_test(state_continues_ref),
        cmocka_unit_test(state_continues_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
