#include "align/transport.h"

#include <math.h>
#include <string.h>

/* Sums worth waking threads for. */
enum { PARALLEL = 16384 };

/* out_i = -d eps LSE_j(log(1/m) + (g_j - c_ij)/eps) for c [n, m]. */
static void half_step(const di_entropic *o, const double *c, int64_t n, int64_t m, const double *g,
                      double *out)
{
    double damp = isinf(o->rho) ? 1 : o->rho / (o->rho + o->eps);

#pragma omp parallel for num_threads(o->threads) schedule(static) if (n * m > PARALLEL)
    for (int64_t i = 0; i < n; i++) {
        const double *row = c + i * m;
        double top = -INFINITY, sum = 0;

        for (int64_t j = 0; j < m; j++) top = fmax(top, g[j] - row[j]);
        for (int64_t j = 0; j < m; j++) sum += exp((g[j] - row[j] - top) / o->eps);
        out[i] = -damp * (top + o->eps * log(sum / (double)m));
    }
}

/* Moves f to its new values; returns mean |exp((f_old - f_new)/eps) - 1|, which for balanced
 * transport is the error of the row marginals of (f_old, g). */
static double move(const di_entropic *o, double *f, const double *next, int64_t n, double step)
{
    double error = 0;

    for (int64_t i = 0; i < n; i++) {
        error += fabs(expm1((f[i] - next[i]) / o->eps)) / (double)n;
        f[i] += step * (next[i] - f[i]);
    }
    return error;
}

/* What one side's potentials add to the dual: mean f, or -rho mean(exp(-f/rho) - 1). */
static double dual(const di_entropic *o, const double *f, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += isinf(o->rho) ? f[i] : -o->rho * expm1(-f[i] / o->rho);
    return sum / (double)n;
}

double di_transport_plan(const di_entropic *o, const double *c, int64_t n, int64_t m,
                         const double *f, const double *g, double *plan)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double p = exp((f[i] + g[j] - c[i * m + j]) / o->eps) / ((double)n * (double)m);

            if (plan != NULL) plan[i * m + j] = p;
            sum += p;
        }
    return sum;
}

double di_transport_entropic(const di_entropic *o, const double *c, const double *turned, int64_t n,
                             int64_t m, double *f, double *g, double *scratch)
{
    double error = INFINITY;

    memset(f, 0, (size_t)n * sizeof *f);
    memset(g, 0, (size_t)m * sizeof *g);
    for (int k = 0; k < o->iterations && error > o->tol; k++) {
        half_step(o, turned, m, n, f, g);
        half_step(o, c, n, m, g, scratch);
        error = move(o, f, scratch, n, 1);
    }
    return dual(o, f, n) + dual(o, g, m) - o->eps * (di_transport_plan(o, c, n, m, f, g, NULL) - 1);
}

double di_transport_self(const di_entropic *o, const double *c, int64_t n, double *f,
                         double *scratch)
{
    double error = INFINITY;

    memset(f, 0, (size_t)n * sizeof *f);
    for (int k = 0; k < o->iterations && error > o->tol; k++) { /* the mean of old and new: plain
                                                                   steps would swing about */
        half_step(o, c, n, n, f, scratch);
        error = move(o, f, scratch, n, 0.5);
    }
    return 2 * dual(o, f, n) - o->eps * (di_transport_plan(o, c, n, n, f, f, NULL) - 1);
}

/* Exact transport. Masses are whole: a source has L/n units, a target L/m, L = lcm(n, m). */
typedef struct exact {
    const double *c;
    int64_t n, m;
    int64_t *flow;          /* [n, m] */
    int64_t *left, *wanted; /* [n], [m] units not yet placed */
    double *u, *v;          /* [n], [m] potentials: c - u - v >= 0, and 0 where flow is */
    double *row, *col;      /* [n], [m] length of the shortest path so far */
    int64_t *from_row;      /* [m] row before this column */
    int64_t *from_col;      /* [n] column before this row; -1: the path starts here; -2: not yet */
    int64_t *done;          /* [m] */
} exact;

static int64_t gcd(int64_t a, int64_t b)
{
    return b == 0 ? a : gcd(b, a % b);
}

/* Paths that now reach row i go on to every column. */
static void scan(exact *x, int64_t i)
{
    for (int64_t j = 0; j < x->m; j++) {
        double d = x->row[i] + x->c[i * x->m + j] - x->u[i] - x->v[j];

        if (x->done[j] || d >= x->col[j]) continue;
        x->col[j] = d;
        x->from_row[j] = i;
    }
}

/* Dijkstra from row i to the nearest column that wants something; returns it. */
static int64_t shortest_path(exact *x, int64_t start)
{
    for (int64_t i = 0; i < x->n; i++) x->from_col[i] = -2;
    for (int64_t j = 0; j < x->m; j++) {
        x->col[j] = INFINITY;
        x->done[j] = 0;
    }
    x->from_col[start] = -1;
    x->row[start] = 0;
    scan(x, start);
    for (;;) {
        int64_t best = -1;

        for (int64_t j = 0; j < x->m; j++)
            if (!x->done[j] && (best < 0 || x->col[j] < x->col[best])) best = j;
        if (x->wanted[best] > 0) return best;
        x->done[best] = 1;
        for (int64_t i = 0; i < x->n; i++) { /* what flows there may flow elsewhere */
            if (x->from_col[i] != -2 || x->flow[i * x->m + best] == 0) continue;
            x->from_col[i] = best;
            x->row[i] = x->col[best];
            scan(x, i);
        }
    }
}

/* Sends what fits along the path that ends in column j, from row `start`. */
static void augment(exact *x, int64_t start, int64_t end)
{
    int64_t units = x->left[start] < x->wanted[end] ? x->left[start] : x->wanted[end];

    for (int64_t j = end;;) {
        int64_t i = x->from_row[j], back = x->from_col[i];

        if (back < 0) break;
        if (x->flow[i * x->m + back] < units) units = x->flow[i * x->m + back];
        j = back;
    }
    for (int64_t j = end;;) {
        int64_t i = x->from_row[j], back = x->from_col[i];

        x->flow[i * x->m + j] += units;
        if (back < 0) break;
        x->flow[i * x->m + back] -= units;
        j = back;
    }
    x->left[start] -= units;
    x->wanted[end] -= units;
}

void di_transport_exact(const double *c, int64_t n, int64_t m, double *plan, void *work)
{
    int64_t *next = work, common = n / gcd(n, m) * m;
    exact x = {.c = c, .n = n, .m = m, .flow = next};

    x.left = x.flow + n * m;
    x.wanted = x.left + n;
    x.u = (double *)(x.wanted + m);
    x.v = x.u + n;
    x.row = x.v + m;
    x.col = x.row + n;
    x.from_row = (int64_t *)(x.col + m);
    x.from_col = x.from_row + m;
    x.done = x.from_col + n;
    memset(x.flow, 0, (size_t)(n * m) * sizeof *x.flow);
    for (int64_t i = 0; i < n; i++) x.left[i] = common / n;
    for (int64_t j = 0; j < m; j++) {
        x.wanted[j] = common / m;
        x.v[j] = INFINITY; /* the least cost of the column: reduced costs start at >= 0 */
        for (int64_t i = 0; i < n; i++) x.v[j] = fmin(x.v[j], c[i * m + j]);
    }
    for (int64_t i = 0; i < n; i++) x.u[i] = 0;
    for (int64_t i = 0; i < n; i++)
        while (x.left[i] > 0) {
            int64_t end = shortest_path(&x, i);
            double length = x.col[end];

            for (int64_t k = 0; k < n; k++)
                if (x.from_col[k] != -2) x.u[k] += length - x.row[k];
            for (int64_t j = 0; j < m; j++)
                if (x.done[j]) x.v[j] -= length - x.col[j];
            augment(&x, i, end);
        }
    for (int64_t k = 0; k < n * m; k++) plan[k] = (double)x.flow[k] / (double)common;
}
