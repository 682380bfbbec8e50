/* --consistency: rows of equal id in source and target (train/parallel.h). */
#include "api/train_job.h"
#include "base/error.h"

dial_status di_job_find_parallel(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_parallel *p = &job->parallel;
    int64_t batch = job->opt->batch_target / job->set.parts;

    if (!(job->set.consistency > 0)) return DIAL_OK;
    DI_TRY(di_parallel_init(p, job->al, &job->source, &job->target, err));
    if (p->rows.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--consistency",
                   "give rows that are parallel the same id in both files, or leave it out",
                   "none of %lld source rows has a target row of its id (two texts each, the id "
                   "once in a domain)",
                   (long long)job->source.n);
    job->set.batch[DI_PARALLEL] = batch < p->rows.n ? batch : p->rows.n;
    job->side[DI_PARALLEL] = &p->rows;
    di_job_warn(job, "parallel_rows",
                "%lld of %lld source rows have a target row of their id (%lld ids left out: they "
                "stand twice); what is trained on them is no unpaired adaptation",
                (long long)p->rows.n, (long long)job->source.n, (long long)p->repeated);
done:
    return st;
}

/*
 * Embeddings e [n, C] that tell a text by its content: means over tokens, whatever the run reads.
 * They found 94 of 100 partners where those of the last token found 76 (docs/math.md). Where the
 * run reads means they may be stored already.
 */
static dial_status embed_content(di_train_job *job, const di_seq_view *text, const uint64_t *prompt,
                                 int64_t n, float *e, dial_error *err)
{
    di_view mean = {di_decoder_layers(job->decoder), DI_POOL_MEAN};

    return job->base.pooling == DI_POOL_MEAN
               ? di_embed_texts(job->embedder, text, prompt, n, "parallel rows", e, err)
               : di_embed_views(job->embedder, text, prompt, n, &mean, 1, "parallel rows", e, err);
}

dial_status di_job_settle_parallel(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_parallel *p = &job->parallel;
    int64_t n = p->rows.n, c = job->params.width, half = 2 * n;
    di_seq_view *text = NULL;
    uint64_t *prompt = NULL;
    float *e = NULL;

    if (n == 0) return DIAL_OK;
    text = di_new_array(job->al, 2 * (size_t)half, sizeof *text);
    prompt = di_new_array(job->al, 2 * (size_t)half, sizeof *prompt);
    e = di_new_array(job->al, (size_t)(2 * half * c), sizeof *e);
    if (text == NULL || prompt == NULL || e == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld parallel rows", (long long)n);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < DI_PARALLEL_TEXTS; k++) {
            const di_seq *s = di_example_seq(&p->rows, i, k);
            int64_t at = (k < 2 ? 0 : half) + 2 * i + k % 2;

            text[at] = (di_seq_view){s->id, s->n};
            prompt[at] = s->prompt_hash;
        }
    DI_TRY(embed_content(job, text, prompt, 2 * half, e, err));
    DI_TRY(di_parallel_settle(p, job->al, e, c, err));
done:
    di_free(job->al, text);
    di_free(job->al, prompt);
    di_free(job->al, e);
    return st;
}
