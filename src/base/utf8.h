/* UTF-8: checked once where a text comes in, walked without checks behind that. */
#ifndef DI_BASE_UTF8_H
#define DI_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* n if s[0..n) is valid UTF-8 (no surrogates, nothing overlong), else the offset of the fault. */
size_t di_utf8_check(const char *s, size_t n);

/* The code point at s; the text is valid and not at its end. *size: its bytes. */
static inline uint32_t di_utf8_get(const char *s, size_t *size)
{
    const unsigned char *p = (const unsigned char *)s;

    if (p[0] < 0x80) {
        *size = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *size = 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *size = 3;
        return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *size = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

/* Bytes of the code point that starts with this byte, in valid text. */
static inline size_t di_utf8_size(char lead)
{
    const unsigned char c = (unsigned char)lead;

    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Start of the code point that ends just before s[at]; at > 0. */
static inline size_t di_utf8_before(const char *s, size_t at)
{
    do at--;
    while (((unsigned char)s[at] & 0xc0) == 0x80);
    return at;
}

/* Writes a code point, returns its bytes (1 to 4). */
size_t di_utf8_put(uint32_t c, char *out);

#endif
