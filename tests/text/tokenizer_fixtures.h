/*
 * The files of tests/fixtures/tokenizers (make_tokenizers.py): strings, the ids expected of them,
 * and the comparison of a tokenizer with both.
 */
#ifndef DIAL_TEST_TOKENIZER_FIXTURES_H
#define DIAL_TEST_TOKENIZER_FIXTURES_H

#include "test.h"

#include "base/file.h"
#include "text/tokenizer.h"

#define TOKENIZERS TEST_DIR "/fixtures/tokenizers/"

typedef struct fixture_strings {
    char *file;
    di_str *row;
    size_t n;
} fixture_strings;

typedef struct fixture_ids {
    char *file;
    const uint32_t *hash; /* one per string, then one per block of the sweep */
    size_t n;
} fixture_ids;

static inline void fixture_read(const char *name, char **file, size_t *n)
{
    char path[400];
    dial_error err = {0};

    snprintf(path, sizeof path, "%s%s", TOKENIZERS, name);
    assert_ok(di_read_file(di_alloc_default(), path, file, n, &err), err);
}

static inline fixture_strings fixture_strings_open(void)
{
    fixture_strings s = {0};
    size_t bytes, at = 4;
    uint32_t n, size;

    fixture_read("strings.bin", &s.file, &bytes);
    memcpy(&n, s.file, 4);
    s.n = n;
    s.row = di_new_array(di_alloc_default(), n, sizeof *s.row);
    for (size_t i = 0; i < n; i++) {
        memcpy(&size, s.file + at, 4);
        s.row[i] = (di_str){s.file + at + 4, size};
        at += 4 + size;
    }
    assert_int_equal(at, bytes);
    return s;
}

static inline void fixture_strings_close(fixture_strings *s)
{
    di_free(di_alloc_default(), s->row);
    di_free(di_alloc_default(), s->file);
}

static inline fixture_ids fixture_ids_open(const char *name)
{
    fixture_ids x = {0};

    fixture_read(name, &x.file, &x.n);
    x.n /= sizeof *x.hash;
    x.hash = (const uint32_t *)(const void *)x.file; /* blocks are aligned to 64 */
    return x;
}

static inline void fixture_ids_close(fixture_ids *x)
{
    di_free(di_alloc_default(), x->file);
}

/* FNV-1a with an id a step, folded: what fold() of make_tokenizers.py gives. */
static inline uint32_t fixture_fold(const int32_t *id, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++) h = (h ^ (uint32_t)id[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ h >> 32);
}

/* Ends never decrease, the last is the end of the text, and none lies beyond it. */
static inline void fixture_check_ends(const di_token_list *list, size_t n)
{
    for (size_t i = 0; i < list->n; i++) {
        assert_true(list->end[i] <= n);
        if (i > 0) assert_true(list->end[i - 1] <= list->end[i]);
    }
}

static inline size_t fixture_encode(const di_tokenizer *t, const char *text, size_t n,
                                    uint32_t want, const char *what, di_token_list *list)
{
    dial_error err = {0};

    assert_ok(di_tokenizer_encode(t, text, n, list, &err), err);
    fixture_check_ends(list, n);
    if (fixture_fold(list->id, list->n) == want) return 0;
    print_message("%s: other ids for '%.*s'\n  got", what, n < 100 ? (int)n : 100, text);
    for (size_t i = 0; i < list->n && i < 20; i++) print_message(" %d", (int)list->id[i]);
    print_message("\n");
    return 1;
}

/* Every stride-th string; the number of strings with other ids than expected. */
static inline size_t fixture_compare(const di_tokenizer *t, const fixture_strings *s, size_t stride,
                                     const uint32_t *want, const char *what, di_token_list *list)
{
    size_t bad = 0;

    for (size_t i = 0, k = 0; i < s->n && bad < 10; i += stride, k++)
        bad += fixture_encode(t, s->row[i].data, s->row[i].size, want[k], what, list);
    return bad;
}

static inline size_t fixture_put(char *out, const char *s, size_t n)
{
    memcpy(out, s, n);
    return n;
}

/* One code point of the sweep: sweep() of make_tokenizers.py. */
static inline size_t fixture_sweep_row(uint32_t c, int is_short, char *out)
{
    char x[4];
    size_t size, n = 0;
    const char *form = is_short ? "xax\xcc\x81 " : "x axx1 x'x  x\n";

    if (c < 0x80) {
        x[0] = (char)c;
        size = 1;
    } else if (c < 0x800) {
        x[0] = (char)(0xc0 | c >> 6);
        x[1] = (char)(0x80 | (c & 0x3f));
        size = 2;
    } else if (c < 0x10000) {
        x[0] = (char)(0xe0 | c >> 12);
        x[1] = (char)(0x80 | (c >> 6 & 0x3f));
        x[2] = (char)(0x80 | (c & 0x3f));
        size = 3;
    } else {
        x[0] = (char)(0xf0 | c >> 18);
        x[1] = (char)(0x80 | (c >> 12 & 0x3f));
        x[2] = (char)(0x80 | (c >> 6 & 0x3f));
        x[3] = (char)(0x80 | (c & 0x3f));
        size = 4;
    }
    for (; *form != '\0'; form++)
        n += *form == 'x' ? fixture_put(out + n, x, size) : fixture_put(out + n, form, 1);
    return n;
}

enum { FIXTURE_SWEEP = 0x40000 / 1024 + 0x1000 / 1024 + 1 };

static inline size_t fixture_sweep(const di_tokenizer *t, int is_short, const uint32_t *want,
                                   const char *what, di_token_list *list)
{
    char *text = di_new(di_alloc_default(), 1024 * 48), name[120];
    size_t bad = 0;

    for (uint32_t k = 0; k < FIXTURE_SWEEP && bad < 5; k++) {
        const uint32_t block = k < 256                 ? k
                               : k + 1 < FIXTURE_SWEEP ? 0xe0000 / 1024 + k - 256
                                                       : 0x110000 / 1024 - 1;
        size_t n = 0;

        for (uint32_t c = block * 1024; c < (block + 1) * 1024; c++)
            if (c < 0xd800 || c > 0xdfff) n += fixture_sweep_row(c, is_short, text + n);
        snprintf(name, sizeof name, "%s, code points from U+%04X", what, (unsigned)block * 1024);
        bad += fixture_encode(t, text, n, want[k], name, list);
    }
    di_free(di_alloc_default(), text);
    return bad;
}

#endif
