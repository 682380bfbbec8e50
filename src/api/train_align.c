/* What a run aligns, and how: flags -> an alignment (align/alignment.h), and its scale. */
#include "api/train_job.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static dial_status plan_critic(const di_train_job *job, di_wasserstein_options *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    di_wasserstein_options c = {.width = di_source_config(job->base.source)->width,
                                .max_rows = 2 * (job->set.batch_source + job->set.batch_target),
                                .gp = o->gp,
                                .iters = (int)o->critic_iters,
                                .lr = o->critic_lr,
                                .decay = o->critic_wd,
                                .gap_clamp = o->gap_clamp,
                                .seed = job->set.seed};
    char *end;

    c.act = is(o->critic, "gelu")   ? DI_CRITIC_GELU
            : is(o->critic, "relu") ? DI_CRITIC_RELU
            : is(o->critic, "tanh") ? DI_CRITIC_TANH
                                    : DI_CRITIC_LINEAR;
    c.gp_kind = is(o->gp_kind, "two_sided")   ? DI_GP_TWO_SIDED
                : is(o->gp_kind, "one_sided") ? DI_GP_ONE_SIDED
                                              : DI_GP_ZERO_CENTRED;
    DI_TRY(di_check_positive("critic-iters", (double)o->critic_iters, 0, err));
    DI_TRY(di_check_positive("critic-lr", o->critic_lr, 0, err));
    DI_TRY(di_check_positive("critic-warmup", (double)o->critic_warmup, 1, err));
    DI_TRY(di_check_positive("gp", o->gp, 1, err));
    for (const char *at = o->critic_widths; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        long long width = strtoll(at, &end, 10);

        if (end == at || (*end != ',' && *end != '\0') || width < 1 ||
            c.n_hidden == DI_CRITIC_MAX_LAYERS - 1)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--critic-widths", "write 256,128",
                       "expected 1 to %d widths, found '%s'", DI_CRITIC_MAX_LAYERS - 1,
                       o->critic_widths);
        c.hidden[c.n_hidden++] = width;
    }
    *out = c;
done:
    return st;
}

dial_status di_plan_alignment(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const char *norm = o->embed_norm;

    job->align_options =
        (di_alignment_options){.width = di_source_config(job->base.source)->width,
                               .max_rows = 2 * (job->set.batch_source + job->set.batch_target),
                               .on_delta = is(o->align_on, "delta"),
                               .share = is(o->align_on, "delta") ? o->align_share : 0,
                               .scale = is(norm, "ema")         ? DI_SCALE_EMA
                                        : is(norm, "coord")     ? DI_SCALE_COORD
                                        : is(norm, "layernorm") ? DI_SCALE_LAYERNORM
                                                                : DI_SCALE_NONE};
    DI_TRY(di_check_positive("align-share", o->align_share, 1, err));
    if (o->align_share > 0 && !job->align_options.on_delta)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--align-share", "add --align-on delta, or leave it out",
                   "single embeddings have a share only beside pair differences");
    DI_TRY(plan_critic(job, &job->critic, err));
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

dial_status di_job_new_alignment(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_alignment_options *o = &job->align_options;
    di_wasserstein_options second = job->critic;
    di_align *main = NULL, *beside = NULL;

    if (job->set.method != DI_METHOD_DIAL) return DIAL_OK;
    if (o->on_delta && pairs_in(&job->target) == 0) {
        if (!is(job->opt->preset, "native"))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--align-on delta",
                       "use --align-on embedding, or target rows of two texts",
                       "expected pairs in the target, found single texts only");
        di_job_warn(job, "no_target_pairs",
                    "the target has single texts only: embeddings are aligned in the place of pair "
                    "differences; expect less");
        o->on_delta = 0;
        o->share = 0;
    }
    DI_TRY(di_wasserstein_new(&job->base.dev, &job->critic, &main, err));
    second.stream = 1;
    if (o->share > 0) DI_TRY(di_wasserstein_new(&job->base.dev, &second, &beside, err));
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
