#include "text/spm.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "text/unicode.h"

/*
 * SentencePiece itself joins the pair whose joint token has the highest score, the leftmost on
 * ties. Ranked merges differ from that only where one token can be put together in two ways that
 * overlap in the text (in "aaaa": a+aa before aa+a), for there the rank decides before the place.
 * The library's own conversion has the same property, and its ids are the ones to reproduce.
 */
typedef struct cut {
    float score;
    uint32_t left_size, right_size; /* code points */
    int32_t left, right, id;
} cut;

static int by_rank(const void *pa, const void *pb)
{
    const cut *a = pa, *b = pb;

    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->id != b->id) {
        /* tokens of equal score: by the sizes of the parts, then by id */
        if (a->left_size != b->left_size) return a->left_size > b->left_size ? -1 : 1;
        if (a->right_size != b->right_size) return a->right_size > b->right_size ? -1 : 1;
        return a->id < b->id ? -1 : 1;
    }
    return a->left_size > b->left_size ? -1 : a->left_size < b->left_size;
}

typedef struct cuts {
    const di_alloc *al;
    cut *row;
    size_t n, cap;
} cuts;

static dial_status add(cuts *c, cut row, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (c->n == c->cap) {
        const size_t cap = c->cap + c->cap / 2 + 1024;
        cut *p = di_resize(c->al, c->row, cap * sizeof *p);

        if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu merges", cap);
        c->row = p;
        c->cap = cap;
    }
    c->row[c->n++] = row;
done:
    return st;
}

/* Neither markup nor byte tokens can come from merging text. */
static int is_text(const int32_t *types, size_t id)
{
    return types == NULL || types[id] == DI_TOKEN_NORMAL || types[id] == DI_TOKEN_USER ||
           types[id] == DI_TOKEN_UNUSED;
}

static dial_status cut_token(const di_bpe *b, const int32_t *types, int32_t id, float score,
                             cuts *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_str t = b->lex.token[id];
    size_t i = t.size > 0 ? di_utf8_size(t.data[0]) : 0;
    uint32_t size = 0;

    for (size_t k = 0; k < t.size; k += di_utf8_size(t.data[k])) size++;
    for (uint32_t k = 1; i < t.size; k++) {
        const int32_t left = di_lexicon_find(&b->lex, t.data, i);

        if (left >= 0 && is_text(types, (size_t)left)) {
            const int32_t right = di_lexicon_find(&b->lex, t.data + i, t.size - i);

            if (right >= 0 && is_text(types, (size_t)right))
                DI_TRY(add(c, (cut){score, k, size - k, left, right, id}, err));
        }
        i += di_utf8_size(t.data[i]);
    }
done:
    return st;
}

dial_status di_spm_merges(di_bpe *b, const float *scores, const int32_t *types, const char *where,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    cuts c = {.al = b->al};

    for (size_t id = 0; id < b->lex.n; id++) {
        if (!isfinite(scores[id]))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "convert the model again",
                       "score of token %zu is no finite number", id);
        if (is_text(types, id)) DI_TRY(cut_token(b, types, (int32_t)id, scores[id], &c, err));
    }
    if (c.n > 1) qsort(c.row, c.n, sizeof *c.row, by_rank);
    DI_TRY(di_bpe_reserve(b, c.n, err));
    for (size_t i = 0; i < c.n; i++)
        di_bpe_put(b, c.row[i].left, c.row[i].right, (uint32_t)i, c.row[i].id);
done:
    di_free(b->al, c.row);
    return st;
}
