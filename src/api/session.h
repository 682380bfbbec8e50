/*
 * A model that is open: device, weights, tokenizer, text policy and, for a run, adapter and head.
 * What every job of the library begins with.
 */
#ifndef DI_API_SESSION_H
#define DI_API_SESSION_H

#include "dial/dial.h"
#include "data/dataset.h"
#include "eval/texts.h"
#include "model/decoder.h"
#include "model/device.h"

typedef struct di_session {
    const di_alloc *al;
    const dial_env *env;
    char *path;  /* as given */
    json_t *run; /* dial.json, or what an export carries of it; NULL: a base model */
    int merged;  /* an export: the base is the path itself, and its weights hold the adapter */
    char *base_path;
    di_device dev;
    int device_open;
    di_source *source;
    di_tokenizer *tok;
    di_text_policy policy;
    di_template *chat; /* of the policy */
    int64_t layers;    /* blocks that the embedding reads */
    di_pooling pooling;
    int64_t batch_tokens;
    /* before di_session_ready: its decoder keeps the output head; its longest text (0: as the
       policy has it) */
    int with_logits;
    int int8; /* --weights int8 */
    int64_t longest;
    di_params params; /* a run's adapter and head */
    int has_params;
    di_decoder *decoder; /* after di_session_ready */
    di_embedder *embedder;
    double shift, scale; /* of the run's reward; 0 and 1 */
    int applied;         /* they belong to the reward itself */
    int text_override;
    struct di_session
        *lender; /* whose device, source, tokenizer and decoder these are; NULL: own */
    int own_embedder;
    const char *trunk_cache;       /* where di_evidence_embed looks up and keeps embeddings, as
                                      --trunk-cache says; NULL: nowhere */
    int64_t trunk_max;             /* --trunk-cache-max */
    struct di_trunk_job *evidence; /* those of its own view; after the first */
} di_session;

/* What a job cannot do without. */
typedef enum di_session_need {
    DI_NEED_SHAPE, /* a config.json will do: weights from chance */
    DI_NEED_MODEL, /* a model that reads text */
    DI_NEED_HEAD,  /* a reward head too; without one: ERR_INPUT */
    /* as the two before, but runs that predict classes (train --objective ce) are taken too, which
       are ERR_USAGE to the others: their head has no reward */
    DI_NEED_MODEL_OR_CLASSES,
    DI_NEED_HEAD_OR_CLASSES,
} di_session_need;

/*
 * Opens a run, an export of one, a PEFT adapter, a model with a head (...ForSequenceClassification)
 * or a base model; flags in `common` that a run fixes must not contradict it. layer, pooling: for
 * what is no run (NULL: last). On failure nothing stays open.
 */
dial_status di_session_open(di_session *s, const char *path, const dial_common_options *common,
                            di_session_need need, const char *layer, const char *pooling,
                            const dial_env *env, dial_error *err);
void di_session_close(di_session *s);

/*
 * The text policy (session_text.c): of a base model from the flags; of a run from its dial.json,
 * where a flag that differs needs --override-text. Tokenizer and source are open; without a
 * tokenizer (DI_NEED_SHAPE) of a policy only the lengths hold.
 */
dial_status di_session_policy(di_session *s, const dial_common_options *c, dial_error *err);
dial_status di_session_run_policy(di_session *s, const dial_common_options *c, dial_error *err);

/*
 * Opens a run on the base model of another session, where both were trained on the same files, to
 * the same layer and pooling; *shared 0: they were not, and nothing was opened. The lender must
 * have no lender itself and outlive s. di_session_ready, after that of the lender, sets s's adapter
 * on the common decoder: call it where no other session of the lender computes.
 */
dial_status di_session_open_on(di_session *s, const char *path, const dial_common_options *common,
                               di_session *lender, const dial_env *env, int *shared,
                               dial_error *err);

/*
 * Scores the texts of the run's self-test (selftest.c). *worst: largest difference from the scores
 * saved; *ok: it is as small as rounding makes it. *n 0: the model has no self-test.
 */
dial_status di_session_selftest(di_session *s, int64_t *n, double *worst, int *ok, dial_error *err);

/* The texts of the run's self-test with their scores under the session's model as it is. */
dial_status di_session_renew_selftest(di_session *s, json_t **out, dial_error *err);

/* Packs the weights for scoring and makes the embedder. */
dial_status di_session_ready(di_session *s, dial_error *err);

/* Takes back what di_session_ready made: source, tokenizer, policy and adapter stay. */
void di_session_rest(di_session *s);

/* Options of the readers from the shared flags. */
dial_status di_rows_options_from(const dial_common_options *common, di_rows_options *out,
                                 dial_error *err);

/* "last", N or P% of `layers` -> a number of blocks. */
dial_status di_parse_layer(const char *text, int64_t layers, int64_t *out, dial_error *err);

/* "5%" -> share 0.05, count -1; "12" -> share 0, count 12. flag names it in errors. */
dial_status di_parse_share(const char *flag, const char *text, double *share, int64_t *count,
                           dial_error *err);

/* "NAME=FILE" or FILE (NAME = the file's name without folder and ending); di_free *name. */
dial_status di_parse_named_file(const di_alloc *al, const char *text, char **name,
                                const char **file, dial_error *err);

/* Prints ids and strings of the first n texts of a dataset to the log (--show-tokens). */
void di_show_tokens(const di_session *s, const di_dataset *d, int64_t n);

/* One JSON document as a string from al; takes over the reference. */
dial_status di_document(const di_alloc *al, json_t *value, char **out, dial_error *err);

#endif
