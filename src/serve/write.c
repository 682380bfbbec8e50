#include "serve/write.h"

#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s (n > 0 left); 0: none. No surrogates, nothing overlong. */
static size_t sequence(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;

    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

static int is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void di_write_string(di_buf *out, const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;

    di_buf_append(out, "\"", 1);
    for (size_t i = 0, run; i < n; i += run) {
        for (run = 0; i + run < n && is_plain(s[i + run]);) run++;
        if (run > 0) {
            di_buf_append(out, s + i, run);
            continue;
        }
        run = sequence(s + i, n - i);
        if (run > 1)
            di_buf_append(out, s + i, run);
        else if (run == 0)
            di_buf_append(out, "\xef\xbf\xbd", 3);
        else if (s[i] == '"' || s[i] == '\\')
            di_buf_printf(out, "\\%c", s[i]);
        else
            di_buf_printf(out, "\\u%04x", s[i]);
        if (run == 0) run = 1;
    }
    di_buf_append(out, "\"", 1);
}

void di_write_text(di_buf *out, const char *text)
{
    di_write_string(out, text, strlen(text));
}

void di_write_f32(di_buf *out, float x)
{
    char text[32];
    int n = snprintf(text, sizeof text - 2, "%.9g", (double)x);

    if (strpbrk(text, ".en") == NULL) { /* clients in typed languages tell 1 and 1.0 apart */
        text[n++] = '.';
        text[n++] = '0';
    }
    di_buf_append(out, text, (size_t)n);
}

void di_write_vector(di_buf *out, const float *x, int64_t n)
{
    di_buf_append(out, "[", 1);
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) di_buf_append(out, ",", 1);
        di_write_f32(out, x[i]);
    }
    di_buf_append(out, "]", 1);
}

void di_write_base64(di_buf *out, const float *x, int64_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t size = (size_t)n * 4;
    uint32_t bits = 0, held = 0;
    char four[4];

    di_buf_append(out, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        uint32_t word;

        memcpy(&word, x + i / 4, sizeof word);
        bits = bits << 8 | (word >> 8 * (i % 4) & 0xff); /* low byte first on any machine */
        if (++held < 3 && i + 1 < size) continue;
        bits <<= 8 * (3 - held);
        for (uint32_t k = 0; k < 4; k++)
            four[k] = k <= held ? digit[bits >> (18 - 6 * k) & 63] : '=';
        di_buf_append(out, four, 4);
        bits = held = 0;
    }
    di_buf_append(out, "\"", 1);
}
