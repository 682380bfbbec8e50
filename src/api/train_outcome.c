#include "api/train_job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "dist/dist.h"
#include "eval/classes.h"
#include "model/head.h"
#include "model/safetensors.h"

enum { STATS_ROWS = 256, SELFTEST_TEXTS = 8, SELFTEST_ROWS = 256 };

/*
 * One line a row: rewards, and the hashes that name its texts and its prompt (clusters of paired
 * intervals). Of multiple choice the right option and the best of the wrong ones; the first wrong
 * text stands for all of them, so that a row is named alike whatever a model prefers.
 */
static dial_status write_scores(di_train_job *job, const di_dataset *d, const char *name,
                                const float *reward, dial_error *err)
{
    dial_status st = DIAL_OK;
    char file[256], hash[2][20], prompt[20];
    char *path = NULL, *dir = di_path_join(job->al, job->opt->out, "scores");
    json_t *line = NULL;
    di_buf b;

    di_buf_init(&b, job->al);
    snprintf(file, sizeof file, "%s.jsonl", name);
    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_make_dirs(dir, err));
    path = di_path_join(job->al, dir, file);
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    for (int64_t i = 0; i < d->n; i++) {
        const di_example *x = &d->example[i];
        const int32_t *t = d->text_of + x->first;

        float rejected;

        if (x->kind != DI_ROW_PAIR && x->kind != DI_ROW_MCQ) continue;
        rejected = reward[t[1]];
        for (int32_t k = 2; k < x->n_texts; k++) rejected = fmaxf(rejected, reward[t[k]]);
        for (int k = 0; k < 2; k++)
            snprintf(hash[k], sizeof hash[k], "%016llx", (unsigned long long)d->seq[t[k]].hash);
        snprintf(prompt, sizeof prompt, "%016llx", (unsigned long long)d->seq[t[0]].prompt_hash);
        line = json_pack("{s:I, s:s?, s:o, s:o, s:[s, s], s:s}", "i", (json_int_t)x->row, "id",
                         x->id, "chosen", di_json_f32(reward[t[0]]), "rejected",
                         di_json_f32(rejected), "texts", hash[0], hash[1], "prompt", prompt);
        if (line == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores");
        DI_TRY(di_json_write(line, &b, err));
        json_decref(line);
        line = NULL;
        di_buf_append(&b, "\n", 1);
    }
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(job->al, path, b.data != NULL ? b.data : "", b.size, err));
done:
    json_decref(line);
    di_buf_deinit(&b);
    di_free(job->al, path);
    di_free(job->al, dir);
    return st;
}

/* Result of evaluation set k by a head of classes. */
static dial_status evaluate_classes(di_train_job *job, int k, json_t **result, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dataset *d = job->eval_files.set[k];
    int64_t j = job->set.loss.classes, tokens;
    float *logit = di_new_array(job->al, (size_t)(d->n_seq * j), sizeof *logit);
    double seconds;

    if (logit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for logits");
    DI_TRY(di_logits_dataset(job->embedder, di_head_at(&job->params, job->params.theta), j, d,
                             job->eval_files.name[k], logit, &seconds, &tokens, err));
    DI_TRY(di_eval_classes(job->al, d, job->eval_files.name[k], logit, j, seconds, tokens, result,
                           err));
done:
    di_free(job->al, logit);
    return st;
}

/* The same by rewards, which are kept with the run at its end. */
static dial_status evaluate_rewards(di_train_job *job, int k, int final, json_t **result,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dataset *d = job->eval_files.set[k];
    di_eval_options o = di_eval_options_default();
    float *reward = di_new_array(job->al, (size_t)d->n_seq, sizeof *reward);
    double seconds;
    int64_t tokens;

    if (reward == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
    o.seed = job->set.seed;
    DI_TRY(di_score_dataset(job->embedder, di_head_at(&job->params, job->params.theta), d,
                            job->eval_files.name[k], reward, NULL, &seconds, &tokens, err));
    for (int64_t i = 0; final && job->match.applied && i < d->n_seq; i++)
        reward[i] = (float)(job->match.scale * (double)reward[i] + job->match.shift);
    DI_TRY(di_eval_result(job->al, d, job->eval_files.name[k], reward, &o, seconds, tokens, result,
                          err));
    if (final && di_dist_of(job->env)->rank == 0)
        DI_TRY(write_scores(job, d, job->eval_files.name[k], reward, err));
done:
    di_free(job->al, reward);
    return st;
}

static dial_status evaluate_one(di_train_job *job, int k, int64_t step, int final, json_t **out,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *result = NULL;

    DI_TRY(job->set.loss.classes > 0 ? evaluate_classes(job, k, &result, err)
                                     : evaluate_rewards(job, k, final, &result, err));
    DI_TRY(di_journal_write(&job->journal,
                            json_pack("{s:s, s:I, s:s, s:b, s:O}", "event", "eval", "step",
                                      (json_int_t)step, "name", job->eval_files.name[k], "final",
                                      final, "result", result),
                            err));
    *out = result;
    result = NULL;
done:
    json_decref(result);
    return st;
}

dial_status di_job_evaluate(di_train_job *job, int64_t step, int final, json_t **out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *all = json_object(), *one = NULL;

    if (all == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the evaluations");
    for (int k = 0; k < job->eval_files.n; k++) {
        DI_TRY(evaluate_one(job, k, step, final, &one, err));
        if (json_object_set_new(all, job->eval_files.name[k], one) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the evaluations");
    }
    if (out != NULL) *out = json_incref(all);
done:
    json_decref(all);
    return st;
}

/* Draws up to --maps rows of a side, or the first of an evaluation set, and embeds them. */
static dial_status map_of(di_train_job *job, const di_examples *x, uint64_t seed, float **e,
                          int64_t *rows, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_examples drawn = {.set = x->set, .n = x->n};
    int64_t width = job->params.width;

    drawn.ref = di_new_array(job->al, (size_t)x->n, sizeof *drawn.ref);
    if (drawn.ref == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map");
    memcpy(drawn.ref, x->ref, (size_t)x->n * sizeof *x->ref);
    DI_TRY(di_examples_draw(job->al, &drawn, job->opt->maps, seed, err));
    *e = di_new_array(job->al, (size_t)(2 * drawn.n * width), sizeof **e);
    if (*e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a map");
    *rows = 2 * drawn.n;
    DI_TRY(di_job_embed_pairs(job, &drawn, drawn.n, "map", *e, err));
done:
    di_examples_free(job->al, &drawn);
    return st;
}

dial_status di_job_write_maps(di_train_job *job, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_st_entry entry[2 + DI_MAX_FILES];
    float *e[2 + DI_MAX_FILES] = {NULL};
    char name[2 + DI_MAX_FILES][128], file[64], number[24], epoch[32];
    char *dir = di_path_join(job->al, job->opt->out, "maps"), *path = NULL;
    json_t *meta = NULL;
    di_examples all;
    int n = 0;

    if (job->opt->maps <= 0) goto done;
    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_dist_of(job->env)->rank == 0) DI_TRY(di_make_dirs(dir, err));
    snprintf(file, sizeof file, "step-%08lld.safetensors", (long long)step);
    path = di_path_join(job->al, dir, file);
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    for (int k = 0; k < 2 + job->eval_files.n; k++) {
        const di_examples *x = k == 0 ? &job->source : &job->target;
        int64_t rows = 0;

        if (k == 1 && !job->has_target) continue;
        if (k >= 2) {
            if (job->eval_files.set[k - 2]->example[0].kind != DI_ROW_PAIR) continue;
            DI_TRY(di_examples_all(job->al, &job->eval_files.set[k - 2], 1, &all, err));
            x = &all;
        }
        st = map_of(job, x, job->set.seed + DI_RNG_MAPS, &e[n], &rows, err);
        if (k >= 2) di_examples_free(job->al, &all);
        if (st != DIAL_OK) goto done;
        snprintf(name[n], sizeof name[n], "%s.embeddings",
                 k == 0   ? "source"
                 : k == 1 ? "target"
                          : job->eval_files.name[k - 2]);
        entry[n] = (di_st_entry){name[n], "F32", {rows, job->params.width},
                                 2,       e[n],  (size_t)(rows * job->params.width) * sizeof **e};
        n++;
    }
    snprintf(number, sizeof number, "%lld", (long long)step);
    snprintf(epoch, sizeof epoch, "%.6g", (double)step / (double)job->epoch_steps);
    meta = json_pack("{s:s, s:s}", "step", number, "epoch", epoch);
    if (di_dist_of(job->env)->rank == 0)
        DI_TRY(di_st_write(job->al, path, entry, (size_t)n, meta, err));
done:
    for (int k = 0; k < 2 + DI_MAX_FILES; k++) di_free(job->al, e[k]);
    json_decref(meta);
    di_free(job->al, dir);
    di_free(job->al, path);
    return st;
}

dial_status di_job_snapshot(di_train_job *job, int64_t step, dial_error *err)
{
    dial_status st = DIAL_OK;
    int due = 0;

    for (int k = 0; k < job->n_snapshots; k++) /* an epoch ends with the step that completes it */
        due |= step == (int64_t)ceil(job->snapshot[k] * (double)job->epoch_steps - 1e-9);
    if (due) DI_TRY(di_job_write_maps(job, step, err));
done:
    return st;
}

/* Texts of the self-test: shortest, longest, non-ASCII, one with a special token, first ones. */
typedef struct pick {
    char *text[SELFTEST_TEXTS];
    size_t size[SELFTEST_TEXTS];
    int n;
} pick;

static dial_status add_text(di_train_job *job, pick *p, const di_text *t, const char *tail,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = t->prompt_size + t->response_size + strlen(tail);
    char *text;

    if (p->n == SELFTEST_TEXTS) return DIAL_OK;
    text = di_new(job->al, n + 1);
    if (text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    memcpy(text, t->prompt, t->prompt_size);
    memcpy(text + t->prompt_size, t->response, t->response_size);
    memcpy(text + t->prompt_size + t->response_size, tail, strlen(tail) + 1);
    p->text[p->n] = text;
    p->size[p->n++] = n;
done:
    return st;
}

static int is_ascii(const di_text *t)
{
    for (size_t i = 0; i < t->response_size; i++)
        if ((unsigned char)t->response[i] >= 128) return 0;
    return 1;
}

/* Reads the head of a file: pass 0 finds what to take, pass 1 takes it. */
static dial_status pick_texts(di_train_job *job, const char *path, pick *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_rows *r = NULL;
    di_rows_options o;
    di_row row;
    int64_t shortest = -1, longest = -1, foreign = -1;
    size_t least = SIZE_MAX, most = 0;
    int got = 1;

    for (int pass = 0; pass < 2; pass++) {
        DI_TRY(di_rows_options_from(&job->opt->common, &o, err));
        o.drop_labels = 1; /* the order of a pair's texts must not depend on its label */
        o.seed = job->set.seed;
        DI_TRY(di_rows_open(job->al, path, &o, NULL, &r, err));
        for (int64_t i = 0; i < SELFTEST_ROWS; i++) {
            const di_text *t = &row.text[0];
            size_t n;

            DI_TRY(di_rows_next(r, &row, &got, NULL, err));
            if (!got) break;
            n = t->prompt_size + t->response_size;
            if (pass == 0 && n < least) shortest = (least = n, i);
            if (pass == 0 && n > most) longest = (most = n, i);
            if (pass == 0 && foreign < 0 && !is_ascii(t)) foreign = i;
            if (pass == 1 && i == 0) DI_TRY(add_text(job, p, t, " <|endoftext|> <bos>", err));
            if (pass == 1 && (i == shortest || i == longest || i == foreign || i == 1))
                DI_TRY(add_text(job, p, t, "", err));
        }
        di_rows_close(r);
        r = NULL;
    }
done:
    di_rows_close(r);
    return st;
}

dial_status di_job_selftest(di_train_job *job, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    pick p = {.n = 0};
    di_text_scratch scratch = {.al = job->al};
    json_t *texts = json_array(), *list;
    float *e = di_new_array(job->al, (size_t)job->params.width, sizeof *e);
    const float *head = di_head_at(&job->params, job->params.theta);
    int failed = 0;

    if (texts == NULL || e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    DI_TRY(pick_texts(job, job->source.set[0]->path, &p, err));
    if (job->has_target) DI_TRY(pick_texts(job, job->opt->target.item[0], &p, err));
    for (int i = 0; i < p.n; i++) {
        di_text t = {
            .prompt = "", .response = p.text[i], .response_size = p.size[i], .rendered = 1};
        const int32_t *ids;
        int64_t n;
        unsigned flags;
        di_seq_view view;

        DI_TRY(
            di_text_encode(&job->base.policy, job->base.tok, &t, &scratch, &ids, &n, &flags, err));
        if (n == 0) continue;
        view = (di_seq_view){ids, n};
        DI_TRY(di_embed_texts(job->embedder, &view, NULL, 1, "self-test", e, err));
        list = json_array();
        for (int64_t k = 0; k < n; k++) di_json_add(list, json_integer(ids[k]), &failed);
        di_json_add(
            texts,
            json_pack(
                "{s:s%, s:o, s:o}", "text", p.text[i], p.size[i], "ids", list, "score",
                di_json_f32(di_reward_sum(head, di_head_rows(&job->params), e, job->params.width))),
            &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
    *out = json_pack("{s:s, s:s, s:O}", "backend", job->base.dev.ops->name, "dtype",
                     job->base.dev.act == DI_BF16 ? "bf16" : "f32", "texts", texts);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the self-test");
done:
    json_decref(texts);
    di_text_scratch_deinit(&scratch);
    di_free(job->al, e);
    for (int i = 0; i < p.n; i++) di_free(job->al, p.text[i]);
    return st;
}

static dial_status stats_of(di_train_job *job, const di_examples *x, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = x->n < STATS_ROWS ? x->n : STATS_ROWS, width = job->params.width;
    float *e = di_new_array(job->al, (size_t)(2 * n * width), sizeof *e);
    const float *head = di_head_at(&job->params, job->params.theta);
    double sum = 0, squares = 0;

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for reward statistics");
    DI_TRY(di_job_embed_pairs(job, x, n, "reward statistics", e, err));
    for (int64_t i = 0; i < 2 * n; i++) {
        double r = (double)di_reward(head, e + i * width, width);

        sum += r;
        squares += r * r;
    }
    sum /= (double)(2 * n);
    *out = json_pack("{s:o, s:o}", "mean", di_json_stat(sum), "std",
                     di_json_stat(sqrt(fmax(0, squares / (double)(2 * n) - sum * sum))));
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for reward statistics");
done:
    di_free(job->al, e);
    return st;
}

dial_status di_job_reward_stats(di_train_job *job, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *source = NULL, *target = NULL;

    if (job->set.loss.classes > 0) { /* no reward */
        *out = json_pack("{s:n, s:n}", "source", "target");
        if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for reward statistics");
        goto done;
    }
    DI_TRY(stats_of(job, job->held.n > 0 ? &job->held : &job->source, &source, err));
    if (job->has_target) DI_TRY(stats_of(job, &job->target, &target, err));
    *out = json_pack("{s:O, s:O?}", "source", source, "target", target);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for reward statistics");
done:
    json_decref(source);
    json_decref(target);
    return st;
}
