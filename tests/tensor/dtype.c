/* Element types: names, f16, and the closed forms of the block types on planted bytes. */
#include "test.h"

#include <math.h>

#include "tensor/dtype.h"

static void names_and_ids(void **state)
{
    (void)state;
    assert_string_equal(di_dtype_name(DI_Q4_K), "Q4_K");
    assert_string_equal(di_dtype_name(DI_DTYPE_COUNT), "unknown");
    assert_int_equal(di_dtype_block(DI_Q6_K), 256);
    assert_int_equal(di_dtype_block_bytes(DI_Q6_K), 210);
    assert_int_equal(di_dtype_from_gguf(30), DI_BF16);
    assert_int_equal(di_dtype_from_gguf(14), DI_Q6_K);
    assert_int_equal(di_dtype_from_gguf(10), DI_DTYPE_COUNT);         /* Q2_K: not read */
    assert_int_equal(di_dtype_from_gguf(UINT32_MAX), DI_DTYPE_COUNT); /* not the -1 of I32 */
    assert_int_equal(di_dtype_row_bytes(DI_Q4_1, 576), 360);
}

/* Every f16 value against sign * 2^(e-15) * (1 + m/1024), or 2^-14 * m/1024 where e is 0. */
static void every_half(void **state)
{
    (void)state;
    for (uint32_t x = 0; x < 65536; x++) {
        int e = x >> 10 & 31, m = x & 1023;
        double sign = x & 0x8000 ? -1 : 1;
        float y = di_f16_to_f32((uint16_t)x);

        if (e == 31 && m != 0) {
            assert_true(isnan(y));
        } else {
            double want = e == 31 ? INFINITY : e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
            assert_true((double)y == sign * want && !!signbit(y) == (sign < 0));
        }
    }
}

static void bf16_rounds_to_even(void **state)
{
    (void)state;
    assert_int_equal(di_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(di_f32_to_bf16(0x1.01p0f), 0x3f80); /* a tie: down to even */
    assert_int_equal(di_f32_to_bf16(0x1.03p0f), 0x3f82); /* a tie: up to even */
    assert_int_equal(di_f32_to_bf16(-0x1.0102p0f), 0xbf81);
    assert_int_equal(di_f32_to_bf16(INFINITY), 0x7f80);
    assert_true(isnan(di_bf16_to_f32(di_f32_to_bf16(NAN))));
    assert_true(di_bf16_to_f32(0xc049) == -3.140625f);
}

/* Bytes (37k + 11) mod 256, then d = 0.125 and m or dmin = -0.5; values from interfaces.md 3.5. */
static void unit_vectors(void **state)
{
    static const struct {
        di_dtype type;
        int d_at, m_at; /* -1: no such field */
        double y[5];    /* y[0], y[1], y[n/2-1], y[n/2], y[n-1] */
        double sum;
    } row[] = {
        {DI_Q4_0, 0, -1, {-0.375, 0.25, -1, -0.375, 0}, -2.625},
        {DI_Q4_1, 0, 2, {1.375, 0, 0.75, 0.625, 1}, 14.625},
        {DI_Q5_0, 0, -1, {1.125, -0.25, -1.5, 1.75, 0.125}, 1.875},
        {DI_Q5_1, 0, 2, {1.875, 2.5, 3.25, 1.875, 0.125}, 47.125},
        {DI_Q8_0, 0, -1, {10.625, 15.25, -16, -11.375, -6}, -22},
        {DI_Q4_K, 0, 2, {68.125, 25.5, 29.25, 59.625, 25.75}, 11557},
        {DI_Q5_K, 0, 2, {130.125, 25.5, 18.75, 137.625, 33.25}, 19279},
        {DI_Q6_K, 208, -1, {-178.875, 212, 187.5, -43.875, -7.5}, 576.5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const int n = (int)di_dtype_block(row[i].type);
        const int bytes = (int)di_dtype_block_bytes(row[i].type);
        const int at[5] = {0, 1, n / 2 - 1, n / 2, n - 1};
        unsigned char storage[2 * 256 + 1], *block = storage + 1; /* an odd address */
        float y[512];
        double sum = 0;

        for (int b = 0; b < 2; b++) { /* two equal blocks: the step from one to the next */
            unsigned char *p = block + b * bytes;

            for (int k = 0; k < bytes; k++) p[k] = (unsigned char)(37 * k + 11);
            memcpy(p + row[i].d_at, "\x00\x30", 2);
            if (row[i].m_at >= 0) memcpy(p + row[i].m_at, "\x00\xb8", 2);
        }
        di_dequantize(row[i].type, block, y, 2 * n);
        for (int k = 0; k < 5; k++) {
            if ((double)y[at[k]] != row[i].y[k] || (double)y[n + at[k]] != row[i].y[k])
                fail_msg("%s: y[%d] = %g, expected %g", di_dtype_name(row[i].type), at[k],
                         (double)y[at[k]], row[i].y[k]);
        }
        for (int k = 0; k < n; k++) sum += (double)y[k];
        if (sum != row[i].sum)
            fail_msg("%s: sum %g, expected %g", di_dtype_name(row[i].type), sum, row[i].sum);
    }
}

static void plain_types(void **state)
{
    unsigned char bytes[13] = {0, 0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b}; /* f16 1, -2, 65504 at 1 */
    const float value[3] = {1.5f, -0.0f, INFINITY};
    float y[3] = {7, 7, 7};
    (void)state;
    di_dequantize(DI_F16, bytes + 1, y, 3);
    assert_true(y[0] == 1 && y[1] == -2 && y[2] == 65504);
    di_dequantize(DI_BF16, bytes + 1, y, 2); /* 0x3c00, 0xc000 */
    assert_true(y[0] == 0.0078125f && y[1] == -2 && y[2] == 65504);
    memcpy(bytes + 1, value, sizeof value);
    di_dequantize(DI_F32, bytes + 1, y, 3);
    assert_memory_equal(y, value, sizeof value);
    di_dequantize(DI_Q4_K, bytes, y, 0); /* nothing: nothing written */
    assert_memory_equal(y, value, sizeof value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_ids),       cmocka_unit_test(every_half),
        cmocka_unit_test(bf16_rounds_to_even), cmocka_unit_test(unit_vectors),
        cmocka_unit_test(plain_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
