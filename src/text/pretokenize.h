/*
 * The pre-tokenizer of a tokenizer.json: steps applied one after the other, each on the pieces of
 * the one before. A piece goes through all steps before the next is cut off, so that nothing but
 * rewritten text is stored. interfaces.md 3.3.
 */
#ifndef DI_TEXT_PRETOKENIZE_H
#define DI_TEXT_PRETOKENIZE_H

#include "text/piece.h"
#include "text/regex.h"
#include "text/scan.h"

typedef enum di_pre_kind {
    DI_PRE_BYTELEVEL, /* add_prefix, use_regex */
    DI_PRE_DIGITS,    /* behaviour: isolated (each digit) or contiguous */
    DI_PRE_SPLIT,     /* scan, or regex, or text; behaviour, invert */
    DI_PRE_METASPACE  /* text: the replacement; scheme, split */
} di_pre_kind;

typedef enum di_behaviour {
    DI_SPLIT_ISOLATED,
    DI_SPLIT_REMOVED,
    DI_SPLIT_MERGED_WITH_PREVIOUS,
    DI_SPLIT_MERGED_WITH_NEXT,
    DI_SPLIT_CONTIGUOUS
} di_behaviour;

typedef enum di_scheme { DI_PREPEND_ALWAYS, DI_PREPEND_FIRST, DI_PREPEND_NEVER } di_scheme;

typedef struct di_pre_step {
    di_pre_kind kind;
    di_behaviour behaviour;
    di_scheme scheme;
    int add_prefix, use_regex, invert, split;
    di_scan scan;
    int is_regex; /* text is a regular expression (scan, or regex), else a string */
    char *text;   /* owned; NULL where the kind has none */
    size_t text_n;
    di_regex *regex; /* owned */
} di_pre_step;

enum { DI_PRE_STEPS = 16 };

typedef struct di_pretokenizer {
    di_pre_step step[DI_PRE_STEPS];
    size_t n;
    /*
     * The last step is ByteLevel and its result is not spelt out in the 256 letters that stand for
     * bytes: the sink receives the bytes themselves.
     */
    int raw_bytes;
} di_pretokenizer;

void di_pretokenizer_deinit(di_pretokenizer *pt, const di_alloc *al);

/* Working memory; one thread at a time. */
typedef struct di_pre_work {
    di_rewriter text[DI_PRE_STEPS], mapped[DI_PRE_STEPS];
    di_regex_work *regex;
} di_pre_work;

void di_pre_work_init(di_pre_work *w, const di_alloc *al, di_regex_work *regex);
void di_pre_work_deinit(di_pre_work *w);

/* Receives the pieces in order; none is empty, each is valid during the call alone. */
typedef dial_status (*di_piece_sink)(void *ctx, const di_piece *p, dial_error *err);

dial_status di_pretokenize(const di_pretokenizer *pt, di_pre_work *w, const di_piece *p,
                           di_piece_sink sink, void *ctx, dial_error *err);

/*
 * The letter that stands for a byte in a byte-level vocabulary: bytes 33-126, 161-172 and 174-255
 * are the code point of the same number, the other 68 are U+0100.. in order.
 */
uint32_t di_byte_letter(unsigned char byte);

/* The byte that a code point stands for, -1: none. */
int di_letter_byte(uint32_t letter);

#endif
