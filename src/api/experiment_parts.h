/* What experiment.c and experiment_grid.c share. */
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

/* An experiment's files, base, budget and flags as flags of `dial train`; extra is stronger. */
dial_status di_shared_flags(const di_experiment *x, json_t *given, const dial_list *extra,
                            dial_error *err);

/* A run with these flags in the group of that label, unless there is one of the same key. */
dial_status di_add_cell(di_experiment *x, const json_t *given, const char *label, const char *entry,
                        json_t *axes, json_t *varied, dial_error *err);

#endif
