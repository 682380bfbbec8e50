#include "text/script.h"

static const char *const names[DI_N_SCRIPTS] = {"Latin",  "Greek",      "Cyrillic", "Hebrew",
                                                "Arabic", "Devanagari", "Thai",     "Kana",
                                                "Hangul", "Han",        "Other"};

/* Blocks of the Unicode standard, 15.0; ascending. */
static const struct {
    uint32_t first, last;
    di_script script;
} blocks[] = {
    {0x0041, 0x005A, DI_SCRIPT_LATIN},      {0x0061, 0x007A, DI_SCRIPT_LATIN},
    {0x00AA, 0x00AA, DI_SCRIPT_LATIN},      {0x00BA, 0x00BA, DI_SCRIPT_LATIN},
    {0x00C0, 0x00D6, DI_SCRIPT_LATIN},      {0x00D8, 0x00F6, DI_SCRIPT_LATIN},
    {0x00F8, 0x02AF, DI_SCRIPT_LATIN},      {0x0370, 0x03FF, DI_SCRIPT_GREEK},
    {0x0400, 0x052F, DI_SCRIPT_CYRILLIC},   {0x0590, 0x05FF, DI_SCRIPT_HEBREW},
    {0x0600, 0x06FF, DI_SCRIPT_ARABIC},     {0x0750, 0x077F, DI_SCRIPT_ARABIC},
    {0x0900, 0x097F, DI_SCRIPT_DEVANAGARI}, {0x0E00, 0x0E7F, DI_SCRIPT_THAI},
    {0x1100, 0x11FF, DI_SCRIPT_HANGUL},     {0x1E00, 0x1EFF, DI_SCRIPT_LATIN},
    {0x1F00, 0x1FFF, DI_SCRIPT_GREEK},      {0x3040, 0x30FF, DI_SCRIPT_KANA},
    {0x3130, 0x318F, DI_SCRIPT_HANGUL},     {0x3400, 0x9FFF, DI_SCRIPT_HAN},
    {0xAC00, 0xD7AF, DI_SCRIPT_HANGUL},     {0xF900, 0xFAFF, DI_SCRIPT_HAN},
    {0x20000, 0x323AF, DI_SCRIPT_HAN},
};

const char *di_script_name(di_script s)
{
    return names[s];
}

/* The code point at text[0..n), and its length; the text is valid UTF-8. */
static uint32_t decode(const unsigned char *text, size_t n, size_t *size)
{
    size_t want = text[0] < 0x80 ? 1 : text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 : 4;
    uint32_t c = want == 1 ? text[0] : text[0] & (0xFFu >> (want + 1));

    *size = want <= n ? want : n;
    for (size_t i = 1; i < *size; i++) c = c << 6 | (text[i] & 0x3Fu);
    return c;
}

static int neutral(uint32_t c)
{
    return c < 0x250 || (c >= 0x0300 && c <= 0x036F) || (c >= 0x2000 && c <= 0x2BFF) ||
           (c >= 0x3000 && c <= 0x303F) || (c >= 0xFE00 && c <= 0xFE0F) ||
           (c >= 0xFF00 && c <= 0xFFEF);
}

void di_script_count(const char *text, size_t n, int64_t *count)
{
    for (size_t at = 0, size; at < n; at += size) {
        uint32_t c = decode((const unsigned char *)text + at, n - at, &size);
        int found = 0;

        for (size_t b = 0; b < sizeof blocks / sizeof *blocks && blocks[b].first <= c; b++)
            if (c <= blocks[b].last) {
                count[blocks[b].script]++;
                found = 1;
            }
        if (!found && !neutral(c)) count[DI_SCRIPT_OTHER]++;
    }
}
