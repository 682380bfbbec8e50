/* `dial select --apply`: another checkpoint becomes the one that a run's folder stands for. */
#ifndef DI_API_SELECT_APPLY_H
#define DI_API_SELECT_APPLY_H

#include "api/session.h"

/*
 * run: the run's folder; checkpoint: the folder of step `step` in it; by: the rule that chose it.
 * *out: {"dir", "step", "changed", "replaced": {"step", "selected_by"}}. Nothing changes where the
 * run stands for that checkpoint already. ERR_USAGE: the reward's scale is held (--match-scale);
 * ERR_IO, also where the file system cannot exchange two folders. After an error the run is as it
 * was.
 */
dial_status di_select_apply(const dial_common_options *common, const char *run,
                            const char *checkpoint, int64_t step, const char *by,
                            const dial_env *env, json_t **out, dial_error *err);

#endif
