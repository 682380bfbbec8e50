/*
 * What `dial adapt` asks of other jobs beyond their public form (adapt.c ties them together).
 */
#ifndef DI_API_ADAPT_H
#define DI_API_ADAPT_H

#include "dial/dial.h"

/* Rows of a domain that doctor and select read at most: with its own 2,000 the doctor takes longer
 * than the training. */
enum { DI_JUDGED_ROWS = 400 };

/*
 * dial_train of a run that the doctor will look at: what its heads read is kept too, from the same
 * pass. step >= 0: of a run that is finished, or goes on first (options->resume), that checkpoint
 * becomes the run's in the place of the one that --select chose.
 */
dial_status di_train_judged(const dial_train_options *options, int64_t step, const dial_env *env,
                            char **json, dial_error *err);

/*
 * dial_select where the first run is the incumbent: of its checkpoints its own choice alone is a
 * candidate, the gates compare with it, and it stays where no other passes them.
 */
dial_status di_select_against(const dial_select_options *options, const dial_env *env, char **json,
                              dial_error *err);

#endif
