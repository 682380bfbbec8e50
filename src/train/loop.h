/*
 * The loop of a run: steps, journal, checkpoints, stopping. It does not know evaluation: what is
 * looked at in a save, and which checkpoint would be chosen, come in through callbacks.
 */
#ifndef DI_TRAIN_LOOP_H
#define DI_TRAIN_LOOP_H

#include "train/checkpoint.h"
#include "train/journal.h"

typedef struct di_loop {
    const di_alloc *al;
    const dial_env *env;
    di_trainer *trainer;
    di_journal *journal;
    const char *run, *base_name;
    const json_t *flags; /* kept in state.json, compared on --resume */
    int64_t steps;       /* the run's end */
    int64_t save_every;  /* 0: auto (tenths of the run, eighths of the first pass) */
    int64_t first_pass;  /* steps of the first pass over the source */
    int64_t eval_every;  /* 0: never inside the loop; < 0: at each save */
    int64_t early_stop;  /* saves without a new choice before the run ends; 0: off */
    double critic_lr;    /* for the journal; NaN without a critic */

    /* Before each step, the first of a resumed run included: what is renewed on the way. */
    dial_status (*renew)(void *ctx, int64_t step, dial_error *err);
    /* What a save remembers about the model as it is (validators), as an object. */
    dial_status (*validate)(void *ctx, json_t **out, dial_error *err);
    /* Step of the checkpoint that the history would choose. */
    dial_status (*choose)(void *ctx, const json_t *history, int64_t *step, dial_error *err);
    /* Reports on the evaluation sets, into the journal. */
    dial_status (*evaluate)(void *ctx, int64_t step, dial_error *err);
    void *ctx;

    /* State, saved and restored with the checkpoints. */
    json_t *history; /* array of {"step", ... of validate} */
    double seconds;  /* inside steps */
    int64_t tokens;  /* in steps */

    const char *stopped; /* out: "finished", "early" or "signal" */
} di_loop;

/* The steps at which `auto` saves: k/10 of the run, k/8 of the first pass. */
int di_loop_is_save(const di_loop *l, int64_t step);

/* Restores trainer, history, seconds and tokens from a checkpoint folder. */
dial_status di_loop_resume(di_loop *l, const char *checkpoint, dial_error *err);

/*
 * Runs to the end. DIAL_INTERRUPTED after a stop was asked and the state saved. On an error the
 * last checkpoint stays valid.
 */
dial_status di_loop_run(di_loop *l, dial_error *err);

#endif
