/*
 * Text that knows where it came from. A piece is a view of a few bytes together with the place of
 * each in the input of di_tokenizer_encode; a rewriter builds changed text, byte by byte with its
 * place, for the next step to view.
 */
#ifndef DI_TEXT_PIECE_H
#define DI_TEXT_PIECE_H

#include "base/alloc.h"

/*
 * Borrowed. The first k bytes of s stand for the input up to at + k (end NULL: not rewritten) or
 * up to end[k - 1]; at is where the piece begins.
 */
typedef struct di_piece {
    const char *s;
    size_t n;
    const uint32_t *end;
    uint32_t at;
    int first; /* its first byte stands for the first character of the input */
} di_piece;

/* Where in the input the first k bytes of the piece end. */
static inline uint32_t di_piece_end(const di_piece *p, size_t k)
{
    if (p->end == NULL) return p->at + (uint32_t)k;
    return k == 0 ? p->at : p->end[k - 1];
}

/* Bytes from..to of a piece. */
static inline di_piece di_piece_cut(const di_piece *p, size_t from, size_t to)
{
    return (di_piece){p->s + from, to - from, p->end != NULL ? p->end + from : NULL,
                      di_piece_end(p, from), p->first && from == 0};
}

/* Text under construction. After a failed append `failed` is set and later ones do nothing. */
typedef struct di_rewriter {
    const di_alloc *al;
    char *s;
    uint32_t *end;
    size_t n, cap;
    int failed;
} di_rewriter;

void di_rewriter_deinit(di_rewriter *w);

/* Empties it; the memory stays. */
static inline void di_rewriter_reset(di_rewriter *w)
{
    w->n = 0;
    w->failed = 0;
}

/* n bytes that all stand for the input up to `end`. */
void di_rewriter_put(di_rewriter *w, const char *s, size_t n, uint32_t end);

/* Bytes from..to of p, unchanged. */
void di_rewriter_copy(di_rewriter *w, const di_piece *p, size_t from, size_t to);

/* A view of what was built from p, valid until the next append; first as given. */
static inline di_piece di_rewriter_piece(const di_rewriter *w, const di_piece *p, int first)
{
    return (di_piece){w->s, w->n, w->end, p->at, first};
}

#endif
