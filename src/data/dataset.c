/*
 * Loading. Everything whose final number is not known grows in blocks that may move, so offsets
 * stand for pointers until the file has been read; finish() turns them into pointers. The bytes of
 * every distinct text are kept until then, since a hash alone does not prove two texts equal.
 */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/records.h"
#include "text/unicode.h"

enum { SHOWN = 3 }; /* identical pairs that are logged */

static const size_t NONE = SIZE_MAX;

/* --- lengths ---------------------------------------------------------------------------------- */

int64_t di_count_chars(const char *text, size_t n)
{
    int64_t chars = 0;

    for (size_t i = 0; i < n; i++) chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    return chars;
}

/* White space as Python's str.split() has it, by which `length_matched` files are made. */
static int is_space(uint32_t c)
{
    return di_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

int64_t di_count_words(const char *text, size_t n)
{
    int64_t words = 0;
    int inside = 0;
    size_t size;

    for (size_t i = 0; i < n; i += size) {
        int space = is_space(di_utf8_get(text + i, &size));

        words += !space && !inside;
        inside = !space;
    }
    return words;
}

/* --- growing ---------------------------------------------------------------------------------- */

/* A text while the file is being read. */
typedef struct entry {
    di_seq seq;            /* id: not set yet */
    size_t bytes, n_bytes; /* prompt, 0, response in loader.bytes */
    size_t ids;            /* offset in loader.ids */
} entry;

typedef struct loader {
    const di_alloc *al;
    const di_text_policy *policy;
    const di_tokenizer *tok;
    const dial_env *env;
    const di_dataset_options *opt;
    const char *path;
    di_rows *rows;
    di_text_scratch scratch;
    di_buf bytes, strings;
    int32_t *ids;
    size_t n_ids, ids_cap;
    entry *text;
    size_t n_text, text_cap;
    int32_t *slot; /* hash table: index of a text, -1: free; a power of 2 */
    size_t n_slot;
    di_example *example;
    size_t n_example, example_cap;
    size_t (*name)[2]; /* offsets in strings of an example's id and group; NONE: absent */
    size_t name_cap;
    int32_t *text_of;
    size_t n_text_of, text_of_cap;
    di_row_counts counts; /* the part that the reader does not know */
    int64_t dialogues, plain;
} loader;

/* Makes room for `more` elements of `size` bytes behind the n in *p. */
static dial_status grow(const di_alloc *al, void **p, size_t n, size_t *cap, size_t more,
                        size_t size, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t want, bytes;
    void *q = NULL;

    if (*p != NULL && n + more <= *cap) goto done;
    want = (n + more) + (n + more) / 2 + 64;
    if (di_mul_size(want, size, &bytes)) q = di_resize(al, *p, bytes);
    if (q == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a dataset of %zu elements", n + more);
    *p = q;
    *cap = want;
done:
    return st;
}

/* grow() for a typed pointer: a void ** to it would break the aliasing rules. */
#define GROW(l, member, n, cap, more)                                                              \
    do {                                                                                           \
        void *p_ = (l)->member;                                                                    \
        st = grow((l)->al, &p_, (n), &(l)->cap, (more), sizeof *(l)->member, err);                 \
        (l)->member = p_;                                                                          \
        if (st != DIAL_OK) goto done;                                                              \
    } while (0)

/* --- distinct texts --------------------------------------------------------------------------- */

/* Doubles the hash table while it is more than half full. */
static dial_status rehash(loader *l, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = l->n_slot < 1024 ? 1024 : 2 * l->n_slot, bytes = 0;
    int32_t *slot = NULL;

    if (2 * (l->n_text + 1) <= l->n_slot) goto done;
    if (di_mul_size(n, sizeof *slot, &bytes)) slot = di_new(l->al, bytes);
    if (slot == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu texts", n);
    memset(slot, 0xff, bytes);
    for (size_t i = 0; i < l->n_text; i++) {
        size_t k = l->text[i].seq.hash & (n - 1);

        while (slot[k] >= 0) k = (k + 1) & (n - 1);
        slot[k] = (int32_t)i;
    }
    di_free(l->al, l->slot);
    l->slot = slot;
    l->n_slot = n;
done:
    return st;
}

/* The text whose bytes are the last n_bytes of l->bytes, or -1; *slot: where it is or belongs.
 * Whether a text has a border is settled by the file's schema, so it need not be compared. */
static int32_t lookup(const loader *l, uint64_t hash, size_t n_bytes, size_t *slot)
{
    const char *bytes = l->bytes.data + l->bytes.size - n_bytes;
    size_t k = hash & (l->n_slot - 1);

    for (; l->slot[k] >= 0; k = (k + 1) & (l->n_slot - 1)) {
        const entry *e = &l->text[l->slot[k]];

        if (e->seq.hash == hash && e->n_bytes == n_bytes &&
            memcmp(l->bytes.data + e->bytes, bytes, n_bytes) == 0)
            break;
    }
    *slot = k;
    return l->slot[k];
}

/* Encodes a text that was not seen before and enters it in the table. */
static dial_status add_text(loader *l, const di_text *t, size_t n_bytes, uint64_t hash, size_t slot,
                            int32_t *index, dial_error *err)
{
    dial_status st = DIAL_OK;
    const int32_t *ids = NULL;
    int64_t n = 0;
    unsigned flags = 0;
    entry *e;

    DI_TRY(di_text_encode(l->policy, l->tok, t, &l->scratch, &ids, &n, &flags, err));
    if (l->n_text == INT32_MAX)
        DI_FAIL(err, DIAL_ERR_INPUT, "expected fewer than 2^31 distinct texts");
    GROW(l, text, l->n_text, text_cap, 1);
    GROW(l, ids, l->n_ids, ids_cap, (size_t)n);
    e = &l->text[l->n_text];
    *e = (entry){.bytes = l->bytes.size - n_bytes, .n_bytes = n_bytes, .ids = l->n_ids};
    e->seq.n = n;
    e->seq.response_at = n > 0 ? l->scratch.response_at : 0;
    e->seq.hash = hash;
    e->seq.prompt_hash = di_fnv1a(t->prompt, t->prompt_size);
    e->seq.chars = (int32_t)di_count_chars(t->response, t->response_size);
    e->seq.words = (int32_t)di_count_words(t->response, t->response_size);
    e->seq.flags = flags;
    if (n > 0) memcpy(l->ids + l->n_ids, ids, (size_t)n * sizeof *ids);
    l->n_ids += (size_t)n;
    l->slot[slot] = *index = (int32_t)l->n_text++;
done:
    return st;
}

/* Where the turns of a dialogue end, and whose they are: equal contents may be cut otherwise. */
static void append_turns(loader *l, const di_text *t)
{
    for (size_t i = 0; i < t->n_turns; i++)
        di_buf_printf(&l->bytes, "%c%s%zu", '\0', t->turn[i].role, t->turn[i].content.size);
}

/* Index of a text; a text seen before is not encoded again. */
static dial_status intern(loader *l, const di_text *t, int32_t *index, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t before = l->bytes.size, n_bytes, slot = 0;
    uint64_t hash;

    DI_TRY(rehash(l, err));
    di_buf_append(&l->bytes, t->prompt, t->prompt_size);
    di_buf_append(&l->bytes, "", 1);
    di_buf_append(&l->bytes, t->response, t->response_size);
    append_turns(l, t);
    DI_TRY(di_buf_status(&l->bytes, err));
    n_bytes = l->bytes.size - before;
    hash = di_fnv1a(l->bytes.data + before, n_bytes);
    *index = lookup(l, hash, n_bytes, &slot);
    if (*index >= 0) {
        l->bytes.size = before;
        goto done;
    }
    st = add_text(l, t, n_bytes, hash, slot, index, err);
    if (st != DIAL_OK) l->bytes.size = before;
done:
    return st;
}

/* --- rows ------------------------------------------------------------------------------------- */

static int same_ids(const loader *l, int32_t a, int32_t b)
{
    const entry *x = &l->text[a], *y = &l->text[b];

    return a == b || (x->seq.n == y->seq.n && memcmp(l->ids + x->ids, l->ids + y->ids,
                                                     (size_t)x->seq.n * sizeof *l->ids) == 0);
}

static void warn_identical(const loader *l, const di_row *row, const char *what)
{
    const di_row_counts *c = &l->counts;

    if (c->identical + c->identical_after_truncation > SHOWN) return;
    di_log(l->env, DIAL_LOG_WARN, "%s:%lld: %s: the two texts of the pair %s; it %s", l->path,
           (long long)row->line, what,
           row->identical ? "are the same" : "have the same tokens once cut to the maximal length",
           l->opt->drop_identical ? "is left out" : "counts as a tie");
}

/* Offset of a string in l->strings. */
static size_t keep_string(loader *l, const char *s)
{
    size_t at = l->strings.size;

    if (s == NULL) return NONE;
    di_buf_append(&l->strings, s, strlen(s) + 1);
    return at;
}

static dial_status add_example(loader *l, const di_row *row, const int32_t *index, int identical,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    unsigned flags = 0;

    GROW(l, example, l->n_example, example_cap, 1);
    GROW(l, name, l->n_example, name_cap, 1);
    GROW(l, text_of, l->n_text_of, text_of_cap, (size_t)row->n_texts);
    if (l->n_text_of > INT32_MAX - DI_ROW_TEXTS)
        DI_FAIL(err, DIAL_ERR_INPUT, "expected fewer than 2^31 texts");
    l->example[l->n_example] = (di_example){
        .kind = row->kind,
        .first = (int32_t)l->n_text_of,
        .n_texts = row->n_texts,
        .n_correct = row->n_correct,
        .score = (float)row->score,
        .margin = (float)row->margin,
        .weight = (float)row->weight,
        .length_matched = row->length_matched,
        .picked = row->picked,
        .identical = identical,
        .row = row->index,
        .line = row->line,
    };
    l->name[l->n_example][0] = keep_string(l, row->id);
    l->name[l->n_example][1] = keep_string(l, row->group);
    DI_TRY(di_buf_status(&l->strings, err));
    for (int i = 0; i < row->n_texts; i++) {
        l->text_of[l->n_text_of++] = index[i];
        flags |= l->text[index[i]].seq.flags;
    }
    l->counts.prompt_truncated += (flags & DI_PROMPT_TRUNCATED) != 0;
    l->counts.response_truncated += (flags & DI_RESPONSE_TRUNCATED) != 0;
    l->counts.used++;
    l->n_example++;
    if (row->from_messages)
        l->dialogues++;
    else
        l->plain += !row->text[0].rendered;
done:
    return st;
}

static dial_status add_row(loader *l, const di_row *row, dial_error *err)
{
    dial_status st = DIAL_OK;
    int32_t index[DI_ROW_TEXTS] = {0};
    dial_error why = {0};
    int dropped = 0, same;

    if (row->unlabelled) {
        l->counts.unlabelled++;
        goto done;
    }
    if (row->identical && l->opt->drop_identical) {
        l->counts.identical++;
        warn_identical(l, row, "identical");
        goto done;
    }
    for (int i = 0; i < row->n_texts; i++) {
        if (intern(l, &row->text[i], &index[i], &why) != DIAL_OK) {
            st = di_rows_refuse(l->rows, &why, err);
            goto done;
        }
        dropped |= (l->text[index[i]].seq.flags & DI_DROPPED) != 0;
    }
    if (dropped) {
        l->counts.overlong_dropped++;
        goto done;
    }
    same = row->kind == DI_ROW_PAIR && same_ids(l, index[0], index[1]);
    if (same) {
        if (row->identical)
            l->counts.identical++;
        else
            l->counts.identical_after_truncation++;
        warn_identical(l, row, row->identical ? "identical" : "identical_after_truncation");
        if (l->opt->drop_identical) goto done;
    }
    DI_TRY(add_example(l, row, index, same, err));
done:
    return st;
}

/* --- the file --------------------------------------------------------------------------------- */

static dial_status read_all(loader *l, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_row_counts *c;
    di_row row;
    int got = 0;

    for (;;) {
        DI_TRY(di_rows_next(l->rows, &row, &got, NULL, err));
        if (!got) break;
        DI_TRY(add_row(l, &row, err));
        if (di_stop_asked(l->env))
            DI_FAIL(err, DIAL_INTERRUPTED, "stopped while reading '%s'", l->path);
    }
    c = di_rows_counts(l->rows);
    if (c->read == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, l->path,
                   "check what wrote the file, --skip-rows and --limit",
                   "expected one JSON object a line, found no row");
    if (l->counts.used == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, l->path,
                   l->counts.overlong_dropped > 0 ? "raise --max-length"
                   : l->counts.unlabelled > 0     ? "fill in the labels"
                                                  : "the two texts of a pair have to differ",
                   "expected usable rows, found none: %lld read, %lld bad, %lld identical, %lld "
                   "identical after truncation, %lld too long, %lld without a label",
                   (long long)c->read, (long long)c->bad, (long long)l->counts.identical,
                   (long long)l->counts.identical_after_truncation,
                   (long long)l->counts.overlong_dropped, (long long)l->counts.unlabelled);
done:
    return st;
}

/* The reader's counts and ours in one. */
static di_row_counts all_counts(const loader *l)
{
    di_row_counts c = *di_rows_counts(l->rows);

    c.identical = l->counts.identical;
    c.identical_after_truncation = l->counts.identical_after_truncation;
    c.overlong_dropped = l->counts.overlong_dropped;
    c.prompt_truncated = l->counts.prompt_truncated;
    c.response_truncated = l->counts.response_truncated;
    c.used = l->counts.used;
    c.unlabelled = l->counts.unlabelled;
    return c;
}

static const char *string_at(const di_dataset *d, size_t offset)
{
    return offset == NONE ? NULL : d->strings + offset;
}

/*
 * Leaves out the texts that no example uses (of rows that were dropped after encoding), so that
 * whoever walks over all texts computes nothing in vain. Renumbers text_of.
 */
static dial_status keep_used(loader *l, dial_error *err)
{
    dial_status st = DIAL_OK;
    int32_t *number = di_new_array(l->al, l->n_text, sizeof *number);
    size_t n = 0;

    if (number == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu texts", l->n_text);
    for (size_t i = 0; i < l->n_text_of; i++) number[l->text_of[i]] = 1;
    for (size_t i = 0; i < l->n_text; i++) {
        if (!number[i]) continue;
        l->text[n] = l->text[i];
        number[i] = (int32_t)n++;
    }
    for (size_t i = 0; i < l->n_text_of; i++) l->text_of[i] = number[l->text_of[i]];
    l->n_text = n;
done:
    di_free(l->al, number);
    return st;
}

/* Moves what was read into the dataset: nothing moves any more, offsets become pointers. */
static dial_status finish(loader *l, di_dataset *d, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(keep_used(l, err));
    d->path = di_strdup(l->al, strcmp(l->path, "-") == 0 ? "stdin" : l->path);
    d->seq = di_new_array(l->al, l->n_text, sizeof *d->seq);
    di_buf_append(&l->strings, "", 0);
    d->strings = di_buf_take(&l->strings);
    if (d->path == NULL || d->seq == NULL || d->strings == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %zu texts", l->n_text);
    d->counts = all_counts(l);
    d->dialogues = l->dialogues;
    d->plain = l->plain;
    snprintf(d->schema, sizeof d->schema, "%s", di_rows_schema(l->rows));
    snprintf(d->format, sizeof d->format, "%s", di_rows_format(l->rows));
    DI_TRY(di_rows_sha256(l->rows, d->sha256, err));
    for (size_t i = 0; i < l->n_text; i++) {
        d->seq[i] = l->text[i].seq;
        d->seq[i].id = l->ids + l->text[i].ids;
    }
    for (size_t i = 0; i < l->n_example; i++) {
        l->example[i].id = string_at(d, l->name[i][0]);
        l->example[i].group = string_at(d, l->name[i][1]);
    }
    d->ids = l->ids;
    d->example = l->example;
    d->text_of = l->text_of;
    d->n = (int64_t)l->n_example;
    d->n_seq = (int64_t)l->n_text;
    l->ids = NULL;
    l->example = NULL;
    l->text_of = NULL;
done:
    return st;
}

static void loader_deinit(loader *l)
{
    di_rows_close(l->rows);
    di_text_scratch_deinit(&l->scratch);
    di_buf_deinit(&l->bytes);
    di_buf_deinit(&l->strings);
    di_free(l->al, l->ids);
    di_free(l->al, l->text);
    di_free(l->al, l->slot);
    di_free(l->al, l->example);
    di_free(l->al, l->name);
    di_free(l->al, l->text_of);
}

/* The open rows of l into a dataset; closes them. */
static dial_status load(loader *l, di_dataset **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset *d = di_zalloc(l->al, sizeof *d);

    di_buf_init(&l->bytes, l->al);
    di_buf_init(&l->strings, l->al);
    if (d == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to load '%s'", l->path);
    d->al = l->al;
    DI_TRY(read_all(l, err));
    DI_TRY(finish(l, d, err));
    *out = d;
    d = NULL;
done:
    di_dataset_free(d);
    loader_deinit(l);
    return st;
}

static loader loader_of(const di_alloc *al, const char *path, const di_dataset_options *opt,
                        const di_text_policy *policy, const di_tokenizer *tok, const dial_env *env)
{
    return (loader){.al = al,
                    .policy = policy,
                    .tok = tok,
                    .env = env,
                    .opt = opt,
                    .path = path,
                    .scratch = {.al = al}};
}

dial_status di_dataset_load(const di_alloc *al, const char *path, const di_dataset_options *opt,
                            const di_text_policy *policy, const di_tokenizer *tok,
                            const dial_env *env, di_dataset **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    loader l = loader_of(al, path, opt, policy, tok, env);

    DI_TRY(di_rows_open(al, path, &opt->rows, env, &l.rows, err));
    DI_TRY(load(&l, out, err));
done:
    return st;
}

dial_status di_dataset_load_memory(const di_alloc *al, const char *name, const void *data, size_t n,
                                   const di_dataset_options *opt, const di_text_policy *policy,
                                   const di_tokenizer *tok, const dial_env *env, di_dataset **out,
                                   dial_error *err)
{
    dial_status st = DIAL_OK;
    loader l = loader_of(al, name, opt, policy, tok, env);

    DI_TRY(di_rows_open_memory(al, name, data, n, &opt->rows, env, &l.rows, err));
    DI_TRY(load(&l, out, err));
done:
    return st;
}

void di_dataset_free(di_dataset *d)
{
    if (d == NULL) return;
    di_free(d->al, d->path);
    di_free(d->al, d->example);
    di_free(d->al, d->text_of);
    di_free(d->al, d->seq);
    di_free(d->al, d->ids);
    di_free(d->al, d->strings);
    di_free(d->al, d);
}
