/* What experiment.c, experiment_grid.c and experiment_vary.c share. */
#ifndef DI_API_EXPERIMENT_PARTS_H
#define DI_API_EXPERIMENT_PARTS_H

#include "api/experiment.h"

/* A flag of `dial train` by its name, NULL: there is none. Owned: the sweep itself gives it. */
const dial_option *di_train_flag(const char *name);
int di_flag_is_owned(const char *flag);

/* A scalar as the text that it would be on the command line; 0: no scalar, or no room. */
int di_value_text(const json_t *v, char *out, size_t size);

/* Flags of an object into `to`, but "name" and "label"; where names the object in errors. */
dial_status di_copy_flags(json_t *to, const json_t *from, const char *where, dial_error *err);

/* An experiment's base, budget and flags as flags of `dial train`; extra is stronger. */
dial_status di_shared_flags(const di_experiment *x, json_t *given, const dial_list *extra,
                            dial_error *err);

/* Its files at a point of "vary", those that `given` does not hold yet. */
dial_status di_file_flags(const di_experiment *x, json_t *given, const json_t *point,
                          dial_error *err);

/* A value of an axis as labels and paths show it; 0: no scalar, or no room. */
int di_axis_text(const json_t *v, char *out, size_t size);

/*
 * The points of "vary": a list of {NAME: value}, every combination but those at which source and
 * target are the same files; {} alone where the experiment has none. random > 0: that many of them,
 * drawn by seed without putting back; a larger number draws the same ones first.
 */
dial_status di_vary_points(const di_experiment *x, int64_t random, uint64_t seed, json_t **points,
                           dial_error *err);

/* *out: the path with the value of NAME in the place of each {NAME}; di_free it. */
dial_status di_vary_path(const di_alloc *al, const char *path, const json_t *point, char **out,
                         dial_error *err);

/* A run with these flags in the group of that label, unless there is one of the same key. */
dial_status di_add_cell(di_experiment *x, const json_t *given, const char *label, const char *entry,
                        json_t *axes, json_t *varied, dial_error *err);

#endif
