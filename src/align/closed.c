#include "align/closed.h"

void *di_closed_new(di_device *dev, const di_align_setup *setup, size_t size,
                    const di_align_method *method, int with_queue)
{
    di_closed *f = di_zalloc(dev->al, size);

    if (f == NULL) return NULL;
    f->base.method = method;
    f->dev = dev;
    f->set = *setup;
    f->mem.al = dev->al;
    di_queue_init(&f->queue, &f->mem, setup->width, with_queue ? setup->queue : 0, setup->queue_age,
                  setup->max_rows);
    return f;
}

void di_closed_free(di_align *a)
{
    di_closed *f = (di_closed *)a;
    const di_alloc *al;

    if (f == NULL) return;
    al = f->mem.al;
    di_blocks_free(&f->mem);
    di_free(al, f);
}

void di_closed_fit(di_align *a, const di_align_rows *rows, di_align_stats *stats)
{
    di_queue_push(&((di_closed *)a)->queue, rows);
    di_closed_stats(stats);
}

int di_closed_tensors(di_align *a, di_align_tensor *out, int cap)
{
    return di_queue_tensors(&((di_closed *)a)->queue, out, cap);
}

json_t *di_closed_save(const di_align *a)
{
    return di_queue_save(&((const di_closed *)a)->queue);
}

dial_status di_closed_load(di_align *a, const json_t *state, const char *where, dial_error *err)
{
    return di_queue_load(&((di_closed *)a)->queue, state, where, err);
}

void di_closed_stats(di_align_stats *stats)
{
    stats->critic_loss = stats->gp = stats->critic_grad_norm = NAN;
}

void di_row_mean(const float *x, int64_t n, int64_t c, double *mean)
{
    for (int64_t j = 0; j < c; j++) mean[j] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) mean[j] += (double)x[i * c + j];
    for (int64_t j = 0; j < c && n > 0; j++) mean[j] /= (double)n;
}

void di_row_centre(const float *x, int64_t n, int64_t c, const double *mean, float *out)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) out[i * c + j] = (float)((double)x[i * c + j] - mean[j]);
}

double di_means_apart(const double *const mu[DI_SIDES], int64_t c)
{
    double sum = 0;

    for (int64_t j = 0; j < c; j++) {
        double d = mu[DI_SOURCE][j] - mu[DI_TARGET][j];

        sum += d * d;
    }
    return sum;
}

void di_means_push(const di_align_rows *rows, const double *const mu[DI_SIDES], int64_t c,
                   double factor, float *dx)
{
    for (int k = 0; k < DI_SIDES; k++) {
        double share = factor / (double)di_side_rows(rows, k) * (k == DI_SOURCE ? 1 : -1);
        float *dx_k = dx + di_side_first(rows, k) * c;

        for (int64_t i = 0; i < di_side_rows(rows, k); i++)
            for (int64_t j = 0; j < c; j++)
                dx_k[i * c + j] += (float)(share * (mu[DI_SOURCE][j] - mu[DI_TARGET][j]));
    }
}

double di_row_dot(const float *x, const float *y, int64_t c)
{
    double sum = 0;

    for (int64_t j = 0; j < c; j++) sum += (double)x[j] * (double)y[j];
    return sum;
}

void di_row_squares(const float *x, int64_t n, int64_t c, double *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = di_row_dot(x + i * c, x + i * c, c);
}

void *di_product_work(di_blocks *mem, di_device *dev, int64_t rows, int64_t c)
{
    size_t turned = dev->ops->multiply_bytes(dev, rows, c);
    size_t plain = dev->ops->multiply_bytes(dev, c, rows);

    return di_blocks_take(mem, (int64_t)(turned > plain ? turned : plain), 1);
}

void di_product(di_device *dev, const float *a, int64_t n, int64_t k, const float *b, int64_t m,
                int turned, float *y, int add, void *work)
{
    di_mat ma = {(void *)(uintptr_t)a, DI_F32, n, k, k};
    di_mat mb = {(void *)(uintptr_t)b, DI_F32, turned ? m : k, turned ? k : m, turned ? k : m};
    di_mat my = {y, DI_F32, n, m, m};

    dev->ops->multiply(dev, &ma, &mb, turned, &my, add, work);
}

void di_row_pull(di_device *dev, const float *w, const float *x, int64_t n, const float *r,
                 int64_t m, int64_t c, float *dx, void *work)
{
    di_product(dev, w, n, m, r, c, 0, dx, 1, work);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;

        for (int64_t j = 0; j < m; j++) sum += (double)w[i * m + j];
        for (int64_t j = 0; j < c; j++) dx[i * c + j] -= (float)(sum * (double)x[i * c + j]);
    }
}
