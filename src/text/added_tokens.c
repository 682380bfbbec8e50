#include "text/added_tokens.h"

#include <string.h>

#include "base/error.h"
#include "text/unicode.h"

void di_trie_init(di_trie *t, const di_alloc *al)
{
    *t = (di_trie){.al = al, .n = 1};
}

void di_trie_deinit(di_trie *t)
{
    if (t->al != NULL) di_free(t->al, t->node);
    *t = (di_trie){.al = t->al, .n = 1};
}

static uint32_t new_node(di_trie *t, unsigned char byte)
{
    if (t->n >= t->cap) {
        const size_t cap = t->cap + t->cap / 2 + 64;
        di_trie_node *p = di_resize(t->al, t->node, cap * sizeof *p);

        if (p == NULL) return 0;
        t->node = p;
        t->cap = cap;
    }
    t->node[t->n] = (di_trie_node){.byte = byte};
    return (uint32_t)t->n++;
}

dial_status di_trie_put(di_trie *t, const char *s, size_t n, size_t index, int64_t *old,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    const unsigned char first = (unsigned char)s[0];
    uint32_t at = t->root[first];

    if (at == 0) {
        at = new_node(t, first);
        if (at == 0) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for added tokens");
        t->root[first] = at;
        t->starts++;
        t->only_start = first;
    }
    for (size_t i = 1; i < n; i++) {
        const unsigned char byte = (unsigned char)s[i];
        uint32_t next = t->node[at].child;

        while (next != 0 && t->node[next].byte != byte) next = t->node[next].sibling;
        if (next == 0) {
            next = new_node(t, byte);
            if (next == 0) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for added tokens");
            t->node[next].sibling = t->node[at].child;
            t->node[at].child = next;
        }
        at = next;
    }
    *old = (int64_t)t->node[at].added - 1;
    t->node[at].added = (uint32_t)index + 1;
done:
    return st;
}

/* Longest string of the set at s[from]: its index + 1 and *end; 0: none. */
static uint32_t longest_at(const di_trie *t, const char *s, size_t n, size_t from, size_t *end)
{
    uint32_t at = t->root[(unsigned char)s[from]], found = 0;

    for (size_t i = from; at != 0;) {
        const di_trie_node *node = &t->node[at];

        i++;
        if (node->added != 0) {
            found = node->added;
            *end = i;
        }
        if (i == n) break;
        at = node->child;
        while (at != 0 && t->node[at].byte != (unsigned char)s[i]) at = t->node[at].sibling;
    }
    return found;
}

/* The next match at or after `from`: its index + 1, *begin, *end; 0: none. */
static uint32_t next_match(const di_trie *t, const char *s, size_t n, size_t from, size_t *begin,
                           size_t *end)
{
    for (size_t i = from; i < n; i++) {
        uint32_t found;

        if (t->starts == 1) { /* the common vocabulary: all markup starts with '<' */
            const char *at = memchr(s + i, t->only_start, n - i);

            if (at == NULL) return 0;
            i = (size_t)(at - s);
        } else if (t->root[(unsigned char)s[i]] == 0) {
            continue;
        }
        found = longest_at(t, s, n, i, end);
        if (found != 0) {
            *begin = i;
            return found;
        }
    }
    return 0;
}

/* Neither neighbour of begin..end may be a word character. */
static int stands_alone(const di_piece *p, size_t begin, size_t end)
{
    size_t size;

    if (begin > 0 && di_is_word(di_utf8_get(p->s + di_utf8_before(p->s, begin), &size))) return 0;
    return end == p->n || !di_is_word(di_utf8_get(p->s + end, &size));
}

static size_t spaces_before(const di_piece *p, size_t begin, size_t least)
{
    size_t size;

    while (begin > least) {
        const size_t at = di_utf8_before(p->s, begin);

        if (!di_is_space(di_utf8_get(p->s + at, &size))) break;
        begin = at;
    }
    return begin > least ? begin : least;
}

static size_t spaces_after(const di_piece *p, size_t end)
{
    size_t size;

    for (; end < p->n && di_is_space(di_utf8_get(p->s + end, &size)); end += size) {
    }
    return end;
}

/*
 * The search goes on behind the match itself, also where rstrip has taken white space after it: a
 * token found in there is given although its text is taken already. This is what the library does.
 */
dial_status di_added_split(const di_trie *t, const di_added *added, const di_piece *p,
                           const di_added_sink *sink, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t done_to = 0, begin, end, from = 0;
    uint32_t found;

    while (from < p->n && (found = next_match(t, p->s, p->n, from, &begin, &end)) != 0) {
        const di_added *a = &added[found - 1];

        from = end;
        if (a->single_word && !stands_alone(p, begin, end)) continue;
        if (a->lstrip) begin = spaces_before(p, begin, done_to);
        if (a->rstrip) end = spaces_after(p, end);
        if (done_to < begin) {
            const di_piece text = di_piece_cut(p, done_to, begin);

            DI_TRY(sink->text(sink->ctx, &text, err));
        }
        DI_TRY(sink->token(sink->ctx, a->id, di_piece_end(p, end), err));
        done_to = end;
    }
    if (done_to < p->n) {
        const di_piece text = di_piece_cut(p, done_to, p->n);

        DI_TRY(sink->text(sink->ctx, &text, err));
    }
done:
    return st;
}
