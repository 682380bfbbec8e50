#include "train/side.h"

#include "base/error.h"

dial_status di_side_init(di_side *s, const di_alloc *al, const di_examples *examples, int64_t cap,
                         uint64_t seed, di_purpose purpose, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = (size_t)cap;

    *s = (di_side){.examples = examples, .cap = cap};
    DI_TRY(di_sampler_init(&s->order, al, examples->n, seed, purpose, err));
    s->picked = di_new_array(al, n, sizeof *s->picked);
    s->text = di_new_array(al, 2 * n, sizeof *s->text);
    s->group = di_new_array(al, 2 * n, sizeof *s->group);
    s->row = di_new_array(al, 2 * n, sizeof *s->row);
    s->margin = di_new_array(al, n, sizeof *s->margin);
    s->weight = di_new_array(al, n, sizeof *s->weight);
    s->second = di_new_array(al, n, sizeof *s->second);
    if (!s->picked || !s->text || !s->group || !s->row || !s->margin || !s->weight || !s->second)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a batch of %lld examples", (long long)cap);
done:
    if (st != DIAL_OK) di_side_deinit(s, al);
    return st;
}

void di_side_deinit(di_side *s, const di_alloc *al)
{
    void *own[] = {s->picked, s->text, s->group, s->row, s->margin, s->weight, s->second};

    di_sampler_deinit(&s->order);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) di_free(al, own[i]);
    *s = (di_side){0};
}

void di_side_pick(di_side *s, di_sampler *order)
{
    int64_t seconds = 0;

    s->n = s->cap;
    s->n_texts = 0;
    s->tokens = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const di_example *x;

        s->picked[i] = di_sampler_next(order);
        x = di_example_at(s->examples, s->picked[i]);
        s->margin[i] = x->margin;
        s->weight[i] = x->weight;
        s->second[i] = -1;
        for (int t = 0; t < x->n_texts && t < 2; t++) {
            const di_seq *seq = di_example_seq(s->examples, s->picked[i], t);

            s->text[s->n_texts] = (di_seq_view){seq->id, seq->n};
            s->group[s->n_texts] = (int32_t)i;
            s->row[s->n_texts] = (int32_t)(t == 0 ? i : s->n + seconds++);
            if (t == 1) s->second[i] = s->row[s->n_texts];
            s->n_texts++;
            s->tokens += seq->n;
        }
    }
}

int64_t di_examples_longest(const di_examples *x)
{
    int64_t longest = 1;

    for (int64_t i = 0; i < x->n; i++)
        for (int t = 0; t < di_example_at(x, i)->n_texts && t < 2; t++)
            if (di_example_seq(x, i, t)->n > longest) longest = di_example_seq(x, i, t)->n;
    return longest;
}
