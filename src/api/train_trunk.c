/*
 * What a run in training looks up rather than computes: the stored trunk (api/trunk.h) of all texts
 * that it meets more than once, filled before the first step. A pass over a text costs the same for
 * one depth and pooling or for forty, so what others will want of it is kept along:
 *
 *   dial adapt   select and doctor read the new run by its own view and by those whose heads vote,
 *                and the run that it came from by that run's view
 *   auto         a run that could not choose its view, for want of a target, will be adapted by
 *                one that can: every view that may win
 */
#include "api/adapt.h"
#include "api/evidence.h"
#include "api/train_job.h"
#include "api/views.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

/* Views that nobody has asked for yet may take this part of --trunk-cache-max, a job's files in
 * all; the same is in memory while they are computed. */
enum { PART = 32 };

dial_status di_job_fill_files(di_train_job *job, const di_file_set *f,
                              const di_examples *const *lists, int n, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int i = 0; i < f->n; i++) DI_TRY(di_trunk_job_fill(&job->trunk, f->set[i], lists, n, err));
done:
    return st;
}

static di_views_job views_job(const di_train_job *job, di_embedder *embedder, const di_view *view,
                              int n_views, const di_view *more, int n_more)
{
    return (di_views_job){.s = &job->base,
                          .embedder = embedder,
                          .cache = job->opt->trunk_cache,
                          .max = job->opt->trunk_cache_max,
                          .view = view,
                          .n_views = n_views,
                          .more = more,
                          .n_more = n_more,
                          .what = "trunk"};
}

/* ---- what select and doctor will read ---- */

/*
 * The rows that both judge by: through the view of this run and of the one it came from, where they
 * differ. A decoder of its own where that one reaches deeper.
 */
static dial_status fill_judged(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const char *file[2] = {job->heldout_files.n > 0 ? o->heldout_source : o->source.item[0],
                           job->has_target ? o->target.item[0] : NULL};
    di_view view[2] = {{job->base.layers, job->base.pooling}, job->start.view};
    di_view more[DI_MAIN_VIEWS];
    di_decoder_options deeper = {.n_layers = job->start.view.layer, .pooling = DI_POOL_LAST};
    di_decoder *decoder = NULL;
    di_embedder *embedder = NULL;
    di_evidence x = {0};
    di_views_job j;

    if (!job->judged || !job->set.head_only || !job->start.anew) goto done;
    if (view[1].layer > view[0].layer) {
        DI_TRY(di_decoder_new(&job->base.dev, job->base.source, &deeper, &decoder, err));
        DI_TRY(di_embedder_new(&job->base.dev, decoder, di_job_eval_rows(job),
                               job->base.policy.max_length, &embedder, err));
    }
    di_main_views(view[0].layer, more);
    j = views_job(job, embedder != NULL ? embedder : job->embedder, view, 2, more, DI_MAIN_VIEWS);
    for (int k = 0; k < 2 && file[k] != NULL; k++) {
        DI_TRY(di_evidence_load(&job->base, &o->common, file[k], k == 1, DI_JUDGED_ROWS,
                                (uint64_t)o->common.seed, &x, err));
        DI_TRY(di_views_embed(&j, x.d, x.text, NULL, 2 * x.n, 2 * x.n, NULL, err));
        di_evidence_deinit(&x);
    }
done:
    di_evidence_deinit(&x);
    di_embedder_free(embedder);
    di_decoder_free(decoder);
    return st;
}

/* ---- views of the texts of a list ---- */

/* What is kept beside the run's own view; 0: nothing. */
static int list_more(di_train_job *job, di_view more[DI_LATER_VIEWS])
{
    if (!job->set.head_only) return 0;
    if (!job->judged) return di_job_later_views(job, more);
    di_main_views(job->base.layers, more);
    return DI_MAIN_VIEWS;
}

/* Indices [*n] of the texts of one of the files. */
static dial_status texts_of(const di_train_job *job, const di_dataset *d, const di_examples *x,
                            int32_t **text, int64_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t most = 0;

    *n = 0;
    for (int64_t i = 0; i < x->n; i++)
        if (x->set[x->ref[i].set] == d) most += di_example_at(x, i)->n_texts;
    *text = di_new_array(job->al, (size_t)most, sizeof **text);
    if (*text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)most);
    for (int64_t i = 0; i < x->n; i++) {
        const di_example *e = di_example_at(x, i);

        for (int t = 0; x->set[x->ref[i].set] == d && t < e->n_texts; t++)
            (*text)[(*n)++] = d->text_of[e->first + t];
    }
done:
    return st;
}

static dial_status fill_views(di_train_job *job, const di_file_set *f, const di_examples *x,
                              const di_view *more, int n_more, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_view own = {job->base.layers, job->base.pooling};
    di_views_job j = views_job(job, job->embedder, &own, 1, more, n_more);
    int32_t *text = NULL;
    int64_t n;

    for (int k = 0; k < f->n; k++) {
        DI_TRY(texts_of(job, f->set[k], x, &text, &n, err));
        DI_TRY(di_views_embed(&j, f->set[k], text, NULL, n, n, NULL, err));
        di_free(job->al, text);
        text = NULL;
    }
done:
    di_free(job->al, text);
    return st;
}

/* Do `n` views of these lists' texts fit what is set apart for them? */
static int have_room(const di_train_job *job, const di_examples *const *list, int lists, int n)
{
    int64_t texts = 0;

    for (int k = 0; k < lists; k++)
        for (int64_t i = 0; i < list[k]->n; i++) texts += di_example_at(list[k], i)->n_texts;
    return texts <=
           job->opt->trunk_cache_max / PART / (n * job->params.width * (int64_t)sizeof(float));
}

/* whole: steps go all through a side. */
static dial_status fill_more(di_train_job *job, int whole, int whole_target, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_examples *list[] = {&job->held, &job->source};
    di_view more[DI_LATER_VIEWS];
    int n = list_more(job, more);

    if (n == 0 || (!job->judged && !have_room(job, list, 1 + whole, n))) goto done;
    DI_TRY(fill_judged(job, err));
    for (int k = 0; k < 1 + whole; k++)
        DI_TRY(fill_views(job, &job->source_files, list[k], more, n, err));
    DI_TRY(fill_views(job, &job->heldout_files, &job->held, more, n, err));
    if (whole_target) DI_TRY(fill_views(job, &job->target_files, &job->target, more, n, err));
done:
    return st;
}

/* ---- the run's own ---- */

int di_job_stores_trunk(const di_train_job *job)
{
    return (job->set.steps > 0 || job->lora.r == 0) &&
           (job->set.head_only || di_decoder_entry(job->decoder) > 0);
}

/*
 * What the frozen part of the model makes of every text that the run looks at more than once: of a
 * side that steps go all through, of held-out rows and evaluation sets. Of the other texts what
 * earlier runs have stored.
 */
dial_status di_job_fill_trunk(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    const di_train_settings *set = &job->set;
    int64_t steps = set->steps * set->parts;
    const di_examples *source[] = {&job->held, &job->source};
    const di_examples none = {.n = 0}, *target[] = {&none, &job->target};
    int whole = steps * set->batch[DI_SOURCE] >= job->source.n;
    int whole_target = set->batch[DI_TARGET] > 0 && steps * set->batch[DI_TARGET] >= job->target.n;
    int swapped = job->mode == DI_MODE_ORACLE_TARGET; /* the target's rows are the labelled ones */
    double started;

    /* the source alone is trained on, but every save looks at the target too */
    whole_target |= set->head_only && job->has_target && 16 * o->select_rows >= job->target.n;

    if (set->batch[DI_PARALLEL] > 0) whole = whole_target = 1; /* all of them are looked at */

    if (!di_job_stores_trunk(job)) return st;
    started = di_now();
    job->stored[DI_SOURCE] = whole;
    job->stored[DI_TARGET] = whole_target;
    job->stored_held = 1;
    if (set->ranks > 1 && !set->head_only) {
        di_log(job->env, DIAL_LOG_INFO, "no stored trunk: several ranks compute it in every step");
        return st;
    }
    /* Whether a text is in a folder differs by machine: ranks compute a share each, and all of them
       keep all embeddings in memory. */
    DI_TRY(di_trunk_job_open(&job->trunk, &job->base, job->embedder, job->decoder,
                             set->ranks > 1 ? "off" : o->trunk_cache, o->trunk_cache_max, err));
    DI_TRY(fill_more(job, whole, whole_target, err));
    DI_TRY(di_job_fill_files(job, swapped ? &job->target_files : &job->source_files, source,
                             1 + whole, err));
    if (!swapped) DI_TRY(di_job_fill_files(job, &job->target_files, target, 1 + whole_target, err));
    DI_TRY(di_job_fill_files(job, &job->labelled_files, NULL, 0, err));
    DI_TRY(di_job_fill_files(job, &job->crossed_files, NULL, 0, err));
    DI_TRY(di_job_fill_files(job, &job->heldout_files, NULL, 0, err));
    DI_TRY(di_job_fill_files(job, &job->eval_files, NULL, 0, err));
    job->set.trunk = job->trunk.trunk;
    job->trunk_seconds = di_now() - started;
    DI_TRY(di_embedder_set_trunk(job->embedder, job->trunk.trunk, err));
done:
    return st;
}
