#include "train/loop.h"

#include <math.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "dist/dist.h"

/* Is step = ceil(k * of / parts) for some k in 1..parts? */
static int is_part(int64_t step, int64_t of, int64_t parts)
{
    for (int64_t k = 1; k <= parts; k++)
        if (step == (k * of + parts - 1) / parts) return 1;
    return 0;
}

int di_loop_is_save(const di_loop *l, int64_t step)
{
    if (step == l->steps) return 1;
    if (l->save_every > 0) return step % l->save_every == 0;
    return is_part(step, l->steps, 10) || is_part(step, l->first_pass, 8);
}

typedef struct report_line {
    json_t *o;
    int failed;
} report_line;

static void put(report_line *to, const char *key, double x)
{
    di_json_put(to->o, key, di_json_stat(x), &to->failed);
}

static json_t *step_line(const di_loop *l, const di_step_report *r, double seconds)
{
    report_line line = {json_pack("{s:s, s:I}", "event", "step", "step", (json_int_t)r->step), 0};
    report_line *o = &line;

    put(o, "epoch", r->epoch);
    put(o, "seconds", seconds);
    di_json_put(o->o, "tokens", json_integer(r->tokens), &o->failed);
    put(o, "tokens_per_second", (double)r->tokens / seconds);
    put(o, "loss", r->loss);
    put(o, "loss_source", r->loss_source);
    put(o, "loss_align", r->loss_align);
    put(o, "loss_aux", r->loss_aux);
    put(o, "accuracy", r->accuracy);
    put(o, "margin", r->margin);
    di_json_put(o->o, "ties", json_integer(r->ties), &o->failed);
    put(o, "reward_chosen_mean", r->reward_chosen_mean);
    put(o, "reward_rejected_mean", r->reward_rejected_mean);
    put(o, "reward_min", r->reward_min);
    put(o, "reward_max", r->reward_max);
    put(o, "reward_source_mean", r->reward_source_mean);
    put(o, "reward_source_std", r->reward_source_std);
    put(o, "reward_target_mean", r->reward_target_mean);
    put(o, "reward_target_std", r->reward_target_std);
    put(o, "grad_norm", r->grad_norm);
    put(o, "lr", r->lr);
    put(o, "lambda", r->lambda);
    put(o, "embed_norm_source", r->embed_norm_source);
    put(o, "embed_norm_target", r->embed_norm_target);
    put(o, "critic_loss", r->critic_loss);
    put(o, "w1", r->w1);
    put(o, "critic_grad_norm", r->critic_grad_norm);
    put(o, "gp", r->gp);
    put(o, "critic_lr", l->critic_lr);
    return di_json_whole(o->o, o->failed);
}

/*
 * Writes a checkpoint. Only those of the plan (`candidate`) enter the history that selection looks
 * at: one written because of a signal must not change what the resumed run chooses.
 */
static dial_status save(di_loop *l, int candidate, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t step = di_trainer_steps_done(l->trainer);
    const di_dist *dist = di_dist_of(l->env);
    const di_params *p = di_trainer_params(l->trainer);
    json_t *seen = NULL, *extra = NULL;
    char *dir = NULL;

    DI_TRY(di_dist_same(
        dist, di_fnv1a(p->theta, (size_t)p->size * sizeof *p->theta), "the trained weights",
        "the ranks must compute alike: machines of one kind, the same libraries", err));

    if (candidate) {
        DI_TRY(l->validate(l->ctx, &seen, err));
        if (json_object_set_new(seen, "step", json_integer(step)) != 0 ||
            json_array_append(l->history, seen) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the history of the run");
    }
    DI_TRY(di_journal_sync(l->journal, err)); /* lines up to this step, before the checkpoint */
    extra =
        json_pack("{s:s, s:f, s:I, s:O, s:O}", "schema", "dial.state/1", "seconds", l->seconds,
                  "tokens_done", (json_int_t)l->tokens, "history", l->history, "flags", l->flags);
    if (extra == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a checkpoint");
    if (dist->rank == 0)
        st = di_checkpoint_write(l->al, l->run, l->trainer, l->base_name, extra, err);
    DI_TRY(di_dist_agree(dist, st, err));
    dir = di_checkpoint_dir(l->al, "", step); /* relative to the run */
    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_journal_write(l->journal,
                            json_pack("{s:s, s:I, s:s, s:O?}", "event", "save", "step",
                                      (json_int_t)step, "path", dir, "validators", seen),
                            err));
done:
    json_decref(seen);
    json_decref(extra);
    di_free(l->al, dir);
    return st;
}

dial_status di_loop_resume(di_loop *l, const char *checkpoint, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *state = NULL, *history;

    DI_TRY(di_checkpoint_read(l->al, di_dist_of(l->env), checkpoint, l->trainer, &state, err));
    history = json_object_get(state, "history");
    if (!json_is_array(history))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, checkpoint, "resume from an earlier checkpoint",
                   "state.json has no history");
    json_decref(l->history);
    l->history = json_incref(history);
    l->seconds = json_number_value(json_object_get(state, "seconds"));
    l->tokens = json_integer_value(json_object_get(state, "tokens_done"));
done:
    json_decref(state);
    return st;
}

static void tell_progress(const di_loop *l, const di_step_report *r, double started)
{
    double rate = di_now() - started;
    int64_t left = l->steps - r->step;

    if (l->env == NULL || l->env->progress == NULL) return;
    l->env->progress(l->env->ctx,
                     &(dial_progress){.what = "train",
                                      .done = r->step,
                                      .total = l->steps,
                                      .loss = r->loss,
                                      .accuracy = r->accuracy,
                                      .w1 = r->w1,
                                      .tokens_per_second = (double)l->tokens / l->seconds,
                                      .seconds_left = rate * (double)left});
}

/* Number of saves since the choice last changed. */
static dial_status saves_since_choice(di_loop *l, int64_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = json_array_size(l->history);
    int64_t step = 0;

    DI_TRY(l->choose(l->ctx, l->history, &step, err));
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out += json_integer_value(json_object_get(json_array_get(l->history, i), "step")) > step;
done:
    return st;
}

dial_status di_loop_run(di_loop *l, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_step_report r;
    int64_t idle = 0, step = di_trainer_steps_done(l->trainer);

    l->stopped = "finished";
    while (step < l->steps) {
        double started = di_now(), seconds;
        int asked, saving;

        DI_TRY(l->renew(l->ctx, step, err));
        DI_TRY(di_trainer_step(l->trainer, &r, err));
        seconds = di_now() - started;
        step = r.step;
        l->seconds += seconds;
        l->tokens += r.tokens;
        DI_TRY(di_journal_write(l->journal, step_line(l, &r, seconds), err));
        if (r.skipped) {
            di_log(l->env, DIAL_LOG_WARN, "step %lld skipped: a number is not finite",
                   (long long)step);
            DI_TRY(di_journal_write(l->journal,
                                    json_pack("{s:s, s:I, s:s}", "event", "warn", "step",
                                              (json_int_t)step, "code", "precision"),
                                    err));
        }
        tell_progress(l, &r, started);
        saving = di_loop_is_save(l, step);
        if (l->eval_every < 0 ? saving
                              : l->eval_every > 0 && step % l->eval_every == 0 && step < l->steps)
            DI_TRY(l->evaluate(l->ctx, step, err));
        asked = di_stop_asked(l->env);
        DI_TRY(di_dist_any(di_dist_of(l->env), &asked, err));
        if (saving || asked) DI_TRY(save(l, saving, err));
        if (asked && step < l->steps) {
            l->stopped = "signal";
            DI_FAIL_AT(err, DIAL_INTERRUPTED, l->run, "continue with --resume",
                       "stopped at step %lld of %lld; the state is saved", (long long)step,
                       (long long)l->steps);
        }
        if (saving && l->early_stop > 0) DI_TRY(saves_since_choice(l, &idle, err));
        if (l->early_stop > 0 && idle >= l->early_stop && step < l->steps) {
            l->stopped = "early";
            break;
        }
    }
done:
    return st;
}
