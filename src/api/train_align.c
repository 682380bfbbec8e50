/* What a run aligns, and how: flags -> an alignment (align/alignment.h), and its scale. */
#include "api/train_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

/* "256,128" -> widths of the hidden layers. */
static dial_status plan_widths(const char *text, int64_t *hidden, int *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;

    *n = 0;
    for (const char *at = text; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        long long width = strtoll(at, &end, 10);

        if (end == at || (*end != ',' && *end != '\0') || width < 1 ||
            *n == DI_CRITIC_MAX_LAYERS - 1)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--critic-widths", "write 256,128",
                       "expected 1 to %d widths, found '%s'", DI_CRITIC_MAX_LAYERS - 1, text);
        hidden[(*n)++] = width;
    }
done:
    return st;
}

/* "interp,source,target", or some of them. */
static dial_status plan_points(const dial_train_options *o, unsigned *out, dial_error *err)
{
    static const char *const names[] = {"interp", "source", "target"};
    dial_status st = DIAL_OK;
    unsigned points = 0;

    for (const char *at = o->gp_points;;) {
        size_t n = strcspn(at, ",");
        unsigned bit = 0;

        for (unsigned k = 0; k < 3; k++)
            if (strlen(names[k]) == n && strncmp(names[k], at, n) == 0) bit = 1u << k;
        if (bit == 0 || (points & bit) != 0)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--gp-points", "name each kind of point at most once",
                       "expected one or more of interp,source,target, found '%s'", o->gp_points);
        points |= bit;
        if (at[n] == '\0') break;
        at += n + 1;
    }
    if (points != DI_GP_AT_ALL && is(o->gp_kind, "spectral"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--gp-points", "leave it out, or take another --gp-kind",
                   "a spectral norm has no penalty, and so no points of it");
    *out = points;
done:
    return st;
}

/* "K:N": K critic updates in each of the first N steps; 0:0: none differ. */
static dial_status plan_early(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = job->opt->critic_iters_early;
    char *mid, *end = NULL;
    long long k = strtoll(text, &mid, 10), n = 0;

    if (mid != text && *mid == ':') n = strtoll(mid + 1, &end, 10);
    if (end == NULL || end == mid + 1 || *end != '\0' || k < 0 || n < 0 || k > 100000 ||
        (k == 0) != (n == 0))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--critic-iters-early",
                   "write 10:100 for ten updates in each of the first 100 steps",
                   "expected K:N, both above 0, or 0:0, found '%s'", text);
    job->set.critic_iters = (int)job->opt->critic_iters;
    job->set.early_iters = (int)k;
    job->set.early_steps = n;
done:
    return st;
}

/* The Wasserstein critic and the domain classifier, which share their flags. */
static dial_status plan_critic(const dial_train_options *o, di_align_options *m, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_wasserstein_options *c = &m->wasserstein;

    *c = (di_wasserstein_options){.gp = o->gp,
                                  .iters = (int)o->critic_iters,
                                  .lr = o->critic_lr,
                                  .decay = o->critic_wd,
                                  .spectral = is(o->gp_kind, "spectral"),
                                  .gap_clamp = o->gap_clamp};
    c->act = is(o->critic, "gelu")   ? DI_CRITIC_GELU
             : is(o->critic, "relu") ? DI_CRITIC_RELU
             : is(o->critic, "tanh") ? DI_CRITIC_TANH
                                     : DI_CRITIC_LINEAR;
    c->gp_kind = is(o->gp_kind, "two_sided")   ? DI_GP_TWO_SIDED
                 : is(o->gp_kind, "one_sided") ? DI_GP_ONE_SIDED
                                               : DI_GP_ZERO_CENTRED;
    DI_TRY(di_check_positive("critic-iters", (double)o->critic_iters, 0, err));
    DI_TRY(di_check_positive("critic-lr", o->critic_lr, 0, err));
    DI_TRY(di_check_positive("critic-warmup", (double)o->critic_warmup, 1, err));
    DI_TRY(di_check_positive("gp", o->gp, 1, err));
    DI_TRY(di_check_positive("domain-smoothing", o->domain_smoothing, 1, err));
    if (o->domain_smoothing >= 0.5)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--domain-smoothing", "give a share such as 0.1",
                   "expected less than 0.5, found %g", o->domain_smoothing);
    DI_TRY(plan_points(o, &c->points, err));
    DI_TRY(plan_widths(o->critic_widths, c->hidden, &c->n_hidden, err));
    m->dann = (di_dann_options){.n_hidden = c->n_hidden,
                                .act = c->act,
                                .iters = c->iters,
                                .lr = c->lr,
                                .decay = c->decay,
                                .kappa = 1,
                                .smoothing = o->domain_smoothing};
    memcpy(m->dann.hidden, c->hidden, sizeof c->hidden);
done:
    return st;
}

/* "1,2,4" -> at most `most` numbers above 0 (or from 0 on). */
static dial_status plan_numbers(const char *flag, const char *text, int least, int most,
                                int zero_is_fine, double *out, int *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;

    *n = 0;
    for (const char *at = text; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        double x = strtod(at, &end);

        if (end == at || (*end != ',' && *end != '\0') || !isfinite(x) || x < 0 ||
            (x == 0 && !zero_is_fine) || *n == most) {
            *n = -1;
            break;
        }
        out[(*n)++] = x;
    }
    if (*n < least)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", flag), "separate them by commas",
                   "expected %d to %d numbers %s 0, found '%s'", least, most,
                   zero_is_fine ? "of at least" : "above", text);
done:
    return st;
}

/* The transport methods: entropy, iterations, marginals, the weights of DeepJDOT. */
static dial_status plan_transport(const dial_train_options *o, di_align_options *m, dial_error *err)
{
    dial_status st = DIAL_OK;
    double weight[2];
    int n;

    m->sinkhorn = (di_sinkhorn_options){
        .eps = o->sinkhorn_eps, .rho = INFINITY, .tol = 1e-3, .iterations = (int)o->sinkhorn_iters};
    DI_TRY(di_check_positive("sinkhorn-eps", o->sinkhorn_eps, 0, err));
    DI_TRY(di_check_positive("sinkhorn-iters", (double)o->sinkhorn_iters, 0, err));
    m->deepjdot.plan = m->sinkhorn;
    if (!is(o->sinkhorn_rho, "inf"))
        DI_TRY(plan_numbers("sinkhorn-rho", o->sinkhorn_rho, 1, 1, 0, &m->sinkhorn.rho, &n, err));
    DI_TRY(plan_numbers("jdot-weights", o->jdot_weights, 2, 2, 1, weight, &n, err));
    m->deepjdot.feature = weight[0];
    m->deepjdot.label = weight[1];
    m->deepjdot.exact = is(o->jdot_plan, "exact");
done:
    return st;
}

/* The options of every method, so that a flag is checked whichever method is asked for. */
static dial_status plan_methods(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    di_align_options *m = &job->method;

    *m = (di_align_options){
        .setup = {.width = job->align_options.width,
                  .gain = job->align_options.scale != DI_SCALE_NONE
                              ? sqrt((double)job->align_options.width)
                              : 1,
                  .queue = o->queue,
                  .queue_age = o->queue_age,
                  .seed = job->set.seed},
        .mean = {.gp = o->gp},
        .mmd = {.linear = is(o->mmd_kernel, "linear"), .biased = is(o->mmd_estimator, "biased")},
        .coral = {.mean = o->coral_mean},
        .cmd = {.moments = (int)o->cmd_moments},
        .sliced = {.projections = o->projections},
        .contrastive = {.temperature = o->contrast_temperature}};
    m->mean.form = is(o->mean_form, "square") ? DI_MEAN_SQUARE
                   : is(o->mean_form, "root") ? DI_MEAN_ROOT
                                              : DI_MEAN_CRITIC;
    DI_TRY(plan_critic(o, m, err));
    DI_TRY(plan_early(job, err));
    DI_TRY(plan_transport(o, m, err));
    DI_TRY(plan_numbers("mmd-scales", o->mmd_scales, 1, DI_MMD_MAX_SCALES, 0, m->mmd.scale,
                        &m->mmd.n_scales, err));
    DI_TRY(di_check_positive("queue", (double)o->queue, 1, err));
    DI_TRY(di_check_positive("queue-age", (double)o->queue_age, 0, err));
    DI_TRY(di_check_positive("coral-mean", o->coral_mean, 1, err));
    DI_TRY(di_check_positive("projections", (double)o->projections, 0, err));
    DI_TRY(di_check_positive("contrast-temperature", o->contrast_temperature, 0, err));
    if (o->cmd_moments < 1 || o->cmd_moments > DI_CMD_MAX_MOMENTS)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--cmd-moments", "give an order such as 5",
                   "expected 1 to %d, found %lld", DI_CMD_MAX_MOMENTS, (long long)o->cmd_moments);
    if (m->mean.form == DI_MEAN_CRITIC && !(o->gp > 0))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--gp", "give a larger number",
                   "expected a number above 0 for --mean-form critic, found %g", o->gp);
    if (o->queue > 0 && job->kind != NULL && !job->kind->queue)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--queue", "leave it out, or use one of those methods",
                   "mean, mmd, coral and cmd compare with past rows; method %s does not",
                   o->method);
done:
    return st;
}

/* Methods that see means alone: on symmetric differences both are 0, whatever the domains. */
static int is_blind_on_delta(const di_train_job *job)
{
    const dial_train_options *o = job->opt;

    return is(o->method, "mean") || (is(o->method, "mmd") && is(o->mmd_kernel, "linear")) ||
           (is(o->method, "dial") && is(o->critic, "linear"));
}

dial_status di_plan_alignment(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const char *norm = o->embed_norm;
    int on_delta = is(o->align_on, "delta");

    job->kind = di_align_find(o->method);
    if (job->kind != NULL && job->kind->pairs) on_delta = 1;
    job->align_options =
        (di_alignment_options){.width = di_source_config(job->base.source)->width,
                               .on_delta = on_delta,
                               .delta_kind = is(o->delta_kind, "oriented") ? DI_DELTA_ORIENTED
                                             : is(o->delta_kind, "reward") ? DI_DELTA_REWARD
                                                                           : DI_DELTA_SYM,
                               .share = on_delta ? o->align_share : 0,
                               .scale = is(norm, "ema")         ? DI_SCALE_EMA
                                        : is(norm, "coord")     ? DI_SCALE_COORD
                                        : is(norm, "layernorm") ? DI_SCALE_LAYERNORM
                                                                : DI_SCALE_NONE};
    DI_TRY(di_check_positive("align-share", o->align_share, 1, err));
    if (o->align_share > 0 && !job->align_options.on_delta)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--align-share", "add --align-on delta, or leave it out",
                   "single embeddings have a share only beside pair differences");
    if (!is(o->delta_kind, "sym") && (!on_delta || (job->kind != NULL && job->kind->pairs)))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--delta-kind",
                   on_delta ? "leave it out" : "add --align-on delta, or leave it out",
                   on_delta ? "method %s turns pair differences by itself"
                            : "method %s aligns embeddings here, not pair differences",
                   o->method);
    if (on_delta && is(o->delta_kind, "sym") && is_blind_on_delta(job))
        DI_FAIL_AT(
            err, DIAL_ERR_USAGE, "--align-on delta",
            "add --align-on embedding --align-share 0, or --delta-kind oriented, or use another "
            "method",
            "method %s compares means, and those of symmetric differences are 0", o->method);
    if (is(o->method, "deepjdot") || is(o->method, "contrastive")) {
        if (o->align_share > 0 && !is(o->preset, "native"))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--align-share", "leave it out",
                       "method %s is about pair differences alone", o->method);
        job->align_options.share = 0;
    }
    DI_TRY(plan_methods(job, err));
    if (job->kind == NULL || !job->kind->critic) job->set.critic_warmup = 0;
done:
    return st;
}

/* Pairs among the target's examples. */
static int64_t pairs_in(const di_examples *x)
{
    int64_t n = 0;

    for (int64_t i = 0; i < x->n; i++) n += di_example_at(x, i)->n_texts >= 2;
    return n;
}

/* Is a source difference that of the better text less the worse one, in the rows of this method? */
static int is_oriented(const di_train_job *job)
{
    return job->kind->pairs ||
           (job->align_options.on_delta && job->align_options.delta_kind == DI_DELTA_ORIENTED);
}

/*
 * Differences of grouped single texts are of any two texts of a prompt, not of a better and a worse
 * one; so are the source's then, or the two laws would differ in what they mean. Where rows are
 * oriented the source's stay better less worse: a label is what turns them. Single texts that are
 * left over align as embeddings, beside the pairs.
 */
static void plan_singles(di_train_job *job)
{
    di_alignment_options *o = &job->align_options;
    int64_t grouped = 0;
    int beside = !is(job->opt->method, "deepjdot") && !is(job->opt->method, "contrastive");

    for (int i = 0; i < job->target_files.n; i++)
        grouped += job->target_files.set[i]->counts.grouped_pairs;
    if (!o->on_delta || grouped == 0) return;
    job->set.match_prompts = !is_oriented(job);
    if (pairs_in(&job->target) < job->target.n && o->share == 0 && beside) o->share = 0.1;
    di_log(job->env, DIAL_LOG_INFO, "%lld pairs out of single target texts of equal prompt",
           (long long)grouped);
}

dial_status di_job_new_alignment(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_alignment_options *o = &job->align_options;
    di_align_options first, second;
    di_align *main = NULL, *beside = NULL;
    const char *bare = pairs_in(&job->source) == 0 ? "source" : "target"; /* a side without pairs */

    if (job->mode != DI_MODE_ALIGN) return DIAL_OK;
    for (int k = 0; k <= DI_TARGET; k++)
        o->max_rows += job->set.batch[k] * di_examples_most_texts(job->side[k]);
    job->method.setup.max_rows = o->max_rows;
    if (o->on_delta && (pairs_in(&job->target) == 0 || pairs_in(&job->source) == 0)) {
        if (!is(job->opt->preset, "native") || job->kind->pairs)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, job->kind->pairs ? "--method" : "--align-on delta",
                       DI_FMT("use %s, or %s rows of two texts",
                              job->kind->pairs ? "another method" : "--align-on embedding", bare),
                       "expected pairs in the %s, found single texts only", bare);
        di_job_warn(job, "no_target_pairs",
                    "the %s has single texts only: embeddings are aligned in the place of pair "
                    "differences; expect less",
                    bare);
        o->on_delta = 0;
        o->share = 0;
    }
    plan_singles(job);
    first = job->method;
    if (o->on_delta && o->delta_kind == DI_DELTA_REWARD) {
        first.setup.width = 1;
        first.setup.gain = 1;
    }
    DI_TRY(job->kind->make(&job->base.dev, &first, &main, err));
    second = job->method;
    second.setup.stream = 1;
    if (o->share > 0) { /* of the same kind; what needs pairs has its plain form there */
        const di_align_kind *kind = job->kind->pairs ? di_align_find("dann") : job->kind;

        DI_TRY(kind->make(&job->base.dev, &second, &beside, err));
    }
    st = di_alignment_new(&job->base.dev, o, main, beside, &job->align, err);
    main = beside = NULL; /* taken over */
done:
    if (main != NULL) main->method->free(main);
    if (beside != NULL) beside->method->free(beside);
    return st;
}

dial_status di_job_fit_scale(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t rows = job->align != NULL ? di_alignment_scale_rows(job->align) : 0;
    int64_t n = rows / 2 < job->source.n ? rows / 2 : job->source.n;
    di_examples drawn = {.set = job->source.set, .n = n};
    di_sampler order = {.n = 0};
    float *e = NULL;

    if (n == 0) return DIAL_OK;
    DI_TRY(di_sampler_init(&order, job->al, job->source.n, job->set.seed, DI_RNG_SCALE, err));
    drawn.ref = di_new_array(job->al, (size_t)n, sizeof *drawn.ref);
    e = di_new_array(job->al, (size_t)(2 * n * job->params.width), sizeof *e);
    if (drawn.ref == NULL || e == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scale of the embeddings");
    for (int64_t i = 0; i < n; i++) drawn.ref[i] = job->source.ref[di_sampler_next(&order)];
    DI_TRY(di_job_embed_pairs(job, &drawn, n, "scale", e, err));
    di_alignment_fit_scale(job->align, e, 2 * n);
done:
    di_sampler_deinit(&order);
    di_free(job->al, drawn.ref);
    di_free(job->al, e);
    return st;
}
