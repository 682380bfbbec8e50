/*
 * libdial: reward models that transfer to a domain without labels (DIAL, arXiv 2501.00911).
 *
 * What to think in
 *   base      a decoder language model: a Hugging Face folder or a .gguf file, always frozen
 *   run       a folder that `dial_train` writes: LoRA adapter + reward head + all that is needed to
 *             score the same text to the same bits, or to continue the training
 *   source    rows with preferences (chosen, rejected);  target: rows of another domain, whose
 *             labels, if the file has any, are dropped while reading
 *   reward    w . e, where e is the embedding of a text: the hidden state of its last token (or the
 *             mean over tokens) after the final norm
 *
 * From simple to advanced
 *   1. dial_model_open / dial_model_score / dial_model_close: score texts with a run
 *   2. the jobs (dial_train, dial_eval, ...): what the verbs of the program do. Each takes an
 *      options struct, filled by dial_options_default() from the same table that drives the command
 *      line, and returns the JSON document of docs/interfaces.md as a string (free with dial_free).
 *
 * All functions take a dial_env (NULL is fine) for memory, log, progress and stopping, and a
 * dial_error (NULL is fine). A dial_model may be used by one thread at a time.
 */
#ifndef DIAL_DIAL_H
#define DIAL_DIAL_H

#include "dial/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0", and the vector instructions that this machine computes with: "avx512-bf16". */
DIAL_API const char *dial_version(void);
DIAL_API const char *dial_cpu_text(void);

/* Frees a string that a job returned under the same env. */
DIAL_API void dial_free(const dial_env *env, void *p);

/* ---- options: one table drives defaults, command line, config files and dial.json ---- */

typedef enum dial_option_type {
    DIAL_OPT_BOOL, /* int: 0 or 1 */
    DIAL_OPT_INT,  /* int64_t */
    DIAL_OPT_SIZE, /* int64_t; 512M, 8G (binary) */
    DIAL_OPT_REAL, /* double */
    DIAL_OPT_TEXT, /* const char *; NULL: not given */
    DIAL_OPT_LIST  /* dial_list; comma-separated or repeated */
} dial_option_type;

/* Strings are borrowed: they must live as long as the options. */
typedef struct dial_list {
    const char **item;
    int64_t n;
} dial_list;

typedef struct dial_option {
    const char *name; /* "lora-r" */
    dial_option_type type;
    size_t offset;       /* in the options struct */
    const char *initial; /* default as text; NULL: none (TEXT, LIST) */
    const char *choices; /* "joint|alternate"; NULL: free */
    const char *help;    /* one line for --help; NULL: hidden alias */
} dial_option;

typedef struct dial_train_options dial_train_options;

/* Tables end in a row whose name is NULL. */
DIAL_API extern const dial_option dial_train_table[];
DIAL_API extern const dial_option dial_eval_table[];
DIAL_API extern const dial_option dial_score_table[];
DIAL_API extern const dial_option dial_rank_table[];
DIAL_API extern const dial_option dial_embed_table[];
DIAL_API extern const dial_option dial_info_table[];
DIAL_API extern const dial_option dial_export_table[];
DIAL_API extern const dial_option dial_data_table[];
DIAL_API extern const dial_option dial_pull_table[];
DIAL_API extern const dial_option dial_bench_table[];
DIAL_API extern const dial_option dial_sweep_table[];
DIAL_API extern const dial_option dial_report_table[];
DIAL_API extern const dial_option dial_serve_table[];
DIAL_API extern const dial_option dial_doctor_table[];
DIAL_API extern const dial_option dial_select_table[];
DIAL_API extern const dial_option dial_merge_table[];
DIAL_API extern const dial_option dial_adapt_table[];

/* Zeroes the struct of that table and fills in the defaults. */
DIAL_API void dial_options_default(const dial_option *table, void *options, size_t size);

/*
 * Sets one option from text; lists append to `item`, which the caller has sized for it. ERR_USAGE
 * says what was expected and what was found.
 */
DIAL_API dial_status dial_option_set(const dial_option *row, void *options, const char *text,
                                     dial_error *err);

/*
 * Settings of a preset of `dial train` ("default", "paper", "code", "native"; interfaces 1.5), set
 * in options. Call it after dial_options_default and before single flags, which are stronger.
 */
DIAL_API dial_status dial_preset_apply(const char *preset, dial_train_options *options,
                                       dial_error *err);

/*
 * --resume-from RUN: RUN's settings and source files, set in options: all flags that it was
 * trained with but those of that training itself (target, evaluation sets, output, devices) and of
 * the text policy, which RUN fixes. Call it after dial_options_default and before presets and
 * single flags. *kept holds the strings: dial_free it when the options are done with.
 */
DIAL_API dial_status dial_run_options_apply(const char *run, dial_train_options *options,
                                            const dial_env *env, char **kept, dial_error *err);

/* All options of the table as one JSON object (a string): what --print-config prints. */
DIAL_API dial_status dial_options_to_json(const dial_env *env, const dial_option *table,
                                          const void *options, char **json, dial_error *err);

/* Flags that the verbs share (interfaces 1.4). */
typedef struct dial_common_options {
    const char *device, *dtype, *weights;
    /* threads: from then on also what OpenMP takes by itself in the calling thread */
    int64_t threads, seed, batch_tokens, max_length;
    const char *template_name, *bos, *eos, *overlong;
    const char *format, *columns;
    int64_t limit, skip_rows;
    const char *on_error, *max_bad;
    int64_t show_tokens;
    int override_text, allow_hash_mismatch;
} dial_common_options;

/* ---- several processes ---- */

/*
 * The processes that mpirun or srun started together, to be put into env->ranks of jobs that divide
 * their work: dial_train, dial_eval, dial_score, dial_embed. Every process calls the same job with
 * the same options; rank 0 alone writes files and receives the JSON document (the others: NULL),
 * all return the same status. A dial_ranks may be used by one thread, once in a process.
 *
 * *out NULL: this process was started alone, or as the only one. ERR_USAGE: several were started,
 * and this build has no MPI or its MPI does not find them. Of env the allocator is used.
 */
DIAL_API dial_status dial_ranks_open(const dial_env *env, dial_ranks **out, dial_error *err);

/* All ranks return DIAL_OK, or the status of the lowest rank whose own is another, and its error.
 */
DIAL_API dial_status dial_ranks_agree(const dial_ranks *ranks, dial_status mine, dial_error *err);

/* 1 on the rank that results and messages come from; 1 for NULL. */
DIAL_API int dial_ranks_speaks(const dial_ranks *ranks);

/*
 * Ends the use of MPI. Does not return, but ends the processes with exit_code, if a job failed so
 * that the others cannot be met any more. NULL is fine.
 */
DIAL_API void dial_ranks_close(dial_ranks *ranks, int exit_code);

/* ---- jobs ---- */

struct dial_train_options {
    dial_common_options common;
    int allow_mixed_templates;
    const char *base, *resume_from; /* one of them */
    const char *preset, *method, *out;
    dial_list source, target, eval; /* eval: NAME=FILE */
    const char *target_labelled;    /* NULL: none */
    double target_labelled_weight;
    double lm_weight;
    const char *lm_on;
    double consistency, head_norm_max;
    const char *length_guard_kind;
    double pseudo_weight, confidence, iw_kappa, anchor, cross_prompt, length_guard,
        length_guard_min;
    const char *curriculum, *curriculum_by; /* "none" or "gradual:K"; "probe" or "length" */
    const char *pseudo_labels, *pseudo_teacher, *iw_clip, *anchor_kind;
    int64_t pseudo_rounds;
    int pseudo_length_quota, cross_prompt_refusals;
    const char *cross_prompt_share, *cross_prompt_length;
    int64_t limit_source, limit_target;
    int64_t steps; /* 0: by epochs */
    double epochs;
    const char *epoch_of;
    int64_t batch_source, batch_target;
    const char *micro_batch;
    double lambda;
    const char *lambda_ramp, *align_start;
    int64_t critic_iters, critic_warmup;
    double critic_lr, critic_wd;
    const char *critic_widths, *critic, *critic_iters_early;
    double gp;
    const char *gp_kind, *gp_points;
    const char *align_on, *delta_kind, *embed_norm;
    double align_share;
    int64_t queue, queue_age;
    const char *mean_form, *mmd_kernel, *mmd_estimator, *mmd_scales;
    double coral_mean;
    int64_t cmd_moments, projections, sinkhorn_iters;
    double sinkhorn_eps;
    const char *sinkhorn_rho, *jdot_weights, *jdot_plan;
    double contrast_temperature, domain_smoothing;
    const char *update, *layer, *pooling, *head_lr;
    int64_t lora_r;
    double lora_alpha;
    const char *lora_targets, *lora_layers, *adaptor, *trunk_cache;
    int64_t trunk_cache_max;
    double lr, weight_decay, clip, sam;
    const char *schedule, *warmup, *head_init;
    double center, label_smoothing;
    const char *center_form, *center_rows, *objective, *margin;
    int gap_clamp;
    int64_t eval_every;
    const char *heldout_source;
    int64_t maps;
    const char *snapshot_embeddings;
    const char *save_every;
    int64_t keep;
    const char *select;
    int64_t select_rows, early_stop;
    const char *grad_checkpoint;
    int64_t log_every, overfit;
    int tensorboard;
    int match_scale; /* the reward keeps the scale that it had in the run started from */
    int renew_view;  /* layer and pooling are what the flags say, not that run's */
    int resume, overwrite, dry_run;
};

/* Trains and writes options->out. The document is dial.train/1, or dial.plan/1 with dry_run. */
DIAL_API dial_status dial_train(const dial_train_options *options, const dial_env *env, char **json,
                                dial_error *err);

typedef struct dial_eval_options {
    dial_common_options common;
    const char *model, *compare;
    dial_list data;         /* [NAME=]FILE */
    const char *base_score; /* "head"; "logp", "ab": by the language model, which needs no head */
    const char *length_unit, *cluster, *scores;
    const char *group_by; /* column, or KEY.KEY inside objects; NULL: topic, else subset */
    int64_t bootstrap;
    double min_accuracy; /* < 0: none */
    int card;            /* the results into the run's README.md */
} dial_eval_options;

DIAL_API dial_status dial_eval(const dial_eval_options *options, const dial_env *env, char **json,
                               dial_error *err);

typedef struct dial_score_options {
    dial_common_options common;
    const char *model, *data, *prompt, *response, *out, *summary;
    int normalize, resume;
} dial_score_options;

/* Lines of JSON go to write(ctx, line, n) in input order (n bytes, newline included); 0 is success.
 */
typedef int (*dial_write_fn)(void *ctx, const char *line, size_t n);

/* Returns the summary document dial.score/1. */
DIAL_API dial_status dial_score(const dial_score_options *options, dial_write_fn write, void *ctx,
                                const dial_env *env, char **json, dial_error *err);

typedef struct dial_rank_options {
    dial_common_options common;
    const char *model, *data, *out, *summary;
    int64_t top; /* 0: all */
    int normalize, resume;
} dial_rank_options;

/* The order of each row's responses, best first; lines and summary (dial.rank/1) as dial_score. */
DIAL_API dial_status dial_rank(const dial_rank_options *options, dial_write_fn write, void *ctx,
                               const dial_env *env, char **json, dial_error *err);

typedef struct dial_embed_options {
    dial_common_options common;
    const char *model, *data, *out, *layer, *pooling, *embed_norm;
} dial_embed_options;

DIAL_API dial_status dial_embed(const dial_embed_options *options, const dial_env *env, char **json,
                                dial_error *err);

typedef struct dial_export_options {
    dial_common_options common; /* device, threads, batch_tokens, allow_hash_mismatch alone */
    const char *model, *to, *out, *weights, *base_name;
    int64_t shard_size;
    int verify, overwrite;
} dial_export_options;

/*
 * Writes a run in another project's format. With `verify` the result is opened again and scores 64
 * texts: DIAL_ERR_CHECK where they are not the run's scores; *json is set then too, and nothing is
 * left at `out`.
 */
DIAL_API dial_status dial_export(const dial_export_options *options, const dial_env *env,
                                 char **json, dial_error *err);

typedef struct dial_info_options {
    dial_common_options common;
    const char *model;
    int verify, tensors;
} dial_info_options;

DIAL_API dial_status dial_info(const dial_info_options *options, const dial_env *env, char **json,
                               dial_error *err);

typedef struct dial_data_options {
    dial_common_options common;
    const char *op, *file; /* op: "check", "pick", "collect" (no file) */
    dial_list model;       /* pick: runs that may disagree */
    int64_t n;             /* pick: rows wanted */
    const char *by, *out;
    const char *store, *run; /* collect: a server's store, and the one run wanted of it */
} dial_data_options;

DIAL_API dial_status dial_data(const dial_data_options *options, const dial_env *env, char **json,
                               dial_error *err);

typedef struct dial_pull_options {
    dial_common_options common;
    const char *name; /* OWNER/NAME or OWNER/NAME@REVISION */
    const char *out, *kind, *files;
    int offline;
    const char *endpoint, *token; /* NULL: huggingface.co, nobody. The token goes to the endpoint's
                                     origin alone, whatever it redirects to */
} dial_pull_options;

/*
 * Fetches a model or data set from a Hugging Face hub into the folder `out` (interfaces 1.13).
 * ERR_NETWORK: the hub does not answer or refuses; what came of a file is kept and taken up again.
 * ERR_INPUT: a hash does not hold. ERR_USAGE also: this build has no libcurl.
 */
DIAL_API dial_status dial_pull(const dial_pull_options *options, const dial_env *env, char **json,
                               dial_error *err);

typedef struct dial_bench_options {
    dial_common_options common;
    const char *model, *what;
    dial_list length;
    int64_t repeat, batch_source, batch_target, lora_r;
    const char *lora_targets, *lora_layers, *grad_checkpoint;
    int trunk, check;
} dial_bench_options;

DIAL_API dial_status dial_bench(const dial_bench_options *options, const dial_env *env, char **json,
                                dial_error *err);

typedef struct dial_sweep_options {
    dial_common_options common; /* not used: runs have flags of their own */
    const char *grid, *out, *store;
    dial_list flag; /* NAME=VALUE: flags of dial_train that hold for every run */
    int64_t jobs, threads, random, draw_seed, bootstrap;
    int dry_run;
    const char *program; /* not in the table; path of dial, which each run is trained with */
} dial_sweep_options;

/*
 * Trains the runs that options->grid describes and that options->out does not hold yet, each in a
 * process of its own. The document is dial.sweep/1, or dial.sweep_plan/1 with dry_run; it is set
 * too where the status is DIAL_INTERRUPTED or ERR_IO (a full disk): the same call continues.
 */
DIAL_API dial_status dial_sweep(const dial_sweep_options *options, const dial_env *env, char **json,
                                dial_error *err);

typedef struct dial_merge_options {
    dial_common_options common;
    dial_list runs, shares; /* shares: none, or one a run */
    const char *out, *head; /* head: "mean", or the number of a run from 1 on */
} dial_merge_options;

/* Writes the mean of several runs of one base model, which is a run too. */
DIAL_API dial_status dial_merge(const dial_merge_options *options, const dial_env *env, char **json,
                                dial_error *err);

typedef struct dial_report_options {
    dial_common_options common;
    dial_list runs; /* run folders, or folders of dial_sweep alone */
    const char *out, *title, *claims;
} dial_report_options;

DIAL_API dial_status dial_report(const dial_report_options *options, const dial_env *env,
                                 char **json, dial_error *err);

typedef struct dial_serve_options {
    dial_common_options common;
    dial_list runs;
    const char *host;
    int64_t port; /* 0: any that is free */
    const char *token_file, *name, *activation, *embeddings, *truncate, *ensemble, *cors_origin;
    int insecure, strict_model, log_text;
    int64_t max_wait_ms, queue, max_body, max_inputs, max_connections;
    const char *timeout, *grace, *access_log;
    int64_t monitor; /* recent texts to keep and compare with the training; 0: none */
    int monitor_texts;
    const char *store;          /* NULL: dial.sqlite beside the first run */
    const char *token;          /* not in the table; stronger than token_file */
    const volatile int *reload; /* not in the table; a changed value: load the runs again */
} dial_serve_options;

/*
 * Serves the runs over HTTP until *env->stop is set, then answers what waits and returns. One line,
 * dial.serve/1 with "event":"ready", goes to write(ctx, ...) when requests are answered.
 */
DIAL_API dial_status dial_serve(const dial_serve_options *options, dial_write_fn write, void *ctx,
                                const dial_env *env, dial_error *err);
typedef struct dial_doctor_options {
    dial_common_options common;
    const char *model, *source, *target, *baseline, *labelled;
    dial_list runs;
    int64_t max_rows, folds;
    int layers, two_heads, check, card; /* card: the verdict into the run's README.md */
    int64_t suggest; /* target pairs to name in `out`; 0: none */
    const char *out;
    double min_accuracy; /* < 0: 0.5 */
    const char *trunk_cache;
    int64_t trunk_cache_max;
} dial_doctor_options;

/* DIAL_ERR_CHECK with `check` where the verdict is uncertain or unsafe; *json is set then too. */
DIAL_API dial_status dial_doctor(const dial_doctor_options *options, const dial_env *env,
                                 char **json, dial_error *err);

typedef struct dial_select_options {
    dial_common_options common;
    dial_list runs;
    const char *source, *target, *by, *labelled, *oracle;
    int apply; /* the choice becomes what its run's folder stands for */
    int64_t max_rows;
    const char *trunk_cache;
    int64_t trunk_cache_max;
} dial_select_options;

DIAL_API dial_status dial_select(const dial_select_options *options, const dial_env *env,
                                 char **json, dial_error *err);

typedef struct dial_adapt_options {
    dial_common_options common;     /* not used: RUN's settings and `flag` say it */
    const char *run, *out;          /* run: a folder, or the link that shows it */
    const char *store, *target;     /* one of them: a server's traffic, or a target file */
    const char *served;             /* RUN's name in the server; NULL: by its checkpoint */
    const char *publish, *labelled; /* a symbolic link; labelled target pairs. NULL: none */
    dial_list flag;                 /* NAME=VALUE: flags of dial_train, stronger than RUN's */
    int match_scale;
} dial_adapt_options;

/*
 * Trains options->run on towards its live traffic, chooses between it and its successors without
 * labels, and moves the link where the doctor has no objection. The document is dial.adapt/1; a
 * refusal is DIAL_OK too. Stopped or killed, the same call goes on.
 */
DIAL_API dial_status dial_adapt(const dial_adapt_options *options, const dial_env *env, char **json,
                                dial_error *err);

/* The human form of a job's JSON document, for terminals (free with dial_free). */
DIAL_API dial_status dial_document_text(const dial_env *env, const char *json, char **text,
                                        dial_error *err);

/* ---- a model in memory ---- */

typedef struct dial_model dial_model;

/* path: a run folder. device, dtype and threads as in dial_common_options; NULL: the defaults. */
DIAL_API dial_status dial_model_open(const char *path, const dial_common_options *options,
                                     const dial_env *env, dial_model **out, dial_error *err);
DIAL_API void dial_model_close(dial_model *m);

/* role: "system", "user", "assistant" or "tool"; content: 0-terminated UTF-8. */
typedef struct dial_message {
    const char *role, *content;
} dial_message;

/*
 * Prompt and response, or a dialogue whose last message, the assistant's, is the response. A run
 * with a chat template renders either; a run on raw text joins the contents.
 */
typedef struct dial_text {
    const char *prompt;          /* may be NULL */
    const char *response;        /* 0-terminated UTF-8 */
    const dial_message *message; /* [n_messages]; NULL: prompt and response */
    size_t n_messages;
} dial_text;

/*
 * reward[i] of texts[i], i < n. The same text has the same reward, bit for bit, whatever else is
 * in the call.
 */
DIAL_API dial_status dial_model_score(dial_model *m, const dial_text *texts, size_t n,
                                      float *reward, dial_error *err);
DIAL_API int64_t dial_model_width(const dial_model *m);

#ifdef __cplusplus
}
#endif
#endif
