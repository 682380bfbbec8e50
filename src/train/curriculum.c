#include "train/curriculum.h"

int64_t di_curriculum_begin(const di_curriculum *c, int64_t bin, int64_t steps)
{
    int64_t lag = c->labelled && bin > 0, parts = c->bins + (c->labelled != 0);

    return ((bin + lag) * steps + parts - 1) / parts;
}

int64_t di_curriculum_open(const di_curriculum *c, int64_t step, int64_t steps)
{
    int64_t open = 1;

    while (open < c->bins && di_curriculum_begin(c, open, steps) <= step) open++;
    return open;
}

int64_t di_curriculum_rows(const di_curriculum *c, int64_t open, int64_t n)
{
    return open * n / c->bins;
}
