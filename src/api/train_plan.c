#include "api/train_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "dist/dist.h"
#include "train/pass.h"

dial_status di_check_positive(const char *flag, double x, int zero_is_fine, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (!(x > 0) && !(zero_is_fine && x >= 0))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", flag), "give a larger number",
                   "expected a number %s 0, found %g", zero_is_fine ? "of at least" : "above", x);
done:
    return st;
}

/* "q_proj,v_proj" or "all" -> bits. */
static dial_status parse_targets(const char *text, unsigned *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    unsigned bits = 0;

    if (is(text, "all") || is(text, "all-linear")) {
        *out = (1u << DI_LINEAR_COUNT) - 1;
        return DIAL_OK;
    }
    for (const char *at = text; *at != '\0';) {
        size_t n = strcspn(at, ",");
        unsigned bit = 0;

        for (int l = 0; l < DI_LINEAR_COUNT; l++)
            if (strlen(di_linear_name[l]) == n && strncmp(di_linear_name[l], at, n) == 0)
                bit = 1u << l;
        if (bit == 0)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--lora-targets", "choose among them, or all",
                       "expected q_proj k_proj v_proj o_proj gate_proj up_proj down_proj, found "
                       "'%.*s'",
                       (int)n, at);
        bits |= bit;
        at += n + (at[n] == ',');
    }
    *out = bits;
done:
    return st;
}

/* "all" or "top:K": the K blocks that end at --layer. */
static dial_status parse_lora_layers(const char *text, int64_t layers, int64_t *first,
                                     dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;
    long long k;

    *first = 0;
    if (is(text, "all")) return DIAL_OK;
    k = strncmp(text, "top:", 4) == 0 ? strtoll(text + 4, &end, 10) : -1;
    if (k < 1 || *end != '\0' || k > layers)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--lora-layers", "write all or top:8",
                   "expected all or top:1 to top:%lld, found '%s'", (long long)layers, text);
    *first = layers - k;
done:
    return st;
}

/* "R" or "R:tanh"; R 0: none. */
static dial_status parse_adaptor(const char *text, int64_t lora_r, di_lora_options *lora,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;
    long long r = strtoll(text, &end, 10);

    if (end == text || r < 0 || r > 65536 || (*end != '\0' && !is(end, ":tanh")))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--adaptor", "write 64 or 64:tanh",
                   "expected a rank, or a rank and :tanh, found '%s'", text);
    if (r > 0 && lora_r != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--adaptor", "add --lora-r 0 or --adaptor 0",
                   "an adaptor maps stored embeddings, which --lora-r %lld would change",
                   (long long)lora_r);
    lora->adaptor_r = r;
    lora->adaptor_tanh = r > 0 && *end != '\0';
done:
    return st;
}

dial_status di_plan_lora(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    di_lora_options lora = {
        .r = o->lora_r, .alpha = (float)o->lora_alpha, .end_layer = job->base.layers};

    DI_TRY(di_check_positive("lora-r", (double)o->lora_r, 1, err));
    DI_TRY(di_check_positive("lora-alpha", o->lora_alpha, 0, err));
    DI_TRY(parse_targets(o->lora_targets, &lora.targets, err));
    DI_TRY(parse_lora_layers(o->lora_layers, job->base.layers, &lora.first_layer, err));
    DI_TRY(parse_adaptor(o->adaptor, o->lora_r, &lora, err));
    job->lora = job->start.is_run ? job->base.params.lora : lora;
done:
    return st;
}

/* "none", "dann", "linear:N", "linear:P%": a share is of the steps, which di_plan_steps knows. */
static dial_status plan_ramp(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = job->opt->lambda_ramp;

    if (is(text, "none")) return DIAL_OK;
    job->set.ramp = is(text, "dann") ? DI_RAMP_DANN : DI_RAMP_LINEAR;
    if (is(text, "dann")) return DIAL_OK;
    if (strncmp(text, "linear:", 7) != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--lambda-ramp", "choose one of them",
                   "expected none, dann, linear:N or linear:P%%, found '%s'", text);
    DI_TRY(di_parse_share("lambda-ramp", text + 7, &job->ramp_share, &job->set.ramp_over, err));
done:
    return st;
}

/* "0,1,2": epochs, rising; whole or not. */
static dial_status plan_snapshots(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = job->opt->snapshot_embeddings, *at = text;
    char *end;

    for (job->n_snapshots = 0;; at = end + 1) {
        int n = job->n_snapshots;
        double epoch = strtod(at, &end), least = n > 0 ? job->snapshot[n - 1] : -1;

        if (end == at || (*end != ',' && *end != '\0') || !(epoch >= 0) || !isfinite(epoch) ||
            !(epoch > least) || n == DI_MAX_SNAPSHOTS)
            DI_FAIL_AT(
                err, DIAL_ERR_USAGE, "--snapshot-embeddings", "write 0,1,2; --maps 0 keeps none",
                "expected up to %d rising epochs from 0, found '%s'", DI_MAX_SNAPSHOTS, text);
        job->snapshot[job->n_snapshots++] = epoch;
        if (*end == '\0') break;
    }
done:
    return st;
}

/* Flags that count steps or texts of one. */
static dial_status plan_pace(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int64_t *most = &job->set.micro_texts;
    double share;

    if (o->steps < 0 || (o->steps == 0 && !(o->epochs > 0)))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--steps", "give --steps or --epochs above 0",
                   "expected a number of steps, found %lld", (long long)o->steps);
    if (!is(o->save_every, "auto")) {
        DI_TRY(di_parse_share("save-every", o->save_every, &share, &job->save_every, err));
        if (job->save_every < 1)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--save-every", "write auto or a number of steps",
                       "expected auto or N, found '%s'", o->save_every);
    }
    if (!is(o->micro_batch, "auto")) {
        DI_TRY(di_parse_share("micro-batch", o->micro_batch, &share, most, err));
        if (*most < 2 || *most % 2 != 0)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--micro-batch", "give an even number of texts",
                       "expected 2, 4, ... texts, found '%s'", o->micro_batch);
    }
    DI_TRY(di_parse_share("warmup", o->warmup, &job->warmup_share, &job->set.warmup, err));
    DI_TRY(di_parse_share("align-start", o->align_start, &job->start_share, &job->set.align_start,
                          err));
    DI_TRY(plan_ramp(job, err));
    DI_TRY(plan_snapshots(job, err));
done:
    return st;
}

/* "lr", a number, or "auto": train.c divides lr once the norm of the embeddings is known. */
static dial_status plan_head_lr(const dial_train_options *o, double *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;

    *out = o->lr;
    if (is(o->head_lr, "lr") || is(o->head_lr, "auto")) return DIAL_OK;
    *out = strtod(o->head_lr, &end);
    if (end == o->head_lr || *end != '\0' || !(*out >= 0) || isinf(*out))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--head-lr", "write lr, auto or a number such as 1e-3",
                   "expected a learning rate, found '%s'", o->head_lr);
done:
    return st;
}

/* What is made of the target's texts without a label, and what else stands beside the loss. */
static dial_status check_auxiliary(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int on_source = is(o->length_guard_kind, "mmd");
    const struct {
        const char *flag;
        double weight;
    } of_target[] = {{"pseudo-weight", o->pseudo_weight},
                     {"cross-prompt", o->cross_prompt},
                     {"consistency", o->consistency},
                     {"length-guard", on_source ? 0 : o->length_guard}};

    for (size_t i = 0; i < sizeof of_target / sizeof *of_target; i++) {
        DI_TRY(di_check_positive(of_target[i].flag, of_target[i].weight, 1, err));
        if (of_target[i].weight > 0 &&
            (o->target.n == 0 || job->mode == DI_MODE_BASE || job->mode >= DI_MODE_ORACLE))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", of_target[i].flag),
                       "add --target FILE, and a method that reads no target label",
                       "it is made of unlabelled target rows, which this run does not have");
    }
    DI_TRY(di_check_positive("anchor", o->anchor, 1, err));
    if (o->anchor > 0 && (job->mode == DI_MODE_BASE || (o->lora_r == 0 && is(o->adaptor, "0"))))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--anchor", "leave it out, or add --adaptor R",
                   "embeddings do not move where only the head is trained");
    DI_TRY(di_check_positive("pseudo-rounds", (double)o->pseudo_rounds, 0, err));
    DI_TRY(di_check_positive("iw-kappa", o->iw_kappa, 0, err));
    if (!(o->confidence >= 0.5) || !(o->confidence < 1))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--confidence", "give a probability such as 0.8",
                   "expected at least 0.5 and less than 1, found %g", o->confidence);
    DI_TRY(di_check_positive("length-guard", o->length_guard, 1, err));
    if (on_source && o->length_guard > 0 && job->set.batch[DI_SOURCE] < 4)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--length-guard-kind", "raise --batch-source, or use corr",
                   "expected at least 4 source rows in a step, two long and two short, found %lld",
                   (long long)job->set.batch[DI_SOURCE]);
    if (o->length_guard_min < 0 || o->length_guard_min >= 1)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--length-guard-min", "give a correlation such as 0.3",
                   "expected at least 0 and less than 1, found %g", o->length_guard_min);
done:
    return st;
}

static int is_source_only(const char *method)
{
    static const char *const names[] = {"src-pref", "src-sft", "tgt-ntp", "ssrm", "iw"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is(method, names[i])) return 1;
    return 0;
}

/* The next-token loss ends in LoRA: without it there is none. */
static dial_status check_next_token(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int by_method = is(o->method, "src-sft") || is(o->method, "tgt-ntp");
    const char *flag = by_method ? "--method" : "--lm-weight";

    DI_TRY(di_check_positive("lm-weight", o->lm_weight, 1, err));
    if (!(job->set.lm_weight > 0)) goto done;
    if (o->lora_r == 0 || job->mode == DI_MODE_BASE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, flag, "give --lora-r above 0",
                   "the output head is frozen, so a next-token loss trains LoRA or nothing");
    if (job->set.ranks > 1)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, flag, "start one process",
                   "several processes do not divide a next-token loss yet");
    if (job->set.lm_side == DI_TARGET && o->target.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--lm-on", "add --target FILE, or use --lm-on source",
                   "there is no target text to predict");
done:
    return st;
}

/* Sharpness-aware steps: three passes over the source's texts in the place of one. */
static dial_status check_sam(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;

    DI_TRY(di_check_positive("sam", o->sam, 1, err));
    if (!(o->sam > 0)) goto done;
    if (isinf(o->sam))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--sam", "give a radius such as 0.05",
                   "expected a finite number, found %g", o->sam);
    if (job->mode == DI_MODE_BASE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--sam", "leave it out", "method base trains nothing");
    if (job->set.lm_weight > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--sam", "leave out one of them",
                   "sharpness-aware steps do not go with a next-token loss");
    if (job->set.ranks > 1)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--sam", "start one process",
                   "several processes do not divide sharpness-aware steps yet");
done:
    return st;
}

dial_status di_plan_settings(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    di_train_settings *s = &job->set;
    int summed = is(o->preset, "code"); /* two parts of half the batch, gradients summed */
    const int64_t target_each = o->batch_target / (summed ? 2 : 1);

    job->mode = is(o->method, "base")            ? DI_MODE_BASE
                : is(o->method, "oracle")        ? DI_MODE_ORACLE
                : is(o->method, "oracle-target") ? DI_MODE_ORACLE_TARGET
                : is_source_only(o->method)      ? DI_MODE_SOURCE
                                                 : DI_MODE_ALIGN;
    *s = (di_train_settings){
        .target_labels = job->mode == DI_MODE_ORACLE,
        .parts = summed ? 2 : 1,
        .alternate = is(o->update, "alternate"),
        .ranks = di_dist_of(job->env)->size,
        .lambda = o->lambda,
        .batch = {o->batch_source / (summed ? 2 : 1)},
        .lr = o->lr,
        .weight_decay = o->weight_decay,
        .clip = o->clip,
        .sam = o->sam,
        .loss = {.smoothing = o->label_smoothing, .use_margin = is(o->margin, "auto")},
        .labelled_weight = o->target_labelled_weight,
        .crossed_weight = o->cross_prompt,
        .consistency = o->consistency,
        .pseudo_weight = o->pseudo_weight > 0    ? o->pseudo_weight
                         : is(o->method, "ssrm") ? 0.3
                                                 : 0,
        .teacher = is(o->pseudo_teacher, "ema"),
        .lm_weight = o->lm_weight > 0                                       ? o->lm_weight
                     : is(o->method, "src-sft") || is(o->method, "tgt-ntp") ? 0.1
                                                                            : 0,
        .lm_side = is(o->method, "tgt-ntp") || (!is(o->method, "src-sft") && is(o->lm_on, "target"))
                       ? DI_TARGET
                       : DI_SOURCE,
        .anchor = o->anchor,
        .anchor_kind = is(o->anchor_kind, "relational") ? DI_ANCHOR_RELATIONAL : DI_ANCHOR_COSINE,
        .guard = o->length_guard,
        .guard_least = o->length_guard_min,
        .guard_kind = is(o->length_guard_kind, "mmd") ? DI_GUARD_MMD : DI_GUARD_CORR,
        .head_norm_max = o->head_norm_max,
        .center = o->center,
        .center_form = is(o->center_form, "batch") ? DI_CENTER_BATCH : DI_CENTER_PAIR,
        .center_both = is(o->center_rows, "both"),
        .critic_warmup = o->critic_warmup,
        .seed = (uint64_t)o->common.seed};
    s->teacher = s->teacher && s->pseudo_weight > 0;
    if (job->mode == DI_MODE_ALIGN || job->mode == DI_MODE_ORACLE || s->pseudo_weight > 0 ||
        (s->guard > 0 && s->guard_kind == DI_GUARD_CORR) ||
        (s->lm_weight > 0 && s->lm_side == DI_TARGET) ||
        (o->target.n > 0 && job->mode == DI_MODE_SOURCE && s->center_both && s->center > 0))
        s->batch[DI_TARGET] = target_each;
    s->schedule = is(o->schedule, "linear")   ? DI_LINEAR
                  : is(o->schedule, "cosine") ? DI_COSINE
                                              : DI_CONSTANT;
    DI_TRY(di_plan_select(job, err));
    s->head_only = job->mode == DI_MODE_BASE || o->lora_r == 0;
    DI_TRY(di_check_positive("batch-source", (double)s->batch[DI_SOURCE], 0, err));
    DI_TRY(di_check_positive("batch-target", (double)target_each, 0, err));
    DI_TRY(di_check_positive("lambda", o->lambda, 1, err));
    DI_TRY(di_check_positive("lr", o->lr, 0, err));
    DI_TRY(plan_head_lr(o, &s->head_lr, err));
    DI_TRY(plan_pace(job, err));
    DI_TRY(di_check_positive("head-norm-max", o->head_norm_max, 1, err));
    DI_TRY(di_check_positive("weight-decay", o->weight_decay, 1, err));
    DI_TRY(di_check_positive("clip", o->clip, 1, err));
    DI_TRY(di_check_positive("center", o->center, 1, err));
    DI_TRY(di_check_positive("target-labelled-weight", o->target_labelled_weight, 1, err));
    if (o->target_labelled != NULL && job->mode == DI_MODE_BASE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--target-labelled", "leave it out",
                   "method base trains nothing");
    if (s->center_both && o->target.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--center-rows", "add --target FILE, or use source",
                   "there are no target rows whose rewards could be centred");
    DI_TRY(di_check_positive("label-smoothing", o->label_smoothing, 1, err));
    if (o->label_smoothing > 0.5)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--label-smoothing", "give a share such as 0.1",
                   "expected at most 0.5, found %g", o->label_smoothing);
    DI_TRY(check_auxiliary(job, err));
    DI_TRY(check_next_token(job, err));
    DI_TRY(check_sam(job, err));
    DI_TRY(di_plan_curriculum(job, err));
    DI_TRY(di_plan_lora(job, err));
    DI_TRY(di_plan_alignment(job, err));
done:
    return st;
}

int64_t di_memory_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    long long kib = -1;

    while (f != NULL && kib < 0 && fgets(line, sizeof line, f) != NULL)
        sscanf(line, "MemAvailable: %lld kB", &kib);
    if (f != NULL) fclose(f);
    if (kib >= 0) return kib * 1024;
    return (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

/*
 * Largest part of a step that one forward pass holds: all of it if the activations of the longest
 * texts fit in half of the memory that is free, else recomputation, else fewer texts.
 */
static void plan_micro_batch(di_train_job *job)
{
    di_train_settings *s = &job->set;
    const dial_train_options *o = job->opt;
    int64_t most = 2;
    const di_dist *d = di_dist_of(job->env);
    int64_t room = di_memory_available() / 2 / ((d->size + d->hosts - 1) / d->hosts);

    for (int k = 0; k < DI_SIDES; k++)
        if (s->batch[k] > 0 && s->batch[k] * di_examples_most_texts(job->side[k]) > most)
            most = s->batch[k] * di_examples_most_texts(job->side[k]);
    s->grad_checkpoint = is(o->grad_checkpoint, "on");
    if (is(o->micro_batch, "auto") || s->micro_texts > most) s->micro_texts = most;
    for (;;) {
        int64_t need = (int64_t)di_pass_bytes(job->decoder, s, job->side, NULL);

        if (need <= room) break;
        if (is(o->grad_checkpoint, "auto") && !s->grad_checkpoint)
            s->grad_checkpoint = 1;
        else if (is(o->micro_batch, "auto") && s->micro_texts > 2)
            s->micro_texts = (s->micro_texts / 2 + 1) / 2 * 2;
        else
            break;
    }
}

dial_status di_plan_steps(di_train_job *job, const json_t *resumed, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_train_settings *s = &job->set;
    const dial_train_options *o = job->opt;
    int64_t per_source = s->batch[DI_SOURCE] * s->parts;
    int64_t per_target = o->batch_target / s->parts * s->parts;
    int64_t source = (job->source.n + per_source - 1) / per_source;
    int64_t target = job->has_target ? (job->target.n + per_target - 1) / per_target : 0;
    int64_t pass = is(o->epoch_of, "source") ? source : is(o->epoch_of, "target") ? target : 0;
    const json_t *plan = json_object_get(resumed, "plan");
    int64_t kept[2]; /* rank 0 decides for all: the run remembers one plan */

    if (pass == 0) pass = source > target ? source : target;
    job->epoch_steps = pass;
    /* native's 300 steps give way to --epochs, which it leaves at 0 */
    s->steps = o->steps > 0 && !(is(o->preset, "native") && o->epochs > 0)
                   ? o->steps
                   : (int64_t)ceil(o->epochs * (double)pass);
    if (job->mode == DI_MODE_BASE) s->steps = 0;
    job->first_pass = source;
    if (s->warmup < 0) s->warmup = (int64_t)ceil(job->warmup_share * (double)s->steps);
    if (s->align_start < 0) s->align_start = (int64_t)ceil(job->start_share * (double)s->steps);
    if (job->mode == DI_MODE_ALIGN && s->align_start > 0 && s->align_start >= s->steps)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--align-start", "start earlier, or give more --steps",
                   "expected less than the run's %lld steps, found %s", (long long)s->steps,
                   o->align_start);
    if (s->ramp == DI_RAMP_LINEAR && s->ramp_over < 0)
        s->ramp_over = (int64_t)ceil(job->ramp_share * (double)s->steps);
    if (plan != NULL) { /* a resumed run keeps what it was started with */
        s->micro_texts = json_integer_value(json_object_get(plan, "micro_batch"));
        s->grad_checkpoint = json_is_true(json_object_get(plan, "grad_checkpoint"));
    } else {
        plan_micro_batch(job);
        kept[0] = s->micro_texts;
        kept[1] = s->grad_checkpoint;
        DI_TRY(di_dist_broadcast(di_dist_of(job->env), kept, sizeof kept, err));
        s->micro_texts = kept[0];
        s->grad_checkpoint = (int)kept[1];
    }
done:
    return st;
}
