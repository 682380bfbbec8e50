/* dial_eval: accuracy and diagnostics of a run on labelled files (interfaces.md 1.6). */
#include <stdio.h>
#include <string.h>

#include "api/base_score.h"
#include "api/card.h"
#include "base/error.h"
#include "base/file.h"
#include "dist/dist.h"
#include "eval/classes.h"
#include "eval/metrics.h"

static di_eval_options eval_options(const dial_eval_options *o)
{
    di_eval_options e = di_eval_options_default();

    e.length_unit = strcmp(o->length_unit, "words") == 0    ? DI_LENGTH_WORDS
                    : strcmp(o->length_unit, "tokens") == 0 ? DI_LENGTH_TOKENS
                                                            : DI_LENGTH_CHARS;
    e.cluster = strcmp(o->cluster, "prompt") == 0 ? DI_CLUSTER_PROMPT
                : strcmp(o->cluster, "none") == 0 ? DI_CLUSTER_NONE
                                                  : DI_CLUSTER_TEXT;
    e.draws = o->bootstrap;
    if (o->group_by != NULL) e.group_key = o->group_by;
    e.seed = (uint64_t)o->common.seed;
    return e;
}

/* A line of --scores, which it takes over; NULL: there was no memory for it. */
static dial_status put_line(json_t *line, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (line == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores");
    DI_TRY(di_json_write(line, out, err));
    di_buf_append(out, "\n", 1);
done:
    json_decref(line);
    return st;
}

/* One line a row, as --scores writes it. */
static dial_status score_lines(const di_dataset *d, const float *reward, di_buf *out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int64_t i = 0; i < d->n; i++) {
        const di_example *x = &d->example[i];
        const int32_t *t = d->text_of + x->first;
        json_t *line = json_pack("{s:I, s:s?}", "i", (json_int_t)x->row, "id", x->id), *scores;
        int failed = 0;

        if (strncmp(d->schema, "rb", 2) == 0 && x->group != NULL)
            di_json_put(line, "subset", json_string(x->group), &failed);
        if (x->kind == DI_ROW_PAIR) {
            di_json_put(line, "chosen", di_json_f32(reward[t[0]]), &failed);
            di_json_put(line, "rejected", di_json_f32(reward[t[1]]), &failed);
        } else if (x->n_texts == 1) {
            di_json_put(line, "score", di_json_f32(reward[t[0]]), &failed);
        } else {
            scores = json_array();
            for (int k = 0; k < x->n_texts; k++)
                di_json_add(scores, di_json_f32(reward[t[k]]), &failed);
            di_json_put(line, "scores", scores, &failed);
        }
        DI_TRY(put_line(di_json_whole(line, failed), out, err));
    }
    DI_TRY(di_buf_status(out, err));
done:
    return st;
}

/* The rows of a file as a session encodes them. */
static dial_status load(di_session *s, const dial_eval_options *o, const char *file,
                        const di_dataset_options *opt, di_dataset **d, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_dataset_load(s->al, file, opt, &s->policy, s->tok, s->env, d, err));
    if (di_base_score_of(o->base_score) == DI_SCORE_AB) DI_TRY(di_base_score_own_texts(*d, err));
done:
    return st;
}

/* --group-by: only pairs have such a table, and of RewardBench's sections the subset decides. */
static dial_status check_groups(const dial_eval_options *o, const di_dataset *d, const char *file,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = 0;

    if (o->group_by == NULL) return DIAL_OK;
    if (strncmp(d->schema, "rb", 2) == 0 || d->example[0].kind != DI_ROW_PAIR)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--group-by", "leave it out for this file",
                   "only rows of preference pairs are grouped, '%s' has the schema %s", file,
                   d->schema);
    for (int64_t i = 0; i < d->n; i++) n += d->example[i].group != NULL;
    if (n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--group-by",
                   "name a column of the file, or KEY.KEY for a value inside an object",
                   "no row of '%s' has a value of '%s'", file, o->group_by);
done:
    return st;
}

/* Rewards [d->n_seq] as the model gives them everywhere: an applied scale in them. */
static dial_status score(di_session *s, const dial_eval_options *o, const di_dataset *d,
                         const di_rows_options *rows, const char *file, const char *name,
                         float *reward, double *seconds, int64_t *tokens, dial_error *err)
{
    dial_status st = DIAL_OK;

    switch (di_base_score_of(o->base_score)) {
    case DI_SCORE_LOGP: return di_score_logp(s, d, name, reward, seconds, tokens, err);
    case DI_SCORE_AB: return di_score_ab(s, d, rows, file, name, reward, seconds, tokens, err);
    case DI_SCORE_HEAD: break;
    }
    DI_TRY(di_score_dataset(s->embedder, di_head_at(&s->params, s->params.theta), d, name, reward,
                            NULL, seconds, tokens, err));
    for (int64_t i = 0; s->applied && i < d->n_seq; i++)
        reward[i] = (float)(s->scale * (double)reward[i] + s->shift);
done:
    return st;
}

/* One line a row, of logits. */
static dial_status class_lines(const di_dataset *d, const float *logit, int64_t classes,
                               di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int64_t i = 0; i < d->n; i++) {
        const di_example *x = &d->example[i];
        const float *z = logit + d->text_of[x->first] * classes;
        json_t *list = json_array(), *line;
        int failed = 0;

        for (int64_t j = 0; j < classes; j++) di_json_add(list, di_json_f32(z[j]), &failed);
        line =
            di_json_whole(json_pack("{s:I, s:s?, s:I, s:o}", "i", (json_int_t)x->row, "id", x->id,
                                    "class", (json_int_t)di_class_of(z, classes), "logits", list),
                          failed);
        DI_TRY(put_line(line, out, err));
    }
    DI_TRY(di_buf_status(out, err));
done:
    return st;
}

/* A file of classes by a run that tells them apart. */
static dial_status eval_classes(di_session *s, const dial_eval_options *o, const char *text,
                                di_buf *scores, json_t *results, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset_options d_opt = {.drop_identical = 0};
    int64_t classes = di_head_rows(&s->params), tokens;
    di_dataset *d = NULL;
    char *name = NULL;
    const char *file;
    float *logit = NULL;
    double seconds;
    json_t *result = NULL;

    DI_TRY(di_parse_named_file(s->al, text, &name, &file, err));
    DI_TRY(di_rows_options_from(&o->common, &d_opt.rows, err));
    DI_TRY(di_dataset_load(s->al, file, &d_opt, &s->policy, s->tok, s->env, &d, err));
    di_show_tokens(s, d, o->common.show_tokens);
    DI_TRY(di_class_check(d, classes, err));
    logit = di_new_array(s->al, (size_t)(d->n_seq * classes), sizeof *logit);
    if (logit == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for logits");
    DI_TRY(di_logits_dataset(s->embedder, di_head_at(&s->params, s->params.theta), classes, d, name,
                             logit, &seconds, &tokens, err));
    DI_TRY(di_eval_classes(s->al, d, name, logit, classes, seconds, tokens, &result, err));
    if (o->scores != NULL) DI_TRY(class_lines(d, logit, classes, scores, err));
    if (json_array_append(results, result) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the results");
done:
    json_decref(result);
    di_free(s->al, logit);
    di_dataset_free(d);
    di_free(s->al, name);
    return st;
}

static dial_status eval_file(di_session *s, di_session *other, const dial_eval_options *o,
                             const char *text, di_buf *scores, json_t *results, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset_options d_opt = {.drop_identical = 0};
    di_eval_options e = eval_options(o);
    di_dataset *d = NULL, *d2 = NULL;
    char *name = NULL;
    const char *file;
    float *reward = NULL, *reward2 = NULL;
    double seconds;
    int64_t tokens;
    json_t *result = NULL, *compare = NULL;

    DI_TRY(di_parse_named_file(s->al, text, &name, &file, err));
    DI_TRY(di_rows_options_from(&o->common, &d_opt.rows, err));
    d_opt.rows.group_by = o->group_by;
    DI_TRY(load(s, o, file, &d_opt, &d, err));
    DI_TRY(check_groups(o, d, file, err));
    di_show_tokens(s, d, o->common.show_tokens);
    reward = di_new_array(s->al, (size_t)d->n_seq, sizeof *reward);
    if (reward == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
    DI_TRY(score(s, o, d, &d_opt.rows, file, name, reward, &seconds, &tokens, err));
    DI_TRY(di_eval_result(s->al, d, name, reward, &e, seconds, tokens, &result, err));
    if (other !=
        NULL) { /* its own tokenizer and policy: the rows are the same, the ids need not be */
        DI_TRY(load(other, o, file, &d_opt, &d2, err));
        reward2 = di_new_array(s->al, (size_t)d2->n_seq, sizeof *reward2);
        if (reward2 == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for rewards");
        if (d2->n != d->n || d2->n_seq != d->n_seq)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--compare", "compare runs of one text policy",
                       "the two runs keep %lld and %lld rows of '%s'", (long long)d->n,
                       (long long)d2->n, file);
        DI_TRY(score(other, o, d2, &d_opt.rows, file, name, reward2, NULL, NULL, err));
        DI_TRY(di_eval_compare(s->al, d, reward, o->compare, reward2, &e, &compare, err));
        if (json_object_set(result, "compare", compare) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the comparison");
    }
    if (o->scores != NULL) DI_TRY(score_lines(d, reward, scores, err));
    if (json_array_append(results, result) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the results");
done:
    json_decref(result);
    json_decref(compare);
    di_free(s->al, reward);
    di_free(s->al, reward2);
    di_dataset_free(d);
    di_dataset_free(d2);
    di_free(s->al, name);
    return st;
}

/* Does its own head tell classes apart, and is it asked? */
static int tells_classes(const di_session *s, const dial_eval_options *o)
{
    return di_base_score_of(o->base_score) == DI_SCORE_HEAD && s->has_params &&
           di_head_rows(&s->params) > 1;
}

/* A model that scores as asked, ready. */
static dial_status open_model(di_session *s, const char *path, const dial_eval_options *o,
                              const dial_env *env, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_base_score by = di_base_score_of(o->base_score);

    if (by != DI_SCORE_HEAD && di_dist_of(env)->size > 1)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--base-score", "start one process",
                   "scores by the language model are computed by one process, found %d ranks",
                   di_dist_of(env)->size);
    DI_TRY(di_session_open(s, path, &o->common,
                           by == DI_SCORE_HEAD ? DI_NEED_HEAD_OR_CLASSES : DI_NEED_MODEL_OR_CLASSES,
                           NULL, NULL, env, err));
    di_base_score_prepare(s, by);
    DI_TRY(di_session_ready(s, err));
done:
    return st;
}

/* --card: the results are the run's own, all of them, and there is a card: before the work. */
static dial_status check_card(const di_session *s, const dial_eval_options *o, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL;

    if (di_base_score_of(o->base_score) != DI_SCORE_HEAD || s->text_override ||
        o->common.limit >= 0 || o->common.skip_rows > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--card",
                   "leave out --base-score, --override-text, --limit and --skip-rows",
                   "a card has results of the run as it is, on whole files");
    DI_TRY(di_card_read(s->al, o->model, &text, err));
done:
    di_free(s->al, text);
    return st;
}

dial_status dial_eval(const dial_eval_options *o, const dial_env *env, char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    di_session s = {0}, other = {0};
    json_t *results = json_array(), *doc = NULL, *macro = NULL, *v;
    di_buf scores;
    double accuracy;

    di_buf_init(&scores, al);
    if (o->model == NULL || o->data.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->model == NULL ? "--model" : "--data",
                   "see dial eval --help", "the flag is required");
    DI_TRY(open_model(&s, o->model, o, env, err));
    if (o->compare != NULL) DI_TRY(open_model(&other, o->compare, o, env, err));
    if (o->compare != NULL && (tells_classes(&s, o) || tells_classes(&other, o)))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--compare", "compare runs that have a reward",
                   "'%s' tells classes apart (--objective ce)",
                   tells_classes(&s, o) ? o->model : o->compare);
    if (o->card) DI_TRY(check_card(&s, o, err));
    for (int64_t i = 0; i < o->data.n; i++)
        DI_TRY(tells_classes(&s, o) ? eval_classes(&s, o, o->data.item[i], &scores, results, err)
                                    : eval_file(&s, o->compare != NULL ? &other : NULL, o,
                                                o->data.item[i], &scores, results, err));
    if (o->scores != NULL && di_dist_of(env)->rank == 0)
        DI_TRY(
            di_write_file(al, o->scores, scores.data != NULL ? scores.data : "", scores.size, err));
    if (o->card && di_dist_of(env)->rank == 0)
        DI_TRY(di_card_renew_results(al, o->model, results, err));
    macro = di_eval_macro(results);
    v = json_object_get(json_object_get(s.run, "progress"), "selected_step");
    doc = json_pack("{s:s, s:s, s:I, s:b, s:O, s:O}", "schema", "dial.eval/1", "model", o->model,
                    "step", json_integer_value(v), "text_override", s.text_override, "results",
                    results, "macro", macro);
    if (doc != NULL && di_base_score_of(o->base_score) != DI_SCORE_HEAD &&
        json_object_set_new(doc, "base_score", json_string(o->base_score)) != 0) {
        json_decref(doc); /* di_document says that there is none */
        doc = NULL;
    }
    if (di_dist_of(env)->rank > 0)
        json_decref(doc);
    else
        DI_TRY(di_document(al, doc, json, err));
    v = json_object_get(macro, "accuracy");
    accuracy = json_is_number(v) ? json_number_value(v) : -1;
    if (o->min_accuracy >= 0 && accuracy < o->min_accuracy)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, "--min-accuracy", NULL, "accuracy %.4f is below %.4f",
                   accuracy, o->min_accuracy);
done:
    st = di_dist_leave(di_dist_of(env), st, err);
    json_decref(results);
    json_decref(macro);
    di_buf_deinit(&scores);
    if (s.al != NULL) di_session_close(&s);
    if (other.al != NULL) di_session_close(&other);
    return st;
}
