/*
 * Code points and their classes, as the `tokenizers` library sees them.
 *
 * That library takes its character data from four places of different age: its regular expressions
 * (Oniguruma) know Unicode 16, its normalisation forms stopped at Unicode 9, its digits and lower
 * case (Rust) are at Unicode 17. utf8proc supplies the bulk of the data here; the differences are
 * tables in unicode.c, found by comparing every code point, so that the ids do not depend on the
 * version of utf8proc.
 */
#ifndef DI_TEXT_UNICODE_H
#define DI_TEXT_UNICODE_H

#include "base/utf8.h"

/* General category, as far as a pattern of interfaces.md 3.3 can ask for it. */
typedef enum di_category {
    DI_CAT_OTHER, /* C: control, format, private use, unassigned */
    DI_CAT_LU,
    DI_CAT_LL,
    DI_CAT_LT,
    DI_CAT_LM,
    DI_CAT_LO,
    DI_CAT_MARK,      /* M */
    DI_CAT_DIGIT,     /* Nd */
    DI_CAT_LETTERNUM, /* Nl */
    DI_CAT_NUMBER,    /* No */
    DI_CAT_CONNECTOR, /* Pc */
    DI_CAT_PUNCT,     /* the other P */
    DI_CAT_SYMBOL,    /* S */
    DI_CAT_SEPARATOR  /* Z */
} di_category;

/* What the scanners tell apart; the four do not overlap. */
enum { DI_CLASS_OTHER, DI_CLASS_LETTER, DI_CLASS_NUMBER, DI_CLASS_SPACE };

di_category di_category_of(uint32_t c);
int di_class_of_wide(uint32_t c);

/* \p{L}, \p{N}, \s or none of them. */
static inline int di_class_of(uint32_t c)
{
    if (c < 0x80) {
        if ((c | 0x20) - 'a' < 26u) return DI_CLASS_LETTER;
        if (c - '0' < 10u) return DI_CLASS_NUMBER;
        return c == ' ' || c - 9 < 5u ? DI_CLASS_SPACE : DI_CLASS_OTHER;
    }
    return di_class_of_wide(c);
}

/* White_Space: \s of both regular expression engines and Rust's is_whitespace. */
static inline int di_is_space(uint32_t c)
{
    return di_class_of(c) == DI_CLASS_SPACE;
}

/* Rust's char::is_numeric, which `Digits` asks. */
int di_is_numeric(uint32_t c);

/* \w of Rust's regex, which `single_word` asks: letters, marks, digits, connectors, joiners. */
int di_is_word(uint32_t c);

/* Rust's char::to_lowercase: 1 or 2 code points. */
int di_lowercase(uint32_t c, uint32_t out[2]);

/*
 * Younger than the Unicode 9 data of the normalisation forms, and with a combining class or a
 * decomposition today: the forms leave such a code point alone and stop at it.
 */
int di_norm_unknown(uint32_t c);

/*
 * Code points that a regular expression knows and that older versions of PCRE2 and utf8proc do
 * not: n rows of first, last, category.
 */
typedef struct di_late_range {
    uint32_t first, last;
    di_category category;
} di_late_range;

const di_late_range *di_late_ranges(size_t *n);

#endif
