/* dial_merge: one run out of several, the mean of their products (interfaces.md 1.13). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/card.h"
#include "api/merge_reference.h"
#include "api/session.h"
#include "base/error.h"
#include "base/file.h"
#include "model/merge.h"

enum { MAX_RUNS = 16 };

typedef struct merge_job {
    const dial_merge_options *opt;
    const dial_env *env;
    const di_alloc *al;
    di_session s[MAX_RUNS];
    int n, head; /* head: of which run; -1: the mean */
    double share[MAX_RUNS];
    di_params merged;
    int has_merged;
} merge_job;

/* --shares W,W,...: as many as runs, made to sum to 1; equal without. */
static dial_status read_shares(merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_list *list = &j->opt->shares;
    double sum = 0;

    if (list->n > 0 && list->n != j->n)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--shares", "give one share a run",
                   "expected %d shares, found %lld", j->n, (long long)list->n);
    for (int k = 0; k < j->n; k++) {
        char *end = NULL;

        j->share[k] = list->n > 0 ? strtod(list->item[k], &end) : 1;
        if (list->n > 0 && (end == list->item[k] || *end != '\0' || !(j->share[k] >= 0)))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--shares", "write 0.8,0.2",
                       "expected numbers of at least 0, found '%s'", list->item[k]);
        sum += j->share[k];
    }
    if (!(sum > 0))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--shares", "write 0.8,0.2", "all shares are 0");
    for (int k = 0; k < j->n; k++) j->share[k] /= sum;
done:
    return st;
}

static dial_status read_head(merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = j->opt->head;
    char *end;
    long long k = strtoll(text, &end, 10);

    j->head = -1;
    if (strcmp(text, "mean") == 0) return DIAL_OK;
    if (end == text || *end != '\0' || k < 1 || k > j->n)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--head", "write mean, or the number of a run",
                   "expected mean or 1 to %d, found '%s'", j->n, text);
    j->head = (int)k - 1;
done:
    return st;
}

/* One base, layer, pooling, text policy and unit of the reward: else the runs are not comparable.
 */
static dial_status check_alike(const merge_job *j, int k, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_session *a = &j->s[0], *b = &j->s[k];
    const json_t *hash_a = json_object_get(json_object_get(a->run, "base"), "sha256");
    const json_t *hash_b = json_object_get(json_object_get(b->run, "base"), "sha256");
    const char *differs =
        !json_equal(hash_a, hash_b)                                        ? "base model"
        : a->layers != b->layers                                           ? "layer"
        : a->pooling != b->pooling                                         ? "pooling"
        : a->applied != b->applied || (a->applied && a->scale != b->scale) ? "scale of the reward"
        : !json_equal(json_object_get(a->run, "text"), json_object_get(b->run, "text"))
            ? "text policy"
            : NULL;

    if (differs != NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, b->path, "merge runs of one base model and one text policy",
                   "its %s is not that of '%s'", differs, a->path);
done:
    return st;
}

static dial_status open_runs(merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (j->opt->common.weights != NULL && strcmp(j->opt->common.weights, "int8") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights", "merge with --weights auto",
                   "expected auto, found int8: the scores of the self-test are those of the dtype");
    for (; j->n < j->opt->runs.n; j->n++) {
        const char *path = j->opt->runs.item[j->n];

        DI_TRY(di_session_open(&j->s[j->n], path, &j->opt->common, DI_NEED_HEAD, NULL, NULL, j->env,
                               err));
        if (j->s[j->n].run == NULL) {
            j->n++;
            DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "give runs of dial train", "it is no run");
        }
    }
    for (int k = 1; k < j->n; k++) DI_TRY(check_alike(j, k, err));
done:
    return st;
}

/* --out must not exist or be empty. */
static dial_status prepare_out(const merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL;
    size_t n = 0;

    if (di_exists(j->opt->out)) DI_TRY(di_list_dir(j->al, j->opt->out, &names, &n, err));
    if (n > 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, j->opt->out, "choose another --out",
                   "the folder is not empty");
    DI_TRY(di_make_dirs(j->opt->out, err));
done:
    di_free_names(j->al, names, n);
    return st;
}

/* Tokenizer files of the first run, byte for byte. */
static dial_status copy_tokenizer(const merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "chat_template.jinja"};
    char *from = NULL, *to = NULL, *text = NULL;
    size_t n;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        from = di_path_join(j->al, j->s[0].path, files[i]);
        to = di_path_join(j->al, j->opt->out, files[i]);
        if (from == NULL || to == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        if (di_exists(from)) {
            DI_TRY(di_read_file(j->al, from, &text, &n, err));
            DI_TRY(di_write_file(j->al, to, text, n, err));
        }
        di_free(j->al, from);
        di_free(j->al, to);
        di_free(j->al, text);
        from = to = text = NULL;
    }
done:
    di_free(j->al, from);
    di_free(j->al, to);
    di_free(j->al, text);
    return st;
}

static json_t *runs_json(const merge_job *j)
{
    json_t *list = json_array();
    int failed = 0;

    for (int k = 0; k < j->n; k++)
        di_json_add(
            list, json_pack("{s:s, s:o}", "dir", j->s[k].path, "share", di_json_stat(j->share[k])),
            &failed);
    return di_json_whole(list, failed);
}

static dial_status write_file(const merge_job *j, const char *name, const di_buf *b,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(j->al, j->opt->out, name);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_buf_status(b, err));
    DI_TRY(di_write_file(j->al, path, b->data, b->size, err));
done:
    di_free(j->al, path);
    return st;
}

static dial_status write_card(const merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, j->al);
    di_buf_printf(
        &b,
        "---\nlibrary_name: peft\ntags: [reward-model, dial]\n---\n\n# Reward model: mean "
        "of %d runs on %s\n\nMerged by dial %s: the products of the adapters are averaged "
        "(rank %lld), the head is %s.\n\n| run | share |\n| --- | --- |\n",
        j->n, j->s[0].base_path, DIAL_VERSION,
        (long long)(j->merged.lora.r + j->merged.lora.adaptor_r),
        j->head < 0 ? "the mean of theirs" : j->s[j->head].path);
    for (int k = 0; k < j->n; k++) di_buf_printf(&b, "| %s | %.4g |\n", j->s[k].path, j->share[k]);
    di_buf_printf(&b,
                  "\n" DI_CARD_RESULTS
                  "\n\nNothing was measured in merging: run `dial eval --card`.\n\n" DI_CARD_DOCTOR
                  "\n\n");
    di_card_doctor(NULL, &b);
    di_buf_printf(&b,
                  "\n## Use\n\n    dial score --model %s --prompt 'P' --response 'R'\n\n## "
                  "Limits\n\nRewards compare responses to one prompt; their zero means nothing.\n",
                  j->opt->out);
    DI_TRY(write_file(j, "README.md", &b, err));
done:
    di_buf_deinit(&b);
    return st;
}

/* dial.json of the first run with what merging changes. */
static dial_status write_run(const merge_job *j, const json_t *test, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *run = json_deep_copy(j->s[0].run), *lora = json_object_get(run, "lora"), *head;
    double shift = 0, scale = 0;
    int failed = 0;
    di_buf b;

    di_buf_init(&b, j->al);
    for (int k = 0; k < j->n; k++) {
        shift += j->share[k] * j->s[k].shift;
        scale += j->share[k] * j->s[k].scale;
    }
    di_json_put(lora, "r", json_integer(j->merged.lora.r), &failed);
    di_json_put(lora, "alpha", json_real((double)j->merged.lora.alpha), &failed);
    if (j->merged.lora.adaptor_r > 0)
        di_json_put(json_object_get(lora, "adaptor"), "r", json_integer(j->merged.lora.adaptor_r),
                    &failed);
    head = json_object_get(run, "head");
    di_json_put(head, "shift", json_real(shift), &failed);
    di_json_put(head, "scale", json_real(scale), &failed);
    di_json_put(
        run, "method",
        json_pack("{s:s, s:o, s:s}", "name", "merge", "runs", runs_json(j), "head", j->opt->head),
        &failed);
    di_json_put(run, "progress",
                json_pack("{s:i, s:b, s:i, s:s}", "step", 0, "finished", 1, "selected_step", 0,
                          "selected_by", "merge"),
                &failed);
    di_json_put(run, "selftest", json_incref((json_t *)(uintptr_t)test), &failed);
    json_object_del(run, "reward_stats"); /* of other rewards */
    json_object_del(run, "flags");
    json_object_del(run, "start");
    json_object_del(run, "optim");
    if (run == NULL || failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to describe the merged run");
    DI_TRY(di_json_write(run, &b, err));
    di_buf_append(&b, "\n", 1);
    DI_TRY(write_file(j, "dial.json", &b, err)); /* last: its presence says that all is there */
done:
    json_decref(run);
    di_buf_deinit(&b);
    return st;
}

static dial_status merge(merge_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_params *run[MAX_RUNS];
    di_session *s = &j->s[0];
    json_t *test = NULL;
    di_params own;

    for (int k = 0; k < j->n; k++) run[k] = &j->s[k].params;
    DI_TRY(di_params_merge(j->al, di_source_config(s->source), run, j->share, j->n, j->head,
                           &j->merged, err));
    j->has_merged = 1;
    own = s->params; /* the first session scores with the merged model while it tests itself */
    s->params = j->merged;
    st = di_session_ready(s, err);
    if (st == DIAL_OK) st = di_session_renew_selftest(s, &test, err);
    if (st == DIAL_OK) st = di_merge_reference(j->s, j->n, 0, j->opt->out, err);
    s->params = own;
    DI_TRY(st);
    DI_TRY(di_adapter_save(&j->merged, j->opt->out, s->base_path, err));
    DI_TRY(copy_tokenizer(j, err));
    DI_TRY(write_card(j, err));
    DI_TRY(write_run(j, test, err));
done:
    json_decref(test);
    return st;
}

dial_status dial_merge(const dial_merge_options *o, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    merge_job *j = di_zalloc(al, sizeof *j);
    json_t *doc;

    if (j == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the merge");
    *j = (merge_job){.opt = o, .env = env, .al = al};
    if (o->runs.n < 2 || o->runs.n > MAX_RUNS || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->out == NULL ? "--out" : NULL,
                   "write: dial merge RUN,RUN --out DIR",
                   "expected 2 to %d runs and a folder to write", MAX_RUNS);
    DI_TRY(open_runs(j, err));
    DI_TRY(read_shares(j, err));
    DI_TRY(read_head(j, err));
    DI_TRY(prepare_out(j, err));
    DI_TRY(merge(j, err));
    doc =
        json_pack("{s:s, s:s, s:o, s:I}", "schema", "dial.merge/1", "out", o->out, "runs",
                  runs_json(j), "rank", (json_int_t)(j->merged.lora.r + j->merged.lora.adaptor_r));
    DI_TRY(di_document(al, doc, json, err));
done:
    for (int k = 0; j != NULL && k < j->n; k++) di_session_close(&j->s[k]);
    if (j != NULL && j->has_merged) di_params_deinit(&j->merged);
    di_free(al, j);
    return st;
}
