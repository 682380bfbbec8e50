#include "train/side.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"

const di_purpose di_side_order[DI_SIDES] = {DI_RNG_SOURCE_ORDER, DI_RNG_TARGET_ORDER,
                                            DI_RNG_LABELLED_ORDER, DI_RNG_CROSSED_ORDER,
                                            DI_RNG_PARALLEL_ORDER};
const char *const di_side_name[DI_SIDES] = {"source", "target", "labelled", "crossed", "parallel"};

/* A text of the step, for matching by prompt. */
struct di_prompted {
    uint64_t prompt, draw, hash;
    int32_t row;
};

dial_status di_side_init(di_side *s, const di_alloc *al, const di_dist *dist,
                         const di_examples *examples, int64_t cap, uint64_t seed,
                         di_purpose purpose, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)cap, texts;

    *s = (di_side){
        .dist = dist, .examples = examples, .cap = cap, .per = di_examples_most_texts(examples)};
    texts = n * (size_t)s->per;
    DI_TRY(di_sampler_init(&s->order, al, examples->n, seed, purpose, err));
    s->picked = di_new_array(al, n, sizeof *s->picked);
    s->text = di_new_array(al, texts, sizeof *s->text);
    s->group = di_new_array(al, texts, sizeof *s->group);
    s->row = di_new_array(al, texts, sizeof *s->row);
    s->row_of = di_new_array(al, texts, sizeof *s->row_of);
    s->pair[0] = di_new_array(al, texts / 2, sizeof *s->pair[0]);
    s->pair[1] = di_new_array(al, texts / 2, sizeof *s->pair[1]);
    s->drawn[0] = di_new_array(al, texts / 2, sizeof *s->drawn[0]);
    s->drawn[1] = di_new_array(al, texts / 2, sizeof *s->drawn[1]);
    s->prompted = di_new_array(al, texts, sizeof *s->prompted);
    s->margin = di_new_array(al, n, sizeof *s->margin);
    s->weight = di_new_array(al, n, sizeof *s->weight);
    s->score = di_new_array(al, n, sizeof *s->score);
    s->log_words = di_new_array(al, texts, sizeof *s->log_words);
    s->first = di_new_array(al, (size_t)dist->size + 1, sizeof *s->first);
    s->tokens_of = di_new_array(al, n, sizeof *s->tokens_of);
    s->owner = di_new_array(al, n, sizeof *s->owner);
    s->scratch = di_new_array(al, n + 2 * (size_t)dist->size, sizeof *s->scratch);
    if (!s->picked || !s->text || !s->group || !s->row || !s->row_of || !s->pair[0] ||
        !s->pair[1] || !s->margin || !s->weight || !s->score || !s->log_words || !s->first ||
        !s->tokens_of || !s->owner || !s->scratch || !s->drawn[0] || !s->drawn[1] || !s->prompted)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a batch of %lld examples", (long long)cap);
done:
    if (st != DIAL_OK) di_side_deinit(s, al);
    return st;
}

void di_side_deinit(di_side *s, const di_alloc *al)
{
    void *own[] = {s->picked,  s->text,   s->group,     s->row,      s->row_of,    s->pair[0],
                   s->pair[1], s->margin, s->weight,    s->first,    s->tokens_of, s->owner,
                   s->scratch, s->score,  s->log_words, s->drawn[0], s->drawn[1],  s->prompted};

    di_sampler_deinit(&s->order);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) di_free(al, own[i]);
    *s = (di_side){0};
}

/* The texts of the picked examples that rank r owns, behind those that are there. */
static void add_texts(di_side *s, int r)
{
    for (int64_t i = 0; i < s->n; i++) {
        if (s->owner[i] != r) continue;
        for (int64_t t = 0; t < s->per && di_side_row(s, i, t) >= 0; t++) {
            const di_seq *seq = di_example_seq(s->examples, s->picked[i], (int)t);

            s->text[s->n_texts] = (di_seq_view){seq->id, seq->n};
            s->group[s->n_texts] = (int32_t)i;
            s->row[s->n_texts++] = di_side_row(s, i, t);
        }
    }
}

/* Rows of E: all texts 0 of the examples in order, then all texts 1, ... */
static void number_rows(di_side *s)
{
    int32_t row = 0;

    for (int64_t t = 0; t < s->per; t++)
        for (int64_t i = 0; i < s->n; i++) {
            int there = t < di_example_at(s->examples, s->picked[i])->n_texts;

            s->row_of[i * s->per + t] = there ? row : -1;
            if (there)
                s->log_words[row++] =
                    logf(fmaxf((float)di_example_seq(s->examples, s->picked[i], (int)t)->words, 1));
        }
}

/* Twos of example i's n texts: of more than two texts, drawn by (seed, pass, example). */
static void match_texts(di_side *s, const di_sampler *order, int64_t i, int64_t n)
{
    di_rng r = di_rng_make(order->seed, DI_RNG_MATCHING, (uint32_t)order->purpose);
    int64_t t[DI_ROW_TEXTS];

    for (int64_t k = 0; k < n; k++) t[k] = k;
    r.at = (uint64_t)(order->pass * s->examples->n + s->picked[i]) << 10;
    if (n > 2) di_rng_shuffle(&r, t, n);
    for (int64_t k = 0; k + 1 < n; k += 2) {
        s->pair[0][s->n_pairs] = di_side_row(s, i, t[k]);
        s->pair[1][s->n_pairs++] = di_side_row(s, i, t[k + 1]);
    }
}

static int by_prompt(const void *a, const void *b)
{
    const struct di_prompted *x = a, *y = b;

    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Twos of the step's texts of equal prompt, drawn by (seed, pass, first example); equal texts are
 * none. */
static void match_prompts(di_side *s, const di_sampler *order)
{
    di_rng r = di_rng_make(order->seed, DI_RNG_GROUPING, 1 + (uint32_t)order->purpose);
    int64_t n = 0;

    r.at = (uint64_t)(order->pass * s->examples->n + s->picked[0]) << 20;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t t = 0; t < s->per && di_side_row(s, i, t) >= 0; t++) {
            const di_seq *q = di_example_seq(s->examples, s->picked[i], (int)t);

            s->prompted[n++] =
                (struct di_prompted){q->prompt_hash, di_rng_u64(&r), q->hash, di_side_row(s, i, t)};
        }
    qsort(s->prompted, (size_t)n, sizeof *s->prompted, by_prompt);
    s->n_drawn = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        const struct di_prompted *x = &s->prompted[i];

        if (x[0].prompt != x[1].prompt || x[0].hash == x[1].hash) continue;
        s->drawn[0][s->n_drawn] = x[0].row;
        s->drawn[1][s->n_drawn++] = x[1].row;
        i++;
    }
}

void di_side_pick(di_side *s, di_sampler *order)
{
    s->n = s->cap;
    s->n_texts = 0;
    s->n_pairs = 0;
    s->tokens = 0;
    for (int64_t i = 0; i < s->n; i++) s->picked[i] = di_sampler_next(order);
    number_rows(s);
    for (int64_t i = 0; i < s->n; i++) {
        const di_example *x = di_example_at(s->examples, s->picked[i]);

        s->margin[i] = x->margin;
        s->weight[i] = x->weight * (s->reweight != NULL ? s->reweight[s->picked[i]] : 1);
        s->score[i] = x->score;
        s->tokens_of[i] = 0;
        for (int t = 0; t < x->n_texts; t++)
            s->tokens_of[i] += di_example_seq(s->examples, s->picked[i], t)->n;
        s->tokens += s->tokens_of[i];
        match_texts(s, order, i, x->n_texts);
    }
    if (s->by_prompt) match_prompts(s, order);
    di_dist_share(s->dist, s->tokens_of, s->n, s->owner, s->scratch);
    for (int r = 0; r < s->dist->size; r++) {
        s->first[r] = s->n_texts;
        add_texts(s, r);
    }
    s->first[s->dist->size] = s->n_texts;
}

int64_t di_examples_longest(const di_examples *x)
{
    int64_t longest = 1;

    for (int64_t i = 0; i < x->n; i++)
        for (int t = 0; t < di_example_at(x, i)->n_texts; t++)
            if (di_example_seq(x, i, t)->n > longest) longest = di_example_seq(x, i, t)->n;
    return longest;
}

int64_t di_examples_most_texts(const di_examples *x)
{
    int64_t most = 2;

    for (int64_t i = 0; i < x->n; i++)
        if (di_example_at(x, i)->n_texts > most) most = di_example_at(x, i)->n_texts;
    return most;
}
