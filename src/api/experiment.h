/*
 * From one file to the runs of a sweep (interfaces.md 1.9): an experiment, or a bare grid beside
 * the flags of `dial train`.
 *
 * What to think in: a run is a full set of flags of `dial train`, preset and defaults filled in.
 * Its key is the hash of these and of the contents of the files that they name; equal keys are one
 * run. Runs that differ in the seed alone are a group, whose label is the method's, followed by its
 * values on the axes of the grid. An axis that does nothing to a method (lambda to src-pref) is
 * left out of its runs, so that they are not repeated.
 */
#ifndef DI_API_EXPERIMENT_H
#define DI_API_EXPERIMENT_H

#include "base/json.h"
#include "dial/dial.h"

typedef struct di_cell {
    char key[17];   /* first digits of a SHA-256 */
    char name[120]; /* of its folder: label, seed and key */
    json_t *flags;  /* all of `dial train` but those that say where and how fast it runs */
    json_t *varied; /* those of them that the sweep varies: method, seed, axes */
    int64_t group, seed;
} di_cell;

typedef struct di_group {
    char label[256];
    char entry[96];     /* the label without the values on the axes */
    const char *method; /* in flags of its cells */
    json_t *axes; /* {NAME: value} of "vary" and the grid, without those that do nothing to it */
} di_group;

typedef struct di_experiment {
    const di_alloc *al;
    json_t *file; /* as read */
    char *folder; /* of the file, where its paths begin */
    di_cell *cell;
    int64_t n_cells, cap;
    di_group *group;
    int64_t n_groups;
    json_t *hashes; /* {path: SHA-256} of what was looked at */
} di_experiment;

/*
 * path: the grid or experiment. extra: "NAME=VALUE", flags that hold for every run and are stronger
 * than the file's. random > 0: that many draws of axes given as distributions and of combinations
 * of "vary", by `seed`.
 * ERR_USAGE names the file and the key of it.
 */
dial_status di_experiment_open(const di_alloc *al, const char *path, const dial_list *extra,
                               int64_t random, uint64_t seed, di_experiment *out, dial_error *err);
void di_experiment_close(di_experiment *x);

/*
 * Plans one run of each distinct set of flags as dial train would, without its data
 * (di_train_check). path: of the experiment, which the error names with group and flag.
 */
dial_status di_experiment_check(const di_experiment *x, const char *path, dial_error *err);

/*
 * The flags of a run as the options of dial_train; lists point into `item`, which has room for
 * n_items. All strings belong to flags.
 */
dial_status di_experiment_options(const json_t *flags, const char **item, int64_t n_items,
                                  dial_train_options *out, dial_error *err);

#endif
