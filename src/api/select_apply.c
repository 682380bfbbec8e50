/*
 * A run's folder has one checkpoint at its top level: adapter, head, their self-test, the reference
 * of the monitor, the card. Several files change, and a reader (a server that reloads, another
 * process) must never find some of them old and some new; so a second folder is made beside the
 * run, of hard links to all that stays, and the two are exchanged by one call (renameat2).
 */
#include "api/select_apply.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/card.h"
#include "api/merge_reference.h"
#include "api/reference.h"
#include "base/error.h"
#include "base/file.h"
#include "model/head.h"

typedef struct application {
    const di_alloc *al;
    di_session s;
    char folder[PATH_MAX], made[PATH_MAX + 32]; /* the run, and what takes its place */
    const char *checkpoint, *by;
    int64_t step;
} application;

/* What the new choice has files of its own for. */
static const char *const own_files[] = {"adapter_config.json", "adapter_model.safetensors",
                                        "adaptor.safetensors", "reference.safetensors",
                                        "dial.json",           "README.md"};
enum { N_OF_CHECKPOINT = 3, N_OWN = sizeof own_files / sizeof *own_files };

/* ---- the second folder ---- */

static dial_status link_file(const char *from, const char *to, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (link(from, to) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, to, "copy the run to a file system that has links",
                   "cannot link '%s': %s", from, strerror(errno));
done:
    return st;
}

/* Every file of a folder and the folders in it; at the top not those in own_files. */
static dial_status link_tree(const di_alloc *al, const char *from, const char *to, int top,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL, *a = NULL, *b = NULL;
    size_t n = 0;

    DI_TRY(di_make_dirs(to, err));
    DI_TRY(di_list_dir(al, from, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        int own = strstr(names[i], ".tmp-") != NULL;

        for (int k = 0; top && k < N_OWN; k++) own |= strcmp(names[i], own_files[k]) == 0;
        if (own) continue;
        a = di_path_join(al, from, names[i]);
        b = di_path_join(al, to, names[i]);
        if (a == NULL || b == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        DI_TRY(di_is_dir(a) ? link_tree(al, a, b, 0, err) : link_file(a, b, err));
        di_free(al, a);
        di_free(al, b);
        a = b = NULL;
    }
done:
    di_free(al, a);
    di_free(al, b);
    di_free_names(al, names, n);
    return st;
}

/* Adapter, head and adaptor as the checkpoint has them. */
static dial_status link_checkpoint(const application *x, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *a = NULL, *b = NULL;

    for (int k = 0; k < N_OF_CHECKPOINT; k++) {
        a = di_path_join(x->al, x->checkpoint, own_files[k]);
        b = di_path_join(x->al, x->made, own_files[k]);
        if (a == NULL || b == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        if (di_exists(a)) DI_TRY(link_file(a, b, err));
        di_free(x->al, a);
        di_free(x->al, b);
        a = b = NULL;
    }
done:
    di_free(x->al, a);
    di_free(x->al, b);
    return st;
}

/* ---- what is said of the new choice ---- */

static json_t *moments(const application *x, const di_reference *r, int side)
{
    const di_params *p = &x->s.params;
    double sum = 0, squares = 0, n = (double)r->n[side];

    if (r->n[side] == 0) return json_null();
    for (int64_t i = 0; i < r->n[side]; i++) {
        double v = (double)di_reward(di_head_at(p, p->theta), r->e[side] + i * p->width, p->width);

        sum += v / n;
        squares += v * v / n;
    }
    return json_pack("{s:o, s:o}", "mean", di_json_stat(sum), "std",
                     di_json_stat(sqrt(fmax(0, squares - sum * sum))));
}

/* Of the texts of the reference; those of the choice before say nothing of this one. */
static dial_status reward_stats(const application *x, json_t *run, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(x->al, x->made, "reference.safetensors");
    di_reference r = {.n = {0}};
    int failed = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    json_object_del(run, "reward_stats");
    if (!di_exists(path)) goto done;
    DI_TRY(di_reference_read(x->al, x->made, x->s.params.width, &r, err));
    di_json_put(run, "reward_stats",
                json_pack("{s:o, s:o}", "source", moments(x, &r, 0), "target", moments(x, &r, 1)),
                &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for reward statistics");
done:
    di_reference_free(x->al, &r);
    di_free(x->al, path);
    return st;
}

static dial_status write_run(application *x, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *run = json_deep_copy(x->s.run), *progress = json_object_get(run, "progress");
    json_t *test = NULL;
    char *path = di_path_join(x->al, x->made, "dial.json");
    int failed = 0;
    di_buf b;

    di_buf_init(&b, x->al);
    if (run == NULL || path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to describe a run");
    DI_TRY(di_session_renew_selftest(&x->s, &test, err));
    DI_TRY(reward_stats(x, run, err));
    di_json_put(progress, "selected_step", json_integer(x->step), &failed);
    di_json_put(progress, "selected_by", json_string(x->by), &failed);
    di_json_put(run, "selftest", json_incref(test), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to describe a run");
    DI_TRY(di_json_write(run, &b, err));
    di_buf_append(&b, "\n", 1);
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(x->al, path, b.data, b.size, err));
done:
    di_buf_deinit(&b);
    json_decref(test);
    json_decref(run);
    di_free(x->al, path);
    return st;
}

/* The card says which checkpoint it is of; what was measured was another one. */
static dial_status write_card(const application *x, dial_error *err)
{
    static const char said[] = "the checkpoint of step ";
    dial_status st = DIAL_OK;
    char *text = NULL, *at, *whole;
    di_buf b;

    di_buf_init(&b, x->al);
    if (di_card_read(x->al, x->folder, &text, NULL) != DIAL_OK) return DIAL_OK; /* it has none */
    at = strstr(text, said);
    if (at != NULL) {
        di_buf_append(&b, text, (size_t)(at - text));
        di_buf_printf(
            &b, "%s%lld was chosen by `%s` (`dial select --apply`), which reads no target label.",
            said, (long long)x->step, x->by);
        at += strcspn(at, "\n");
        di_buf_append(&b, at, strlen(at));
        DI_TRY(di_buf_status(&b, err));
        whole = di_buf_take(&b);
        di_free(x->al, text);
        text = whole;
    }
    di_buf_printf(&b, "Of this checkpoint nothing was measured yet: run `dial eval --card`.\n");
    DI_TRY(di_card_put(x->al, &text, DI_CARD_RESULTS, &b, err));
    b.size = 0;
    di_card_doctor(NULL, &b);
    DI_TRY(di_card_put(x->al, &text, DI_CARD_DOCTOR, &b, err));
    DI_TRY(di_card_write(x->al, x->made, text, err));
done:
    di_buf_deinit(&b);
    di_free(x->al, text);
    return st;
}

static dial_status fill(application *x, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(di_remove_tree(x->made, err)); /* of a call that was killed */
    DI_TRY(link_tree(x->al, x->folder, x->made, 1, err));
    DI_TRY(link_checkpoint(x, err));
    DI_TRY(di_merge_reference(&x->s, 1, x->step, x->made, err));
    DI_TRY(write_card(x, err));
    DI_TRY(write_run(x, err));
    DI_TRY(di_sync_dir(x->made, err));
done:
    return st;
}

/* ---- the whole ---- */

static dial_status open_run(application *x, const dial_common_options *common, const char *run,
                            const dial_env *env, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (common->weights != NULL && strcmp(common->weights, "int8") == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--weights", "apply with --weights auto",
                   "expected auto, found int8: the scores of the self-test are those of the dtype");
    if (realpath(run, x->folder) == NULL) /* a link to the run stays one */
        DI_FAIL_AT(err, DIAL_ERR_IO, run, NULL, "cannot find the folder: %s", strerror(errno));
    snprintf(x->made, sizeof x->made, "%s.tmp-%ld", x->folder, (long)getpid());
    DI_TRY(di_session_open(&x->s, run, common, DI_NEED_HEAD, NULL, NULL, env, err));
    if (x->s.applied)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--apply",
                   "train again with --select, or adapt the run before it again",
                   "'%s' holds the scale of an earlier run's reward (--match-scale) for the "
                   "checkpoint that it has",
                   run);
    DI_TRY(di_adapter_load(x->al, x->checkpoint, &x->s.params, err));
    DI_TRY(di_session_ready(&x->s, err));
done:
    return st;
}

dial_status di_select_apply(const dial_common_options *common, const char *run,
                            const char *checkpoint, int64_t step, const char *by,
                            const dial_env *env, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    application x = {.al = di_env_alloc(env), .checkpoint = checkpoint, .by = by, .step = step};
    const json_t *progress, *was;
    int changes = 0;

    DI_TRY(open_run(&x, common, run, env, err));
    progress = json_object_get(x.s.run, "progress");
    was = json_object_get(progress, "selected_step");
    changes = json_integer_value(was) != step;
    *out = json_pack("{s:s, s:I, s:b, s:{s:O?, s:O?}}", "dir", run, "step", (json_int_t)step,
                     "changed", changes, "replaced", "step", was, "selected_by",
                     json_object_get(progress, "selected_by"));
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    if (!changes) goto done;
    DI_TRY(fill(&x, err));
    DI_TRY(di_exchange(x.made, x.folder, err));
done:
    if (changes) di_remove_tree(x.made, NULL); /* the old folder, or what was made of the new one */
    if (x.s.al != NULL) di_session_close(&x.s);
    return st;
}
