#include "train/side.h"

#include "base/error.h"

dial_status di_side_init(di_side *s, const di_alloc *al, const di_dist *dist,
                         const di_examples *examples, int64_t cap, uint64_t seed,
                         di_purpose purpose, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)cap;

    *s = (di_side){.dist = dist, .examples = examples, .cap = cap};
    DI_TRY(di_sampler_init(&s->order, al, examples->n, seed, purpose, err));
    s->picked = di_new_array(al, n, sizeof *s->picked);
    s->text = di_new_array(al, 2 * n, sizeof *s->text);
    s->group = di_new_array(al, 2 * n, sizeof *s->group);
    s->row = di_new_array(al, 2 * n, sizeof *s->row);
    s->margin = di_new_array(al, n, sizeof *s->margin);
    s->weight = di_new_array(al, n, sizeof *s->weight);
    s->second = di_new_array(al, n, sizeof *s->second);
    s->first = di_new_array(al, (size_t)dist->size + 1, sizeof *s->first);
    s->tokens_of = di_new_array(al, n, sizeof *s->tokens_of);
    s->owner = di_new_array(al, n, sizeof *s->owner);
    s->scratch = di_new_array(al, n + 2 * (size_t)dist->size, sizeof *s->scratch);
    if (!s->picked || !s->text || !s->group || !s->row || !s->margin || !s->weight || !s->second ||
        !s->first || !s->tokens_of || !s->owner || !s->scratch)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a batch of %lld examples", (long long)cap);
done:
    if (st != DIAL_OK) di_side_deinit(s, al);
    return st;
}

void di_side_deinit(di_side *s, const di_alloc *al)
{
    void *own[] = {s->picked, s->text,  s->group,     s->row,   s->margin, s->weight,
                   s->second, s->first, s->tokens_of, s->owner, s->scratch};

    di_sampler_deinit(&s->order);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) di_free(al, own[i]);
    *s = (di_side){0};
}

/* The texts of the picked examples that rank r owns, behind those that are there. */
static void add_texts(di_side *s, int r)
{
    for (int64_t i = 0; i < s->n; i++) {
        const di_example *x = di_example_at(s->examples, s->picked[i]);

        if (s->owner[i] != r) continue;
        for (int t = 0; t < x->n_texts && t < 2; t++) {
            const di_seq *seq = di_example_seq(s->examples, s->picked[i], t);

            s->text[s->n_texts] = (di_seq_view){seq->id, seq->n};
            s->group[s->n_texts] = (int32_t)i;
            s->row[s->n_texts++] = t == 0 ? (int32_t)i : s->second[i];
        }
    }
}

void di_side_pick(di_side *s, di_sampler *order)
{
    int32_t seconds = 0;

    s->n = s->cap;
    s->n_texts = 0;
    s->tokens = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const di_example *x;

        s->picked[i] = di_sampler_next(order);
        x = di_example_at(s->examples, s->picked[i]);
        s->margin[i] = x->margin;
        s->weight[i] = x->weight;
        s->second[i] = x->n_texts > 1 ? (int32_t)s->n + seconds++ : -1;
        s->tokens_of[i] = 0;
        for (int t = 0; t < x->n_texts && t < 2; t++)
            s->tokens_of[i] += di_example_seq(s->examples, s->picked[i], t)->n;
        s->tokens += s->tokens_of[i];
    }
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
        for (int t = 0; t < di_example_at(x, i)->n_texts && t < 2; t++)
            if (di_example_seq(x, i, t)->n > longest) longest = di_example_seq(x, i, t)->n;
    return longest;
}
