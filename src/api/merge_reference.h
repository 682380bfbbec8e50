/* RUN/reference.safetensors of a merged run (reference.h; `dial merge`). */
#ifndef DI_API_MERGE_REFERENCE_H
#define DI_API_MERGE_REFERENCE_H

#include "api/session.h"

/*
 * Writes it into the folder out. run [n]: the runs that were merged; run[0].params is the merged
 * model, and ready. Where the first run's texts are not at hand nothing is written and the log says
 * why; other errors: ERR_NOMEM, ERR_IO, what the model meets.
 */
dial_status di_merge_reference(di_session *run, int n, const char *out, dial_error *err);

#endif
