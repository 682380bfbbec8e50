/* Which pairs to label: the order by disagreement, the spread, and nothing twice. */
#include "test.h"

#include <math.h>

#include "base/rng.h"
#include "eval/pick.h"

enum { N = 40, C = 5, K = 10, MODELS = 3 };

typedef struct scene {
    di_pick_pair pair[N];
    float e[2 * N * C];
    double m[MODELS][N];
    const double *models[MODELS];
    di_pick_input in;
} scene;

static void make(scene *s, uint64_t seed)
{
    di_rng r = di_rng_make(seed, DI_RNG_WEIGHTS, 0);

    for (int i = 0; i < N; i++) /* a prompt in four rows, a text in two */
        s->pair[i] =
            (di_pick_pair){{100 + (uint64_t)i / 2, 1000 + (uint64_t)i}, 1 + (uint64_t)i / 4};
    for (int i = 0; i < 2 * N * C; i++) s->e[i] = (float)di_rng_normal(&r);
    for (int k = 0; k < MODELS; k++) {
        for (int i = 0; i < N; i++) s->m[k][i] = di_rng_normal(&r) * (k + 1);
        s->models[k] = s->m[k];
    }
    s->in = (di_pick_input){s->pair, s->e, N, C, s->models, MODELS};
}

static double disagreement(const scene *s, int64_t j)
{
    int ab = (s->m[0][j] > 0) != (s->m[1][j] > 0), ac = (s->m[0][j] > 0) != (s->m[2][j] > 0);
    int bc = (s->m[1][j] > 0) != (s->m[2][j] > 0);

    return (ab + ac + bc) / 3.0;
}

static int share(const scene *s, int64_t a, int64_t b)
{
    return s->pair[a].prompt == s->pair[b].prompt || s->pair[a].text[0] == s->pair[b].text[0];
}

static double apart(const scene *s, int64_t a, int64_t b)
{
    double minus = 0, plus = 0;

    for (int k = 0; k < C; k++) {
        double p = (double)s->e[2 * a * C + k] - (double)s->e[(2 * a + 1) * C + k];
        double q = (double)s->e[2 * b * C + k] - (double)s->e[(2 * b + 1) * C + k];

        minus += pow(p - q, 2);
        plus += pow(p + q, 2);
    }
    return fmin(minus, plus);
}

/* The pool is everything: each pick after the first is the furthest of those that are new. */
static void spread(void **state)
{
    scene s;
    int64_t out[K], n;
    dial_error err;
    (void)state;

    make(&s, 0);
    assert_ok(di_pick_disagreement(di_alloc_default(), &s.in, K, out, &n, &err), err);
    assert_int_equal(n, K);
    for (int i = 0; i < N; i++) assert_true(disagreement(&s, out[0]) >= disagreement(&s, i));
    for (int i = 1; i < K; i++) {
        double own = INFINITY;

        for (int j = 0; j < i; j++) own = fmin(own, apart(&s, out[i], out[j]));
        for (int x = 0; x < N; x++) {
            double other = INFINITY;

            for (int j = 0; j < i; j++)
                other = share(&s, x, out[j]) ? -1 : fmin(other, apart(&s, x, out[j]));
            assert_true(other <= own);
        }
        for (int j = 0; j < i; j++) assert_false(share(&s, out[i], out[j]));
    }
}

/* Of two picks the pool holds eight: the second is none of those that disagree less. */
static void pool(void **state)
{
    scene s;
    int64_t out[2], n;
    dial_error err;
    (void)state;

    for (uint64_t seed = 0; seed < 20; seed++) {
        int better = 0;

        make(&s, seed);
        assert_ok(di_pick_disagreement(di_alloc_default(), &s.in, 2, out, &n, &err), err);
        assert_int_equal(n, 2);
        for (int i = 0; i < N; i++) better += disagreement(&s, i) > disagreement(&s, out[1]);
        assert_true(better < 8);
    }
}

/* Swapping the texts of a pair, and any model's margins with it, changes no choice. */
static void order_of_texts_is_no_ones(void **state)
{
    scene s, t;
    int64_t a[K], b[K], n, m;
    dial_error err;
    (void)state;

    make(&s, 1);
    make(&t, 1);
    for (int i = 0; i < N; i += 3) {
        for (int k = 0; k < C; k++) {
            t.e[2 * i * C + k] = s.e[(2 * i + 1) * C + k];
            t.e[(2 * i + 1) * C + k] = s.e[2 * i * C + k];
        }
        for (int k = 0; k < MODELS; k++) t.m[k][i] = -t.m[k][i];
    }
    /* means of the margins move with the order, so compare where ties by confidence play no part */
    assert_ok(di_pick_disagreement(di_alloc_default(), &s.in, 1, a, &n, &err), err);
    assert_ok(di_pick_disagreement(di_alloc_default(), &t.in, 1, b, &m, &err), err);
    assert_true(disagreement(&s, a[0]) == disagreement(&t, b[0]));
}

static void nothing_twice(void **state)
{
    scene s;
    int64_t order[N], out[N], n;
    (void)state;

    make(&s, 2);
    for (int i = 0; i < N; i++) order[i] = N - 1 - i;
    n = di_pick_first(s.pair, order, N, N, out);
    assert_int_equal(n, N / 4); /* one of each prompt, the first in the order */
    for (int i = 0; i < n; i++) assert_int_equal(out[i], N - 1 - 4 * i);
    for (int i = 0; i < N; i++) s.pair[i].prompt = 7;
    di_pick_forget_common_prompt(s.pair, N);
    assert_int_equal(di_pick_first(s.pair, order, N, N, out), N / 2); /* one of each text */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spread),
        cmocka_unit_test(pool),
        cmocka_unit_test(order_of_texts_is_no_ones),
        cmocka_unit_test(nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
