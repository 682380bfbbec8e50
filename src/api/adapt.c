/*
 * dial_adapt: one cycle of the loop that keeps a served reward model honest (interfaces.md 1.11):
 *
 *     live traffic --collect--> OUT/target.jsonl --train (from RUN)--> OUT
 *         --select (RUN against its successors)--> --doctor--> OUT/adapt.json --publish--> LINK
 *
 * Each stage leaves its result in OUT whole or not at all, so a second call goes on where the first
 * one was stopped. Nothing that a server reads changes before the last stage, one rename.
 */
#include "api/adapt.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "align/methods.h"
#include "api/collect.h"
#include "api/experiment_parts.h"
#include "api/session.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

typedef struct adapt_job {
    const dial_adapt_options *opt;
    const dial_env *env;
    const di_alloc *al;
    char run[PATH_MAX]; /* the folder behind RUN, which may be a link that moves */
    char *target, *record;
    dial_train_options train;
    char *kept;          /* strings of RUN's settings */
    const char **item;   /* of lists among --flag */
    json_t *description; /* RUN/dial.json */
    char layer[24];      /* that it reads */
    int view_given;      /* --layer or --pooling among this call's flags */
    const char *judges;  /* source rows that select and doctor read */
    json_t *warnings;    /* [sentence] */
    json_t *trained, *selected, *judged;
    int64_t step; /* the checkpoint of OUT that select took; -1: RUN stays */
} adapt_job;

static void adapt_close(adapt_job *j)
{
    json_decref(j->description);
    json_decref(j->warnings);
    json_decref(j->trained);
    json_decref(j->selected);
    json_decref(j->judged);
    di_free(j->al, j->target);
    di_free(j->al, j->record);
    di_free(j->al, j->kept);
    di_free(j->al, (void *)j->item);
}

static int is_link(const char *path)
{
    struct stat info;

    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

static const char *text_of(const json_t *v, const char *key)
{
    const char *text = json_string_value(json_object_get(v, key));

    return text != NULL ? text : "";
}

/* ---- flags ---- */

static dial_status check_flags(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_adapt_options *o = j->opt;

    if (o->run == NULL || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->run == NULL ? "--run" : "--out", "see dial adapt --help",
                   "the flag is required");
    if ((o->store == NULL) == (o->target == NULL))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--store, --target", "give one of them",
                   "expected the store of a server, or a target file");
    if (!di_exists(o->run))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->run, "check the path", "no such file or folder");
    if (realpath(o->run, j->run) == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->run, "check the link", "cannot be followed");
    if (o->publish != NULL && di_exists(o->publish) && !is_link(o->publish))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->publish,
                   "serve a symbolic link to the run: ln -s RUN LINK; dial serve LINK",
                   "expected a symbolic link, or nothing");
    if (o->served != NULL && o->store == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--served", "add --store FILE, or leave it out",
                   "a target file has no runs");
    if (is_link(o->out))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->out, "name a folder of its own",
                   "--out is a symbolic link, which is for --publish");
done:
    return st;
}

/* "NAME=VALUE" onto the options; lists into j->item, from *used on. */
static dial_status set_flag(adapt_job *j, const char *text, int64_t *used, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const own[] = {"base",    "resume-from", "target",    "out",
                                      "resume",  "dry-run",     "overwrite", "match-scale",
                                      "overfit", "renew-view"};
    const char *equals = strchr(text, '=');
    const dial_option *row = NULL;
    char name[64] = "";
    int taken = 0;

    if (equals != NULL && (size_t)(equals - text) < sizeof name) {
        snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
        row = di_train_flag(name);
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) taken |= strcmp(own[i], name) == 0;
    if (row == NULL || taken)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--flag %s", text),
                   "write NAME=VALUE with a flag of dial train",
                   taken ? "dial adapt sets this flag itself" : "there is no such flag");
    if (row->type == DIAL_OPT_LIST) {
        dial_list *list = (dial_list *)(void *)((char *)&j->train + row->offset);

        if (list->item < j->item || list->item >= j->item + *used) /* in the place of RUN's */
            *list = (dial_list){j->item + *used, 0};
        if (list->item + list->n != j->item + *used)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", name),
                       "give its values one after another", "another list stands between them");
        ++*used;
    }
    j->view_given |= strcmp(name, "layer") == 0 || strcmp(name, "pooling") == 0;
    DI_TRY(dial_option_set(row, &j->train, equals + 1, err));
done:
    return st;
}

static dial_status warn(adapt_job *j, const char *text, dial_error *err)
{
    dial_status st = DIAL_OK;

    di_log(j->env, DIAL_LOG_WARN, "%s", text);
    if (json_array_append_new(j->warnings, json_string(text)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a warning");
done:
    return st;
}

/*
 * Layer and pooling before this call's flags: chosen again with the traffic where RUN's were chosen
 * (or would have been, had it had a target), else RUN's. Which view transfers depends on the target
 * as much as anything (method.md 5.7b): adapting a view that was chosen for another target, or for
 * none, can be worse than not adapting.
 */
static void start_view(adapt_job *j)
{
    const json_t *flags = json_object_get(j->description, "flags");
    const char *pooling = text_of(j->description, "pooling");

    snprintf(j->layer, sizeof j->layer, "%lld",
             (long long)json_integer_value(json_object_get(j->description, "layer")));
    j->train.layer = strcmp(text_of(flags, "layer"), "auto") == 0 ? "auto" : j->layer;
    j->train.pooling = strcmp(text_of(flags, "pooling"), "auto") == 0 ? "auto" : pooling;
}

/* The same with them. */
static dial_status settle_view(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    dial_train_options *t = &j->train;
    const json_t *lora = json_object_get(j->description, "lora");
    int chosen = strcmp(t->layer, "auto") == 0 || strcmp(t->pooling, "auto") == 0;

    t->renew_view = j->view_given || chosen;
    if (json_integer_value(json_object_get(lora, "r")) == 0 || j->view_given) goto done;
    t->renew_view = 0;
    t->layer = j->layer;
    t->pooling = text_of(j->description, "pooling");
    if (chosen)
        DI_TRY(
            warn(j,
                 "the run's layer was chosen before this traffic was seen, and it stays, because "
                 "its LoRA was trained for it; if the result is not accepted, train on the base "
                 "model with this traffic as --target and --layer auto",
                 err));
done:
    return st;
}

/* RUN's settings, an alignment where it had none, and the flags of this call. */
static dial_status plan_training(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_list *flag = &j->opt->flag;
    dial_train_options *t = &j->train;
    const char *aligned = NULL;
    char *path = di_path_join(j->al, j->run, "dial.json");
    int64_t used = 0, count;
    double share;

    j->warnings = json_array();
    if (path == NULL || j->warnings == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    dial_options_default(dial_train_table, t, sizeof *t);
    DI_TRY(dial_run_options_apply(j->run, t, j->env, &j->kept, err));
    if (di_align_find(t->method) == NULL && strcmp(t->method, "ssrm") != 0 &&
        strcmp(t->method, "iw") != 0) {
        t->method = aligned = strcmp(t->preset, "native") == 0 ? "mmd" : "dial";
    }
    DI_TRY(di_json_read(j->al, path, &j->description, err));
    start_view(j);
    j->item = di_new_array(j->al, (size_t)flag->n + 1, sizeof *j->item);
    if (j->item == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the flags");
    for (int64_t i = 0; i < flag->n; i++) DI_TRY(set_flag(j, flag->item[i], &used, err));
    if (t->method == aligned)
        di_log(j->env, DIAL_LOG_INFO, "the run looks at no target: it is aligned by method %s",
               aligned);
    DI_TRY(settle_view(j, err));
    j->judges = di_parse_share("heldout-source", t->heldout_source, &share, &count, NULL) == DIAL_OK
                    ? t->source.n > 0 ? t->source.item[0] : NULL
                    : t->heldout_source; /* a file that is not trained on */
    t->resume_from = j->run;
    t->out = j->opt->out;
    t->resume = 1;
    t->match_scale = j->opt->match_scale && strcmp(t->objective, "mse") != 0;
done:
    di_free(j->al, path);
    return st;
}

/* ---- the stages ---- */

/* The target file: the one given, or what OUT/target.jsonl was collected to be. */
static dial_status collect(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_adapt_options *o = j->opt;
    di_traffic_of of = {.run = o->served};
    char *adapter = NULL, checkpoint[65];
    di_collected c;

    j->target = o->target != NULL ? di_strdup(j->al, o->target)
                                  : di_path_join(j->al, o->out, "target.jsonl");
    if (j->target == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (o->store == NULL || di_exists(j->target)) goto done;
    DI_TRY(di_make_dirs(o->out, err));
    adapter = di_path_join(j->al, j->run, "adapter_model.safetensors");
    if (adapter == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_sha256_file(adapter, checkpoint, err));
    if (o->served == NULL) of.checkpoint = checkpoint;
    DI_TRY(di_collect(j->al, o->store, &of, j->target, &c, err));
    di_log(j->env, DIAL_LOG_INFO, "%lld rows of schema %s out of %s", (long long)c.rows, c.schema,
           o->store);
done:
    di_free(j->al, adapter);
    return st;
}

/* The document of a job, parsed; frees its text. */
static dial_status take_document(const adapt_job *j, char **text, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;

    json_decref(*out);
    *out = NULL;
    DI_TRY(di_json_parse(*text, strlen(*text), "a result", 1, out, err));
done:
    di_free(j->al, *text);
    *text = NULL;
    return st;
}

static dial_status train(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL;

    j->train.target = (dial_list){(const char **)&j->target, 1};
    DI_TRY(di_train_judged(&j->train, -1, j->env, &text, err));
    DI_TRY(take_document(j, &text, &j->trained, err));
done:
    return st;
}

/* Flags that reading the files again needs; the runs fix the text policy. */
static void share(const dial_common_options *from, dial_common_options *to)
{
    to->device = from->device;
    to->dtype = from->dtype;
    to->threads = from->threads;
    to->seed = from->seed;
    to->batch_tokens = from->batch_tokens;
    to->format = from->format;
    to->columns = from->columns;
    to->limit = from->limit;
    to->skip_rows = from->skip_rows;
    to->on_error = from->on_error;
    to->max_bad = from->max_bad;
    to->allow_hash_mismatch = from->allow_hash_mismatch;
}

/* RUN against the checkpoints of OUT; the one taken becomes OUT's. */
static dial_status choose(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *runs[2] = {j->run, j->opt->out};
    dial_select_options o;
    const json_t *chosen;
    char *text = NULL;

    dial_options_default(dial_select_table, &o, sizeof o);
    share(&j->train.common, &o.common);
    o.runs = (dial_list){runs, 2};
    o.source = j->judges;
    o.target = j->target;
    o.labelled = j->opt->labelled;
    o.trunk_cache = j->train.trunk_cache;
    o.trunk_cache_max = j->train.trunk_cache_max;
    DI_TRY(di_select_against(&o, j->env, &text, err));
    DI_TRY(take_document(j, &text, &j->selected, err));
    chosen = json_object_get(j->selected, "chosen");
    j->step = strcmp(text_of(chosen, "dir"), j->opt->out) == 0
                  ? json_integer_value(json_object_get(chosen, "step"))
                  : -1;
    if (j->step < 0 || j->step == json_integer_value(json_object_get(j->trained, "selected_step")))
        goto done;
    DI_TRY(di_train_judged(&j->train, j->step, j->env, &text, err));
    DI_TRY(take_document(j, &text, &j->trained, err));
done:
    return st;
}

static dial_status judge(adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    dial_doctor_options o;
    char *text = NULL;

    dial_options_default(dial_doctor_table, &o, sizeof o);
    share(&j->train.common, &o.common);
    o.model = j->opt->out;
    o.baseline = j->run;
    o.source = j->judges;
    o.target = j->target;
    o.labelled = j->opt->labelled;
    o.trunk_cache = j->train.trunk_cache;
    o.trunk_cache_max = j->train.trunk_cache_max;
    o.max_rows = DI_JUDGED_ROWS;
    DI_TRY(dial_doctor(&o, j->env, &text, err));
    DI_TRY(take_document(j, &text, &j->judged, err));
done:
    return st;
}

/* ---- the outcome ---- */

/* What the doctor warns of, with its advice, into b; 1: labelled pairs would settle all of it. */
static int list_warnings(const json_t *judged, di_buf *b)
{
    const json_t *list = json_object_get(judged, "findings"), *f;
    int settled = 1;
    size_t i;

    json_array_foreach (list, i, f) {
        const char *code = text_of(f, "code");

        if (strcmp(text_of(f, "level"), "warn") != 0) continue;
        settled &= strcmp(code, "inverted_head") == 0 || strcmp(code, "shortcut_or_flip") == 0;
        di_buf_printf(b, "; %s: %s", code, text_of(f, "message"));
    }
    return settled;
}

/* What select counted on the labelled pairs for a candidate; NULL: nothing. */
static const json_t *labelled_of(const adapt_job *j, const char *dir, int64_t step)
{
    const json_t *list = json_object_get(j->selected, "candidates"), *c;
    size_t i;

    json_array_foreach (list, i, c) {
        const json_t *v = json_object_get(json_object_get(c, "validators"), "labelled");

        if (strcmp(text_of(c, "dir"), dir) == 0 && json_is_object(v) &&
            (step < 0 || json_integer_value(json_object_get(c, "step")) == step))
            return v;
    }
    return NULL;
}

/* Accuracy of both runs on the labelled pairs: a certificate says that a ranking is not inverted,
 * not that it is the better one. */
static void compare_labelled(const adapt_job *j, di_buf *b)
{
    const json_t *was = labelled_of(j, j->run, -1), *now = labelled_of(j, j->opt->out, j->step);
    double before = json_number_value(json_object_get(was, "accuracy"));
    double after = json_number_value(json_object_get(now, "accuracy"));

    if (was == NULL || now == NULL) return;
    di_buf_printf(b,
                  " Of %lld labelled pairs the run orders %.2f as labelled, its successor %.2f%s.",
                  (long long)json_integer_value(json_object_get(now, "n")), before, after,
                  after < before ? ", which is WORSE: look at it before you keep it" : "");
}

/* Why, and what would settle it. */
static void explain(const adapt_job *j, int passes, di_buf *b)
{
    if (j->step < 0) {
        di_buf_printf(b, "select keeps the run as it is: no new checkpoint passes the gates and "
                         "ranks before it");
        return;
    }
    di_buf_printf(b, "select takes the checkpoint of step %lld; ", (long long)j->step);
    if (passes) {
        di_buf_printf(b, "%s", text_of(j->judged, "summary"));
        return;
    }
    di_buf_printf(b, "the doctor finds it %s", text_of(j->judged, "verdict"));
    if (!list_warnings(j->judged, b))
        di_buf_printf(b,
                      ". What it warns of, no label settles: see `dial doctor --model %s "
                      "--baseline RUN`; to publish it all the same, move the link yourself",
                      j->opt->out);
    else if (j->opt->labelled == NULL)
        di_buf_printf(b, "; without labels nothing shows that the ranking carries over. Label 20 "
                         "to 50 random target pairs (`dial data pick TARGET --by random --n 40 "
                         "--out FILE`) and call again with --labelled FILE");
    else
        di_buf_printf(b, "; %s", text_of(j->judged, "summary"));
}

static dial_status outcome(const adapt_job *j, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *verdict = text_of(j->judged, "verdict");
    const json_t *rows = json_object_get(json_object_get(j->trained, "rows"), "target");
    int passes = strcmp(verdict, "no_shift") == 0 || strcmp(verdict, "safe") == 0;
    di_buf reason;

    di_buf_init(&reason, j->al);
    explain(j, passes, &reason);
    if (j->step >= 0) compare_labelled(j, &reason);
    DI_TRY(di_buf_status(&reason, err));
    *out = json_pack("{s:s, s:s, s:s, s:O?, s:s, s:b, s:s, s:O?, s:o, s:n, s:O, s:s%}", "schema",
                     "dial.adapt/1", "run", j->run, "target", j->target, "target_rows",
                     json_object_get(rows, "used"), "out", j->opt->out, "accepted",
                     j->step >= 0 && passes, "verdict", verdict, "match",
                     json_object_get(j->trained, "match"), "step",
                     j->step >= 0 ? json_integer(j->step) : json_null(), "published", "warnings",
                     j->warnings, "reason", reason.data, reason.size);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
done:
    di_buf_deinit(&reason);
    return st;
}

/* LINK shows OUT after one rename; killed at any instant it shows the old run or the new one. */
static dial_status publish(const adapt_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *link = j->opt->publish;
    char out[PATH_MAX], *next = NULL;
    size_t n;

    if (link == NULL) goto done;
    n = strlen(link) + sizeof ".next";
    next = di_new(j->al, n);
    if (next == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    snprintf(next, n, "%s.next", link);
    unlink(next); /* of a call that was killed */
    if (realpath(j->opt->out, out) == NULL || symlink(out, next) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, link, "check the folder's permissions",
                   "cannot make a symbolic link beside it");
    DI_TRY(di_rename(next, link, err));
    di_log(j->env, DIAL_LOG_INFO, "%s shows %s", link, out);
done:
    di_free(j->al, next);
    return st;
}

/* Do both paths lead to one folder? */
static int same_place(const char *a, const char *b)
{
    char x[PATH_MAX], y[PATH_MAX];

    return realpath(a, x) != NULL && realpath(b, y) != NULL && strcmp(x, y) == 0;
}

/* What an earlier call with the same OUT came to, where it accepted; NULL. */
static dial_status recall(adapt_job *j, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *was = NULL;
    int shown = same_place(j->run, j->opt->out); /* --run is the link, which shows OUT by now */

    j->record = di_path_join(j->al, j->opt->out, "adapt.json");
    if (j->record == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(j->record)) {
        DI_TRY(di_json_read(j->al, j->record, &was, err));
        if (!shown && !same_place(text_of(was, "run"), j->run))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, j->opt->out, "choose another --out",
                       "the folder holds an adaptation of '%s'", text_of(was, "run"));
        if (json_is_true(json_object_get(was, "accepted"))) *out = json_incref(was);
    }
    if (shown && *out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, j->opt->out, "choose another --out",
                   "a run is not adapted in its own folder");
done:
    json_decref(was);
    return st;
}

static dial_status write_record(const adapt_job *j, const json_t *doc, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, j->al);
    DI_TRY(di_json_write(doc, &b, err));
    di_buf_append(&b, "\n", 1);
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(j->al, j->record, b.data, b.size, err));
done:
    di_buf_deinit(&b);
    return st;
}

dial_status dial_adapt(const dial_adapt_options *options, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    adapt_job j = {.opt = options, .env = env, .al = di_env_alloc(env), .step = -1};
    json_t *doc = NULL;

    DI_TRY(check_flags(&j, err));
    DI_TRY(recall(&j, &doc, err));
    if (doc == NULL) {
        DI_TRY(plan_training(&j, err));
        DI_TRY(collect(&j, err));
        DI_TRY(train(&j, err));
        DI_TRY(choose(&j, err));
        DI_TRY(judge(&j, err));
        DI_TRY(outcome(&j, &doc, err));
        DI_TRY(write_record(&j, doc, err));
    }
    if (json_is_true(json_object_get(doc, "accepted"))) {
        DI_TRY(publish(&j, err));
        if (options->publish != NULL &&
            json_object_set_new(doc, "published", json_string(options->publish)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    }
    DI_TRY(di_document(j.al, json_incref(doc), json, err));
done:
    json_decref(doc);
    adapt_close(&j);
    return st;
}
