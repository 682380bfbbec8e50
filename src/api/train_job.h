/*
 * The parts of `dial train`, in the order in which they run:
 *   base      the base model, or another run       (train_base.c)
 *   plan      flags -> numbers, checked            (train_plan.c)
 *   forecast  --dry-run: memory and time           (train_forecast.c)
 *   data      files -> examples, held-out rows     (train_data.c)
 *   objective what their labels are                (train_objective.c)
 *   trunk     what is looked up and not computed   (train_trunk.c)
 *   train.c   model, trainer, loop, selection
 *   renew     pseudo-labels, weights, negatives    (train_renew.c)
 *   curriculum  target rows from near to far       (train_curriculum.c)
 *   parallel  rows that both domains have          (train_parallel.c)
 *   align     what is aligned and how             (train_align.c)
 *   select    validators of a save, choice         (train_select.c)
 *   outcome   evaluations, maps, self-test         (train_outcome.c)
 *   reference embeddings of a sample               (train_reference.c, reference.h)
 *   run       dial.json, model card, copied files  (run_folder.c)
 */
#ifndef DI_API_TRAIN_JOB_H
#define DI_API_TRAIN_JOB_H

#include <string.h>

#include "align/methods.h"
#include "api/session.h"
#include "api/trunk.h"
#include "eval/metrics.h"
#include "eval/select.h"
#include "train/loop.h"
#include "train/parallel.h"
#include "train/split.h"

enum {
    DI_MAX_FILES = 64,
    DI_MAX_WARNINGS = 64,
    DI_MAX_SNAPSHOTS = 16,
    DI_FEW_SOURCE_ROWS = 100 /* fewer: none are held out, leave-one-out takes their place */
};

/* Is the value of a flag this word? */
static inline int is(const char *value, const char *word)
{
    return strcmp(value, word) == 0;
}

/* Files of one flag, loaded. */
typedef struct di_file_set {
    di_dataset *set[DI_MAX_FILES];
    char *name[DI_MAX_FILES]; /* of --eval sets */
    int n;
} di_file_set;

/* What --method trains on beside the source's labels. */
typedef enum di_mode {
    DI_MODE_BASE,          /* nothing is trained */
    DI_MODE_SOURCE,        /* source labels alone */
    DI_MODE_ALIGN,         /* and an alignment loss */
    DI_MODE_ORACLE,        /* and target labels */
    DI_MODE_ORACLE_TARGET, /* target labels in the place of the source's */
} di_mode;

/* --base RUN, --resume-from RUN: where step 0 comes from (train_base.c). */
typedef struct di_start {
    int is_run;
    int anew;        /* --renew-view took another view than the run's: only its flags, its files
                        and the scale of its reward go on */
    di_view view;    /* that the run reads */
    int same_source; /* the source files are those of that run, by hash */
    int64_t step;    /* its selected checkpoint */
    char layer[24], lora_layers[32], lora_targets[96],
        adaptor[32]; /* flags as the run fixes them */
} di_start;

/* --match-scale: scale r + shift is the run's reward. */
typedef struct di_match {
    int applied;
    double shift, scale;
} di_match;

typedef struct di_train_job {
    const dial_train_options *opt;
    dial_train_options own; /* with what a run to start from fixes; opt is this one then */
    const dial_env *env;
    const di_alloc *al;
    di_session base; /* the base model (and the run to start from); its decoder is not used */
    di_start start;
    di_mode mode;
    di_train_settings set;
    di_lora_options lora;
    di_alignment_options align_options;
    const di_align_kind *kind; /* the method of alignment; NULL: none */
    di_align_options method;
    int64_t save_every, first_pass, epoch_steps;
    double snapshot[DI_MAX_SNAPSHOTS]; /* epochs, rising */
    int n_snapshots;
    double warmup_share, ramp_share, start_share; /* of the steps, where the flag says a share */
    di_select_rule rule;
    int named;     /* the --eval set that --select names; -1: none */
    int fell_back; /* no checkpoint had what the rule needs: `earliest` decided */

    di_file_set source_files, target_files, heldout_files, eval_files, labelled_files,
        crossed_files;
    di_dataset *all[2 * DI_MAX_FILES]; /* those of source and target, in this order */
    di_examples source, target, held, labelled, crossed;
    const di_examples *side[DI_SIDES]; /* of them, what steps are made of */
    di_parallel parallel; /* --consistency; set NULL: none */
    int has_target;
    int64_t held_rows; /* rows held out of the source files */

    di_params params;
    int has_params;
    di_decoder *decoder;
    di_embedder *embedder;
    di_trunk_job trunk;
    double trunk_seconds; /* that filling it took */
    int stored[2];    /* of source and target: what the frozen part makes of every text is stored */
    int stored_held;  /* the same of the rows held out */
    int64_t *near;    /* of a curriculum: the target's rows from near to far; NULL: none */
    di_trunk *frozen; /* base embeddings that anchors hold on to; NULL: none */
    di_session teacher; /* --pseudo-teacher RUN */
    di_alignment *align;
    di_trainer *trainer;
    di_journal journal;
    di_loop loop;
    json_t *flags;
    json_t *view; /* the table that --layer auto chose by; NULL: not asked for */
    int judged;   /* the doctor will look at the run: keep what its heads read as well */
    int64_t take; /* the step that becomes the run's whatever --select says; -1: none */
    int64_t selected_step;
    di_match match;      /* of the selected checkpoint */
    json_t *warnings;    /* [{"code", "message"}] */
    int warnings_failed; /* one of them found no memory */
} di_train_job;

/*
 * train_base.c: the base model, or the run to start from, into job->base and job->opt. Then: that
 * run's source files are there; those read are the ones it read, by hash (where --resume-from
 * named them); parameters and alignment of step 0; {"run", "step"[, "anew"]} for dial.json, null
 * for a base.
 */
dial_status di_job_open_base(di_train_job *job, dial_error *err);
dial_status di_job_find_sources(const di_train_job *job, dial_error *err);
dial_status di_job_check_sources(di_train_job *job, dial_error *err);
void di_job_start_params(di_train_job *job);
dial_status di_job_start_critic(di_train_job *job, dial_error *err);
/* After the view is chosen: whether it is the run's. */
void di_job_settle_start(di_train_job *job);
json_t *di_job_start_json(const di_train_job *job);

/* train_plan.c; ERR_USAGE naming the flag unless x > 0 (or = 0 where zero is fine). */
dial_status di_check_positive(const char *flag, double x, int zero_is_fine, dial_error *err);

/* train_align.c: flags -> options, checked; then, with the data at hand, job->align; then, on the
 * frozen model, its scale. Nothing where the method does not align. */
dial_status di_plan_alignment(di_train_job *job, dial_error *err);
dial_status di_job_new_alignment(di_train_job *job, dial_error *err);
dial_status di_job_fit_scale(di_train_job *job, dial_error *err);

/* train_plan.c: everything that needs no data. Needs job->base open. */
dial_status di_plan_settings(di_train_job *job, dial_error *err);
/* Which blocks LoRA trains: again where --layer auto has moved the last of them. */
dial_status di_plan_lora(di_train_job *job, dial_error *err);
/* What needs the data: steps, micro-batch, gradient checkpointing, first pass. */
dial_status di_plan_steps(di_train_job *job, const json_t *resumed, dial_error *err);
int64_t di_memory_available(void);

/*
 * train_forecast.c: --dry-run. di_plan_fits: by sizes alone, before a trainer exists. The document
 * dial.plan/1 takes a few steps of job->trainer to measure memory and time; without a trainer both
 * are computed.
 */
int64_t di_job_eval_rows(const di_train_job *job); /* of a forward pass between steps */
int di_plan_fits(di_train_job *job);
dial_status di_plan_document(di_train_job *job, int fits, json_t **out, dial_error *err);

/* train_data.c */
dial_status di_job_load_data(di_train_job *job, dial_error *err);
void di_job_free_data(di_train_job *job);
/*
 * The rows of a side that training may see, held out or not: what is held out differs by seed and
 * method, and what should not is made of these. f: its files; drawn: its training rows, which are
 * all where a limit is set. Free with di_examples_free.
 */
dial_status di_job_rows_seen(di_train_job *job, const di_file_set *f, const di_examples *drawn,
                             int64_t limit, di_examples *out, dial_error *err);
/* train_view.c: --layer auto, --pooling auto, into job->base; resumed: state.json, or NULL. Needs
 * the data; nothing where neither is asked for. */
dial_status di_job_choose_view(di_train_job *job, const json_t *resumed, dial_error *err);
/* Of a run that was asked to choose and had no target to choose by: the views that a later choice
 * and the doctor behind it will read, as far as its decoder reaches. Returns how many: 0 where
 * nothing is left open. */
enum { DI_LATER_VIEWS = 224 };
int di_job_later_views(di_train_job *job, di_view out[DI_LATER_VIEWS]);

/*
 * train_trunk.c: does the run look anything up, embeddings or what enters the lowest trained layer;
 * job->trunk filled and given to job->embedder; the texts of files that stand in one of n lists
 * (n 0: all) into it.
 */
int di_job_stores_trunk(const di_train_job *job);
dial_status di_job_fill_trunk(di_train_job *job, dial_error *err);
dial_status di_job_fill_files(di_train_job *job, const di_file_set *f,
                              const di_examples *const *lists, int n, dial_error *err);

/* Adds a warning to the result, the log and (once it is open) the journal. */
void di_job_warn(di_train_job *job, const char *code, const char *fmt, ...) DIAL_PRINTF(3, 4);

/*
 * train_objective.c: --objective and what it refuses, by the rows of the source before any is held
 * out; ERR_INPUT for a row of `x` without such a label; mean and sd of the scores that are trained
 * on; loss [x->n] and mean accuracy of rows under the model as it is.
 */
dial_status di_job_resolve_objective(di_train_job *job, dial_error *err);
dial_status di_job_check_labels(const di_train_job *job, const di_examples *x, const char *side,
                                dial_error *err);
dial_status di_job_standardise(di_train_job *job, dial_error *err);
dial_status di_job_losses(di_train_job *job, const di_examples *x, const char *what, double *loss,
                          double *accuracy, dial_error *err);
const char *di_job_objective(const di_train_job *job);

/*
 * train_renew.c: negatives out of the target's own texts, when its files are read; base embeddings
 * for anchors and the second opinion on pseudo-labels, before the trainer is made; and the loop's
 * callback.
 */
dial_status di_job_cross_prompts(di_train_job *job, dial_error *err);
dial_status di_job_freeze(di_train_job *job, dial_error *err);
dial_status di_job_open_teacher(di_train_job *job, dial_error *err);
dial_status di_job_renew(void *ctx, int64_t step, dial_error *err);

/*
 * train_parallel.c: rows of equal id, once both domains are drawn, ERR_USAGE if there are none;
 * then, on the frozen model, which target text renders which. Nothing without --consistency.
 */
dial_status di_job_find_parallel(di_train_job *job, dial_error *err);
dial_status di_job_settle_parallel(di_train_job *job, dial_error *err);

/*
 * train_renew.c: log p(target | row)/p(source | row), less a constant, of the source's rows
 * [source.n] and the target's [target.n; NULL: not wanted], each by a probe fitted on the other
 * half of the rows; *apart: proxy A-distance. Pairs are seen without their order; where either side
 * has single texts, a row is the mean of its texts.
 */
dial_status di_job_domain_logits(di_train_job *job, const char *what, double *source,
                                 double *target, double *apart, dial_error *err);

/*
 * train_curriculum.c: --curriculum, once the sides are planned; the order of the target's rows, on
 * the model as it starts, into job->set.near (known != 0: a checkpoint has it, or none is wanted:
 * any order); {"kind", "bins", "by", "rows", "steps"} or null, rows and first step of each bin with
 * those before it; a line in the journal for bins that open with this step. Nothing under `none`.
 */
dial_status di_plan_curriculum(di_train_job *job, dial_error *err);
dial_status di_job_order_target(di_train_job *job, int known, dial_error *err);
json_t *di_job_curriculum_json(const di_train_job *job);
dial_status di_job_tell_bins(di_train_job *job, int64_t step, dial_error *err);

/* train.c: the head as --head-init wants it, on what nothing has trained yet. */
dial_status di_job_probe_head(di_train_job *job, dial_error *err);

/* Embeddings [2n, C] of the first n pairs of a list, rows chosen then rejected of each pair. */
dial_status di_job_embed_pairs(di_train_job *job, const di_examples *x, int64_t n, const char *what,
                               float *e, dial_error *err);

/* train_select.c */
/* --select into job->rule. */
dial_status di_plan_select(di_train_job *job, dial_error *err);
/* Callbacks of the loop: validators of the model as it is; the step that a history would choose. */
dial_status di_job_validate(void *ctx, json_t **out, dial_error *err);
dial_status di_job_choose(void *ctx, const json_t *history, int64_t *step, dial_error *err);
/* The rule by its name, or the name of the labelled set. */
const char *di_job_selected_by(const di_train_job *job);

/* train_outcome.c */
/* Evaluates on all --eval sets, into the journal; *out (may be NULL): {NAME: result}. final: also
 * scores/NAME.jsonl and what the maps need. */
dial_status di_job_evaluate(di_train_job *job, int64_t step, int final, json_t **out,
                            dial_error *err);
/* maps/step-N.safetensors: embeddings of --maps rows of source, target and each eval set. */
dial_status di_job_write_maps(di_train_job *job, int64_t step, dial_error *err);
/* The same where the epochs done with this step are one of --snapshot-embeddings. */
dial_status di_job_snapshot(di_train_job *job, int64_t step, dial_error *err);
dial_status di_job_selftest(di_train_job *job, json_t **out, dial_error *err);
/* {"source":{"mean","std"}, "target":...|null} over up to 256 rows of each. */
dial_status di_job_reward_stats(di_train_job *job, json_t **out, dial_error *err);

/* train_reference.c: RUN/reference.safetensors, of the model as it is; with --match-scale
 * job->match. */
dial_status di_job_write_reference(di_train_job *job, dial_error *err);

/*
 * train.c: what dial_train refuses before it reads a row: flags that are missing, do not go
 * together, or do not fit the base model. Reads the shape of the model and no data.
 */
dial_status di_train_check(const dial_train_options *options, const dial_env *env, dial_error *err);

/*
 * train.c: all texts of a run's files into the stored trunk (--trunk-cache), without training. The
 * same rows that the run would store, and of the whole files; nothing where it stores none.
 */
dial_status di_train_fill_trunk(const dial_train_options *options, const dial_env *env,
                                dial_error *err);

/* run_folder.c: dial.json (last), adapter, tokenizer, model card. */
dial_status di_run_write(di_train_job *job, const json_t *evals, const json_t *selftest,
                         const json_t *reward_stats, int finished, dial_error *err);

#endif
