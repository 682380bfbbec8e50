/* The stored trunk of a job (interfaces.md 1.4, --trunk-cache): which files, under which key. */
#ifndef DI_API_TRUNK_H
#define DI_API_TRUNK_H

#include "api/session.h"
#include "eval/trunk_fill.h"
#include "train/trainer.h"

/* What all files of a job have in common. */
typedef struct di_trunk_job {
    const di_session *s;
    di_embedder *embedder;
    const di_decoder *decoder; /* that of the embedder */
    char *dir;                 /* NULL: nothing is read from or kept on the disk */
    int64_t max;               /* bytes of the folder */
    json_t *about;             /* all that decides the rows but the texts; NULL without dir */
    di_trunk *trunk;
} di_trunk_job;

/*
 * cache: auto, off or a folder. Of the decoder the embedder runs: embeddings where it has no LoRA,
 * else what enters the lowest layer with LoRA. Close it after what borrows the trunk.
 */
dial_status di_trunk_job_open(di_trunk_job *j, const di_session *s, di_embedder *embedder,
                              const di_decoder *decoder, const char *cache, int64_t max,
                              dial_error *err);
void di_trunk_job_close(di_trunk_job *j);

/* --trunk-cache: "auto" is the folder `trunk` in the cache; NULL for "off", and where no cache
 * folder is known. di_free *out. */
dial_status di_trunk_cache_dir(const di_alloc *al, const char *cache, char **out, dial_error *err);
/* What of model, text policy and machine decides the rows of a text, for the key of a file. */
dial_status di_trunk_about(const di_session *s, json_t **out, dial_error *err);

/*
 * File and key of what a view makes of the texts of a data file: layer blocks, pooled. about: of
 * di_trunk_about, changed. di_free *path.
 */
dial_status di_trunk_place(const di_alloc *al, const char *dir, json_t *about, const di_view *view,
                           const char *data_sha256, char **path, char key[65], dial_error *err);

/* The texts of a data file that stand in one of n lists of examples (n 0: all) into the trunk. */
dial_status di_trunk_job_fill(di_trunk_job *j, const di_dataset *d, const di_examples *const *lists,
                              int n, dial_error *err);
/* The texts that want [d->n_seq] marks; NULL: all. */
dial_status di_trunk_job_fill_texts(di_trunk_job *j, const di_dataset *d, const char *want,
                                    dial_error *err);

#endif
