/* The list of alignment methods by the names of `--method`. */
#include "align/methods.h"

#include <string.h>

static dial_status make_dial(di_device *dev, const di_align_options *o, di_align **out,
                             dial_error *err)
{
    di_wasserstein_options w = o->wasserstein;

    w.width = o->setup.width;
    w.max_rows = o->setup.max_rows;
    w.seed = o->setup.seed;
    w.stream = o->setup.stream;
    return di_wasserstein_new(dev, &w, out, err);
}

static dial_status make_dann(di_device *dev, const di_align_options *o, di_align **out,
                             dial_error *err)
{
    di_dann_options dann = o->dann;

    dann.oriented = 0;
    return di_dann_new(dev, &o->setup, &dann, out, err);
}

static dial_status make_cdan(di_device *dev, const di_align_options *o, di_align **out,
                             dial_error *err)
{
    di_dann_options dann = o->dann;

    dann.oriented = 1;
    return di_dann_new(dev, &o->setup, &dann, out, err);
}

#define MAKE(name)                                                                                 \
    static dial_status make_##name(di_device *dev, const di_align_options *o, di_align **out,      \
                                   dial_error *err)                                                \
    {                                                                                              \
        return di_##name##_new(dev, &o->setup, &o->name, out, err);                                \
    }
MAKE(mean)
MAKE(mmd)
MAKE(coral)
MAKE(cmd)
MAKE(sliced)
MAKE(sinkhorn)
MAKE(deepjdot)
MAKE(contrastive)
#undef MAKE

/* clang-format off */
static const di_align_kind kinds[] = {
    /* name      pairs critic queue */
    {"dial",        0, 1, 0, make_dial},
    {"dann",        0, 1, 0, make_dann},
    {"cdan",        1, 1, 0, make_cdan},
    {"mean",        0, 0, 1, make_mean},
    {"mmd",         0, 0, 1, make_mmd},
    {"coral",       0, 0, 1, make_coral},
    {"cmd",         0, 0, 1, make_cmd},
    {"swd",         0, 0, 0, make_sliced},
    {"sinkhorn",    0, 0, 0, make_sinkhorn},
    {"deepjdot",    1, 0, 0, make_deepjdot},
    {"contrastive", 1, 0, 0, make_contrastive},
};
/* clang-format on */

const di_align_kind *di_align_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}
