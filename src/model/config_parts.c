#include "model/config_parts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"

static double scaled(const di_rope *r, double f)
{
    double wavelength = 2 * 3.14159265358979323846 / f, s;

    if (r->kind == DI_ROPE_DEFAULT || r->kind == DI_ROPE_DIVIDED) return f;
    if (r->kind == DI_ROPE_LINEAR) return f / r->factor;
    if (wavelength > r->original / r->low) return f / r->factor;
    if (wavelength < r->original / r->high) return f;
    s = (r->original / wavelength - r->low) / (r->high - r->low);
    return (1 - s) * f / r->factor + s * f;
}

void di_rope_fill(const di_rope *rope, int64_t head_dim, const void *divisor, float *freq)
{
    for (int64_t i = 0; i < head_dim / 2; i++) {
        double f = scaled(rope, pow(rope->base, -2.0 * (double)i / (double)head_dim));
        float by = 1;

        if (divisor != NULL) memcpy(&by, (const char *)divisor + 4 * i, sizeof by);
        freq[i] = (float)(f / (double)by);
    }
}

dial_status di_config_check(const di_config *c, const char *where, dial_error *err)
{
    /* Each bound is far above any model of these families, and products of two fit 63 bits. */
    const struct {
        const char *name;
        int64_t value, min, max;
    } row[] = {
        {"rows of the vocabulary", c->vocab, 1, INT32_MAX},
        {"width", c->width, 1, 1 << 20},
        {"MLP width", c->mlp, 1, 1 << 22},
        {"layers", c->layers, 1, DI_MAX_LAYERS},
        {"heads", c->heads, 1, 4096},
        {"key/value heads", c->kv_heads, 1, c->heads},
        {"head size", c->head_dim, 2, 2 * (int64_t)(sizeof c->freq / sizeof *c->freq)},
        {"context", c->context, 1, (int64_t)1 << 31},
    };
    dial_status st = DIAL_OK;

    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].value < row[i].min || row[i].value > row[i].max)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where,
                       "check that this is a model of a supported family",
                       "expected %" PRId64 " to %" PRId64 " %s, found %" PRId64, row[i].min,
                       row[i].max, row[i].name, row[i].value);
    if (c->heads % c->kv_heads != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "check the numbers of heads",
                   "expected heads to be a multiple of key/value heads, found %" PRId64
                   " and %" PRId64,
                   c->heads, c->kv_heads);
    if (c->head_dim % 2 != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "check the head size",
                   "expected an even head size, which RoPE needs, found %" PRId64, c->head_dim);
    if (!(c->norm_eps > 0) || !(c->norm_eps < 1))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "check the epsilon of the norms",
                   "expected an epsilon between 0 and 1, found %g", (double)c->norm_eps);
    if (!(c->attn_scale > 0) || !isfinite(c->attn_scale) || !(c->attn_cap >= 0) ||
        !isfinite(c->attn_cap) || !(c->logit_cap >= 0) || !isfinite(c->logit_cap))
        DI_FAIL_AT(
            err, DIAL_ERR_INPUT, where, "check the attention scale and the soft caps",
            "expected an attention scale above 0 and soft caps of at least 0, found %g, %g, %g",
            (double)c->attn_scale, (double)c->attn_cap, (double)c->logit_cap);
    for (int64_t i = 0; i < c->head_dim / 2; i++)
        if (!isfinite(c->freq[i]) || !(c->freq[i] > 0) || !isfinite(c->freq_local[i]) ||
            !(c->freq_local[i] > 0))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "check the RoPE settings",
                       "RoPE frequency %" PRId64 " is no positive number", i);
done:
    return st;
}
