/*
 * dial_sweep: an experiment's runs, each a process of its own (api/process.h) that trains one run,
 * and the tables of what came out.
 *
 *   plan     file and flags -> runs with keys                    (api/experiment.c)
 *   check    what dial train would refuse of one run a group       (api/experiment_check.c)
 *   reuse    a run folder that is finished is taken as it is
 *   trunk    what the frozen model makes of the texts, once for all runs   (api/train.c)
 *   work     --jobs processes at a time; a killed one is started again where it had come to
 *   judge    dial doctor on the runs of the groups that the experiment names, likewise
 *   tables   the store -> sweep.json, table.md, table.csv
 *
 * What survives what: a run's state is its folder, so the kill of a worker costs its steps since
 * the last checkpoint; the sweep's state is the run folders and nothing else (the store is made
 * from them), so its own kill costs nothing. A full disk ends the sweep with an error; it continues
 * when called again.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/experiment.h"
#include "api/process.h"
#include "api/session.h"
#include "api/train_job.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "report/sweep.h"

enum { MAX_JOBS = 256, MAX_KILLS = 3, MAX_PATHS = 256 };

/* Rows of a domain that the doctor looks at: each costs a pass of the frozen model a run. */
static const char doctor_rows[] = "400";

/* What is done to a run, one after the other. */
typedef enum stage { TRAIN, JUDGE, STAGES } stage;

typedef enum cell_state {
    CELL_OPEN,    /* to be trained */
    CELL_RUNNING, /* by a process of this sweep */
    CELL_DONE,
    CELL_SKIPPED, /* done before this call */
    CELL_FAILED
} cell_state;

typedef struct cell_work {
    cell_state state[STAGES];
    int kills, other; /* other: a process of an earlier sweep still has the folder */
    char *dir, *config, *out, *log, *lock, *doctor;
    char verdict[16]; /* of the doctor; "": none */
    char error[400];  /* kind and sentence */
} cell_work;

typedef struct sweep {
    const dial_sweep_options *o;
    const dial_env *env;
    const di_alloc *al;
    di_experiment x;
    cell_work *work; /* (x.n_cells) */
    di_store *store;
    char *logs; /* folder */
    int lock;   /* of the sweep itself */
    di_process process[MAX_JOBS];
    int64_t cell_of[MAX_JOBS];
    int jobs;
    stage stage;
    int stop;       /* no more runs are started */
    char disk[400]; /* why: a worker found no room */
} sweep;

static char *path_of(const sweep *s, const char *folder, const char *name, const char *ending)
{
    di_buf b;

    di_buf_init(&b, s->al);
    di_buf_printf(&b, "%s/%s%s", folder, name, ending);
    return di_buf_take(&b);
}

/* ---- opening ---- */

static dial_status lock_folder(sweep *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = path_of(s, s->o->out, "sweep.lock", "");

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock < 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, "choose another --out", "cannot make the file: %s",
                   strerror(errno));
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, s->o->out, "wait for it, or choose another --out",
                   "another dial sweep works in this folder");
done:
    di_free(s->al, path);
    return st;
}

static dial_status name_files(sweep *s, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int64_t i = 0; i < s->x.n_cells; i++) {
        cell_work *w = &s->work[i];
        const di_cell *c = &s->x.cell[i];

        w->dir = path_of(s, s->o->out, c->name, "");
        w->config = path_of(s, s->logs, c->name, ".config.json");
        w->out = path_of(s, s->logs, c->name, ".json");
        w->log = path_of(s, s->logs, c->name, ".log");
        w->lock = path_of(s, s->logs, c->name, ".lock");
        w->doctor = path_of(s, s->logs, c->name, ".doctor.json");
        if (!w->dir || !w->config || !w->out || !w->log || !w->lock || !w->doctor)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    }
done:
    return st;
}

static dial_status open_sweep(sweep *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_sweep_options *o = s->o;
    char *path = NULL;

    if (o->grid == NULL || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->grid == NULL ? "--grid" : "--out",
                   "see dial sweep --help", "the flag is required");
    if (o->program == NULL)
        DI_FAIL(err, DIAL_ERR_USAGE, "dial_sweep_options.program: the path of dial is required");
    s->jobs = o->jobs > 0 ? (int)(o->jobs < MAX_JOBS ? o->jobs : MAX_JOBS) : 1;
    DI_TRY(di_experiment_open(s->al, o->grid, &o->flag, o->random, (uint64_t)o->draw_seed, &s->x,
                              err));
    s->work = di_new_array(s->al, (size_t)s->x.n_cells, sizeof *s->work);
    s->logs = path_of(s, o->out, "logs", "");
    path = o->store != NULL ? di_strdup(s->al, o->store) : path_of(s, o->out, "dial.sqlite", "");
    if (s->work == NULL || s->logs == NULL || path == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
    DI_TRY(name_files(s, err));
    DI_TRY(di_experiment_check(&s->x, o->grid, err));
    if (o->dry_run) goto done;
    DI_TRY(di_make_dirs(s->logs, err));
    DI_TRY(lock_folder(s, err));
    DI_TRY(di_store_open(s->al, s->env, path, &s->store, err));
done:
    di_free(s->al, path);
    return st;
}

static void close_sweep(sweep *s)
{
    for (int64_t i = 0; s->work != NULL && i < s->x.n_cells; i++) {
        cell_work *w = &s->work[i];
        char *path[] = {w->dir, w->config, w->out, w->log, w->lock, w->doctor};

        for (size_t k = 0; k < sizeof path / sizeof *path; k++) di_free(s->al, path[k]);
    }
    di_free(s->al, s->work);
    di_free(s->al, s->logs);
    di_store_close(s->store);
    di_experiment_close(&s->x);
    if (s->lock >= 0) close(s->lock);
}

/* ---- what is known of a run ---- */

/* dial.json is written last: with it, and finished, the folder is whole. */
static int is_finished(const sweep *s, const cell_work *w)
{
    char *path = path_of(s, w->dir, "dial.json", "");
    json_t *run = NULL;
    int yes = 0;

    if (path != NULL && di_exists(path) && di_json_read(s->al, path, &run, NULL) == DIAL_OK)
        yes = json_is_true(json_object_get(json_object_get(run, "progress"), "finished"));
    json_decref(run);
    di_free(s->al, path);
    return yes;
}

/* A finished run into the store, unless it is there. */
static dial_status take_done(sweep *s, int64_t i, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_cell *c = &s->x.cell[i];
    json_t *facts = NULL;

    DI_TRY(di_store_done(s->store, c->key, &facts, err));
    if (facts == NULL)
        DI_TRY(di_sweep_take(s->al, s->store, c->key, s->work[i].dir, s->x.group[c->group].label,
                             err));
done:
    json_decref(facts);
    return st;
}

/* The error document that a process left in `file`: "kind: message"; 0 if it is another one. */
static int error_of(const sweep *s, const char *file, char kind[32], char text[400])
{
    json_t *doc = NULL;
    const char *schema, *message, *where;
    int is = 0;

    if (!di_exists(file) || di_json_read(s->al, file, &doc, NULL) != DIAL_OK) return 0;
    schema = json_string_value(json_object_get(doc, "schema"));
    is = schema != NULL && strcmp(schema, "dial.error/1") == 0;
    if (is) {
        message = json_string_value(json_object_get(doc, "message"));
        where = json_string_value(json_object_get(doc, "where"));
        snprintf(kind, 32, "%s", json_string_value(json_object_get(doc, "kind")));
        di_format(text, 400, "%s: %s%s%s%s", kind, message != NULL ? message : "",
                  where != NULL ? " (" : "", where != NULL ? where : "", where != NULL ? ")" : "");
    }
    json_decref(doc);
    return is;
}

static dial_status mark_failed(sweep *s, int64_t i, const char *error, dial_error *err)
{
    const di_cell *c = &s->x.cell[i];
    const di_group *g = &s->x.group[c->group];
    cell_work *w = &s->work[i];

    w->state[TRAIN] = CELL_FAILED;
    if (error != w->error) snprintf(w->error, sizeof w->error, "%s", error);
    return di_sweep_take_failed(s->store, c->key, w->dir, g->label, g->method, c->seed, w->error,
                                err);
}

/*
 * What earlier calls left: finished runs, and runs that diverged, which they would again. All other
 * failures are tried anew.
 */
static dial_status look_around(sweep *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    char kind[32], text[400];

    for (int64_t i = 0; i < s->x.n_cells; i++) {
        cell_work *w = &s->work[i];

        if (is_finished(s, w)) {
            DI_TRY(take_done(s, i, err));
            w->state[TRAIN] = CELL_SKIPPED;
        } else if (error_of(s, w->out, kind, text) && strcmp(kind, "numeric") == 0) {
            DI_TRY(mark_failed(s, i, text, err));
        }
    }
done:
    return st;
}

static int64_t count(const sweep *s, cell_state state)
{
    int64_t n = 0;

    for (int64_t i = 0; i < s->x.n_cells; i++) n += s->work[i].state[s->stage] == state;
    return n;
}

/* ---- the trunk ---- */

/* What of the flags decides which stored rows a run looks up: one pass for each of these. */
static json_t *trunk_key(const json_t *flags)
{
    static const char *const names[] = {"base",       "source",   "target",      "heldout-source",
                                        "eval",       "layer",    "pooling",     "lora-layers",
                                        "max-length", "template", "bos",         "eos",
                                        "overlong",   "dtype",    "trunk-cache", "device",
                                        "columns",    "limit",    "skip-rows"};
    json_t *o = json_object();
    int failed = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(flags, names[i]) != NULL)
            di_json_put(o, names[i], json_incref(json_object_get(flags, names[i])), &failed);
    di_json_put(o, "head-only",
                json_boolean(json_integer_value(json_object_get(flags, "lora-r")) == 0), &failed);
    return di_json_whole(o, failed);
}

/*
 * The texts of all runs through the frozen part of the model, before the first of them starts: N
 * workers that each begin with an empty store would compute the same rows N times.
 */
static dial_status fill_trunks(sweep *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char **item = di_new_array(s->al, MAX_PATHS, sizeof *item);
    json_t *seen = json_array(), *key = NULL, *other;
    dial_train_options o;
    size_t k;

    if (item == NULL || seen == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
    for (int64_t i = 0; i < s->x.n_cells; i++) {
        int known = 0;

        if (s->work[i].state[TRAIN] != CELL_OPEN) continue;
        json_decref(key);
        key = trunk_key(s->x.cell[i].flags);
        if (key == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
        json_array_foreach (seen, k, other) known |= json_equal(key, other);
        if (known) continue;
        if (json_array_append(seen, key) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
        DI_TRY(di_experiment_options(s->x.cell[i].flags, item, MAX_PATHS, &o, err));
        o.common.threads = s->o->threads;
        DI_TRY(di_train_fill_trunk(&o, s->env, err));
    }
done:
    json_decref(key);
    json_decref(seen);
    di_free(s->al, (void *)item);
    return st;
}

/* ---- workers ---- */

/* Threads of a worker: all cores between them, so that one after the other uses the whole machine.
 */
static int64_t threads_each(const sweep *s)
{
    int64_t n = (s->o->threads > 0 ? s->o->threads : di_cores_here()) / s->jobs;

    return n > 0 ? n : 1;
}

static dial_status write_config(const sweep *s, int64_t i, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *flags = json_copy(s->x.cell[i].flags);
    di_buf b;
    int failed = 0;

    di_buf_init(&b, s->al);
    di_json_put(flags, "out", json_string(s->work[i].dir), &failed);
    di_json_put(flags, "threads", json_integer(threads_each(s)), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the flags of a run");
    DI_TRY(di_json_write(flags, &b, err));
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(s->al, s->work[i].config, b.data, b.size, err));
done:
    json_decref(flags);
    di_buf_deinit(&b);
    return st;
}

/* A folder that has a checkpoint is continued, another one begun anew. */
static int has_checkpoint(const sweep *s, const cell_work *w)
{
    char *path = path_of(s, w->dir, "latest.json", "");
    int yes = path != NULL && di_exists(path);

    di_free(s->al, path);
    return yes;
}

/* The run of src-pref that a run is compared with: that of its seed at its point of the grid. */
static int64_t baseline_of(const sweep *s, int64_t i)
{
    const di_group *mine = &s->x.group[s->x.cell[i].group];

    for (int64_t k = 0; k < s->x.n_cells; k++) {
        const di_group *g = &s->x.group[s->x.cell[k].group];

        if (strcmp(g->method, "src-pref") == 0 && di_sweep_same_point(mine->axes, g->axes) &&
            s->x.cell[k].seed == s->x.cell[i].seed && s->work[k].state[TRAIN] != CELL_FAILED)
            return k;
    }
    return -1;
}

/* Text of a flag, or of the first of its values. */
static const char *first_value(const json_t *flags, const char *flag)
{
    const json_t *v = json_object_get(flags, flag);

    return json_string_value(json_is_array(v) ? json_array_get(v, 0) : v);
}

/* The command of the stage; returns the file that its document goes to. */
static const char *command(const sweep *s, int64_t i, char threads[24], const char *argv[20])
{
    const cell_work *w = &s->work[i];
    const json_t *flags = s->x.cell[i].flags;
    const char *held = first_value(flags, "heldout-source");
    int64_t base = baseline_of(s, i);
    int n = 0;

    argv[n++] = s->o->program;
    argv[n++] = s->stage == TRAIN ? "train" : "doctor";
    argv[n++] = "--json";
    argv[n++] = "--quiet";
    if (s->stage == TRAIN) {
        argv[n++] = "--config";
        argv[n++] = w->config;
        argv[n++] = has_checkpoint(s, w) ? "--resume" : "--overwrite";
        return w->out;
    }
    snprintf(threads, 24, "%lld", (long long)threads_each(s));
    argv[n++] = "--model";
    argv[n++] = w->dir;
    argv[n++] = "--source";
    argv[n++] = held != NULL && di_exists(held) ? held : first_value(flags, "source");
    argv[n++] = "--target";
    argv[n++] = first_value(flags, "target");
    argv[n++] = "--max-rows";
    argv[n++] = doctor_rows;
    argv[n++] = "--threads";
    argv[n++] = threads;
    if (base >= 0) {
        argv[n++] = "--baseline";
        argv[n++] = s->work[base].dir;
    }
    return w->doctor;
}

static dial_status start(sweep *s, int slot, int64_t i, dial_error *err)
{
    dial_status st = DIAL_OK;
    cell_work *w = &s->work[i];
    const char *argv[20] = {NULL}, *out;
    char threads[24];
    int busy = 0;

    if (!w->other && s->stage == TRAIN) DI_TRY(write_config(s, i, err));
    out = command(s, i, threads, argv);
    DI_TRY(di_process_start(argv, out, w->log, w->lock, &s->process[slot], &busy, err));
    w->other = busy;
    if (busy) goto done;
    w->state[s->stage] = CELL_RUNNING;
    s->cell_of[slot] = i;
done:
    return st;
}

/* The next run to start: one that a process of an earlier sweep still has comes last. */
static int64_t next_open(sweep *s)
{
    for (int other = 0; other < 2; other++)
        for (int64_t i = 0; i < s->x.n_cells; i++)
            if (s->work[i].state[s->stage] == CELL_OPEN && s->work[i].other == other) return i;
    return -1;
}

static void tell(const sweep *s)
{
    if (s->env == NULL || s->env->progress == NULL) return;
    s->env->progress(s->env->ctx,
                     &(dial_progress){.what = s->stage == TRAIN ? "runs" : "verdicts",
                                      .done = count(s, CELL_DONE) + count(s, CELL_SKIPPED) +
                                              count(s, CELL_FAILED),
                                      .total = s->x.n_cells,
                                      .loss = NAN,
                                      .accuracy = NAN,
                                      .w1 = NAN,
                                      .tokens_per_second = -1,
                                      .seconds_left = -1});
}

/* The doctor's verdict, from its document; 0: it is not there, or not whole. */
static int read_verdict(const sweep *s, cell_work *w)
{
    json_t *doc = NULL;
    const char *verdict = NULL;

    if (di_exists(w->doctor) && di_json_read(s->al, w->doctor, &doc, NULL) == DIAL_OK)
        verdict = json_string_value(json_object_get(doc, "verdict"));
    if (verdict != NULL) snprintf(w->verdict, sizeof w->verdict, "%s", verdict);
    json_decref(doc);
    return verdict != NULL;
}

/* Is what the stage makes of the run there and whole? Then it is taken in. */
static dial_status take(sweep *s, int64_t i, int *done, dial_error *err)
{
    cell_work *w = &s->work[i];

    *done = s->stage == TRAIN ? is_finished(s, w) : read_verdict(s, w);
    return *done && s->stage == TRAIN ? take_done(s, i, err) : DIAL_OK;
}

static dial_status failed(sweep *s, int64_t i, const char *text, dial_error *err)
{
    di_log(s->env, DIAL_LOG_WARN, "%s failed: %s (%s)", s->x.cell[i].name, text, s->work[i].log);
    if (s->stage == TRAIN) return mark_failed(s, i, text, err);
    s->work[i].state[JUDGE] = CELL_FAILED; /* the run stays without a verdict */
    return DIAL_OK;
}

/* What the end of a worker means for its run. */
static dial_status settle(sweep *s, int64_t i, int status, dial_error *err)
{
    dial_status st = DIAL_OK;
    cell_work *w = &s->work[i];
    const char *how = WIFSIGNALED(status) ? "signal" : "exit code";
    int done, code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    char kind[32] = "", text[400] = "";

    w->state[s->stage] = CELL_OPEN;
    DI_TRY(take(s, i, &done, err));
    if (done) {
        w->state[s->stage] = CELL_DONE;
        w->kills = 0;
    } else if (error_of(s, s->stage == TRAIN ? w->out : w->doctor, kind, text)) {
        if (strcmp(kind, "interrupted") == 0) goto done; /* it was asked to stop */
        if (strcmp(kind, "io") == 0) {
            snprintf(s->disk, sizeof s->disk, "%s", text);
            s->stop = 1;
            goto done;
        }
        DI_TRY(failed(s, i, text, err));
    } else if (++w->kills < MAX_KILLS) { /* killed, or no room for its last words */
        di_log(s->env, DIAL_LOG_WARN, "%s: the process ended by %s %d: started again",
               s->x.cell[i].name, how, code);
    } else {
        di_format(text, sizeof text, "killed: the process ended %d times by %s %d", MAX_KILLS, how,
                  code);
        DI_TRY(failed(s, i, text, err));
    }
done:
    return st;
}

static int running(const sweep *s)
{
    int n = 0;

    for (int k = 0; k < s->jobs; k++) n += s->process[k].pid > 0;
    return n;
}

/* Takes what has ended, starts what may start; returns once all is done or told to stop. */
static dial_status work(sweep *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    int asked = 0, status;

    tell(s);
    for (;;) {
        int64_t i;

        for (int k = 0; k < s->jobs; k++) {
            if (s->process[k].pid == 0 || !di_process_ended(&s->process[k], &status)) continue;
            DI_TRY(settle(s, s->cell_of[k], status, err));
            tell(s);
        }
        if (di_stop_asked(s->env) && !asked) {
            asked = s->stop = 1;
            for (int k = 0; k < s->jobs; k++) di_process_stop(&s->process[k]);
        }
        for (int k = 0; k < s->jobs && !s->stop; k++)
            if (s->process[k].pid == 0 && (i = next_open(s)) >= 0) {
                int done = 0;

                /* an earlier sweep's worker may have finished it meanwhile */
                if (s->work[i].other) DI_TRY(take(s, i, &done, err));
                if (done)
                    s->work[i].state[s->stage] = CELL_DONE;
                else
                    DI_TRY(start(s, k, i, err));
            }
        if (running(s) == 0 && (s->stop || next_open(s) < 0)) break;
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    }
done:
    if (st != DIAL_OK) /* the store or the disk failed: nothing of ours goes on */
        for (int k = 0; k < s->jobs; k++) {
            di_process_stop(&s->process[k]);
            while (s->process[k].pid > 0 && !di_process_ended(&s->process[k], &status))
                nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
        }
    return st;
}

/* Which runs the doctor is to look at: those of the groups that "doctor" names, with a target. */
static void plan_judging(sweep *s)
{
    const json_t *labels = json_object_get(s->x.file, "doctor"), *label;
    size_t k;

    s->stage = JUDGE;
    for (int64_t i = 0; i < s->x.n_cells; i++) {
        const di_cell *c = &s->x.cell[i];
        cell_work *w = &s->work[i];
        int wanted = 0;

        json_array_foreach (labels, k, label)
            wanted |= json_is_string(label) &&
                      strcmp(json_string_value(label), s->x.group[c->group].label) == 0;
        wanted &= w->state[TRAIN] == CELL_DONE || w->state[TRAIN] == CELL_SKIPPED;
        wanted &= first_value(c->flags, "target") != NULL;
        w->kills = 0;
        w->state[JUDGE] = wanted && !read_verdict(s, w) ? CELL_OPEN : CELL_DONE;
    }
}

/* ---- the document ---- */

static json_t *plan_json(const sweep *s)
{
    static const char *const state_name[] = {"open", "open", "done", "done", "failed"};
    static const char *const kept[] = {"name",       "setting", "family", "control",
                                       "target_set", "cluster", "vary"};
    json_t *plan = json_object(), *groups = json_array(), *runs = json_array(), *o;
    int failed = 0;

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_object_get(s->x.file, kept[i]) != NULL)
            di_json_put(plan, kept[i], json_incref(json_object_get(s->x.file, kept[i])), &failed);
    for (int64_t g = 0; g < s->x.n_groups; g++)
        di_json_add(groups,
                    json_pack("{s:s,s:s,s:s,s:O}", "label", s->x.group[g].label, "entry",
                              s->x.group[g].entry, "method", s->x.group[g].method, "axes",
                              s->x.group[g].axes),
                    &failed);
    for (int64_t i = 0; i < s->x.n_cells; i++) {
        const di_cell *c = &s->x.cell[i];
        const cell_work *w = &s->work[i];

        o = json_pack("{s:s,s:s,s:I,s:I,s:O,s:s}", "key", c->key, "dir", c->name, "group",
                      (json_int_t)c->group, "seed", (json_int_t)c->seed, "flags", c->varied,
                      "status", state_name[w->state[TRAIN]]);
        if (w->verdict[0] != '\0') di_json_put(o, "verdict", json_string(w->verdict), &failed);
        if (w->state[TRAIN] == CELL_FAILED) di_json_put(o, "error", json_string(w->error), &failed);
        di_json_add(runs, o, &failed);
    }
    di_json_put(plan, "groups", groups, &failed);
    di_json_put(plan, "runs", runs, &failed);
    return di_json_whole(plan, failed);
}

typedef dial_status (*form)(const json_t *doc, di_buf *out, dial_error *err);

static dial_status json_form(const json_t *doc, di_buf *out, dial_error *err)
{
    dial_status st = di_json_write(doc, out, err);

    di_buf_append(out, "\n", 1);
    return st;
}

static dial_status write_tables(const sweep *s, const json_t *doc, dial_error *err)
{
    static const struct {
        const char *name;
        form write;
    } files[] = {
        {"sweep.json", json_form}, {"table.md", di_sweep_markdown}, {"table.csv", di_sweep_csv}};
    dial_status st = DIAL_OK;
    char *path = NULL;
    di_buf b;

    di_buf_init(&b, s->al);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        di_buf_deinit(&b);
        di_buf_init(&b, s->al);
        di_free(s->al, path);
        path = path_of(s, s->o->out, files[i].name, "");
        if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        DI_TRY(files[i].write(doc, &b, err));
        DI_TRY(di_buf_status(&b, err));
        DI_TRY(di_write_file(s->al, path, b.data, b.size, err));
    }
done:
    di_free(s->al, path);
    di_buf_deinit(&b);
    return st;
}

/* The runs as the document has them: "skipped" where they were done before this call. */
static void mark_skipped(const sweep *s, json_t *doc)
{
    for (int64_t i = 0; i < s->x.n_cells; i++)
        if (s->work[i].state[TRAIN] == CELL_SKIPPED)
            json_object_set_new(json_array_get(json_object_get(doc, "runs"), (size_t)i), "status",
                                json_string("skipped"));
}

/* --dry-run: what would be trained. */
static dial_status plan_only(const sweep *s, char **json, dial_error *err)
{
    json_t *plan = plan_json(s);

    if (plan == NULL ||
        json_object_set_new(plan, "schema", json_string("dial.sweep_plan/1")) != 0) {
        json_decref(plan);
        return di_error_set(err, DIAL_ERR_NOMEM, __FILE__, __LINE__, NULL, NULL,
                            "no memory for the plan of a sweep");
    }
    return di_document(s->al, plan, json, err);
}

dial_status dial_sweep(const dial_sweep_options *options, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    sweep s = {.o = options, .env = env, .al = di_env_alloc(env), .lock = -1};
    json_t *plan = NULL, *doc = NULL;
    int64_t left, failures;

    DI_TRY(open_sweep(&s, err));
    if (options->dry_run) {
        st = plan_only(&s, json, err);
        goto done;
    }
    DI_TRY(look_around(&s, err));
    DI_TRY(fill_trunks(&s, err));
    DI_TRY(work(&s, err));
    plan_judging(&s);
    DI_TRY(work(&s, err));
    left = count(&s, CELL_OPEN); /* verdicts */
    s.stage = TRAIN;
    plan = plan_json(&s);
    if (plan == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the plan of a sweep");
    DI_TRY(di_sweep_document(s.al, plan, s.store, options->out, options->bootstrap, 0, &doc, err));
    DI_TRY(write_tables(&s, doc, err));
    left += count(&s, CELL_OPEN);
    failures = count(&s, CELL_FAILED);
    mark_skipped(&s, doc);
    DI_TRY(di_document(s.al, doc, json, err));
    doc = NULL;
    if (s.disk[0] != '\0')
        DI_FAIL_AT(err, DIAL_ERR_IO, options->out,
                   "free some space, then run it again: it continues",
                   "%lld runs or verdicts of %lld runs are not done: %s", (long long)left,
                   (long long)s.x.n_cells, s.disk);
    if (left > 0)
        DI_FAIL_AT(err, DIAL_INTERRUPTED, options->out, "run it again: it continues",
                   "%lld runs or verdicts of %lld runs are not done", (long long)left,
                   (long long)s.x.n_cells);
    if (failures == s.x.n_cells)
        DI_FAIL_AT(err, DIAL_ERR_CHECK, s.work[0].log, "see the log of a run",
                   "every run failed, the first with: %s", s.work[0].error);
done:
    json_decref(plan);
    close_sweep(&s);
    return st;
}
