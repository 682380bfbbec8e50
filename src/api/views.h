/*
 * Embeddings of one data file's texts at several depths and poolings of the frozen model, each in
 * the stored trunk of its view (api/trunk.h): what one job has computed, another looks up, and what
 * is missing for any of them comes from one pass for all of them.
 */
#ifndef DI_API_VIEWS_H
#define DI_API_VIEWS_H

#include "api/trunk.h"

enum { DI_MAIN_VIEWS = 6 };

/* The views whose heads vote in `dial doctor` (method.md 7), of a model that reads `layers` blocks:
 * last and mean of all, three quarters and half of them. Some may be equal. */
void di_main_views(int64_t layers, di_view out[DI_MAIN_VIEWS]);

typedef struct di_views_job {
    const di_session *s;
    di_embedder *embedder; /* of a decoder without LoRA that reaches the deepest view */
    const char *cache;     /* --trunk-cache, --trunk-cache-max; "off": nothing is looked up */
    int64_t max;
    const di_view *view; /* wanted */
    int n_views;
    const di_view *more; /* kept as well of a text that is computed anyway; may repeat `view` */
    int n_more;
    const char *what; /* in env->progress */
} di_views_job;

/*
 * e (n_views, stride, C): text[i], an index into d->seq, at place[i] (NULL: at i) of every view,
 * before any adaptor. e NULL: into the store alone. On one process; others compute all of it.
 */
dial_status di_views_embed(const di_views_job *j, const di_dataset *d, const int32_t *text,
                           const int64_t *place, int64_t n, int64_t stride, float *e,
                           dial_error *err);

#endif
