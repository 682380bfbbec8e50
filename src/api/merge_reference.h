/* RUN/reference.safetensors of a run whose model has changed without a training: a merged one
 * (reference.h; `dial merge`), and one that stands for another checkpoint (`dial select --apply`).
 */
#ifndef DI_API_MERGE_REFERENCE_H
#define DI_API_MERGE_REFERENCE_H

#include "api/session.h"

/*
 * Writes it into the folder out, with this step. run [n]: the runs that were merged; run[0].params
 * is the new model, and ready. Where the first run's texts are not at hand nothing is written and the log says
 * why; other errors: ERR_NOMEM, ERR_IO, what the model meets.
 */
dial_status di_merge_reference(di_session *run, int n, int64_t step, const char *out, dial_error *err);

#endif
