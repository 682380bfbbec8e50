#include "serve/models.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "serve/scheduler.h"

/* What stat says of a run's dial.json, through links: which file, and which state of it. */
typedef struct signature {
    dev_t device;
    ino_t inode;
    struct timespec changed;
    off_t size;
} signature;

typedef struct place {
    char *path, *file, *name; /* file: dial.json, or the path where there is none */
    signature seen;
    di_served *now;
} place;

struct di_models {
    const di_alloc *al;
    const dial_env *env;
    di_opener opener;
    pthread_mutex_t lock; /* of `now` of every place, refs, retired */
    place place[DI_MAX_SERVED];
    int n;
    int comparable;
    di_served *retired;
};

static signature look(const char *file)
{
    struct stat s;
    signature g = {0};

    if (stat(file, &s) == 0) g = (signature){s.st_dev, s.st_ino, s.st_mtim, s.st_size};
    return g;
}

static int same(const signature *a, const signature *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* "runs/en-es/" -> "en-es" */
static char *folder_name(const di_alloc *al, const char *path)
{
    size_t end = strlen(path), begin;

    while (end > 1 && path[end - 1] == '/') end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';) begin--;
    return di_strndup(al, path + begin, end - begin);
}

static dial_status open_run(di_models *m, const place *p, const di_served *beside, di_served **out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_served *s = di_zalloc(m->al, sizeof *s);

    if (s == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a run");
    DI_TRY(m->opener.open(m->opener.ctx, p->path, beside, s, err));
    s->name = p->name;
    s->path = p->path;
    if (m->comparable && !(s->sd > 0)) {
        m->opener.close(m->opener.ctx, s);
        DI_FAIL_AT(err, DIAL_ERR_INPUT, p->path, "train the run again, or leave out --ensemble",
                   "an ensemble needs reward_stats.source of every run");
    }
    *out = s;
    s = NULL;
done:
    di_free(m->al, s);
    return st;
}

static dial_status init_place(di_models *m, place *p, const char *path, const char *name,
                              dial_error *err)
{
    dial_status st = DIAL_OK;

    p->path = di_strdup(m->al, path);
    p->name = name != NULL ? di_strdup(m->al, name) : folder_name(m->al, path);
    p->file = di_path_join(m->al, path, "dial.json");
    if (p->path == NULL || p->name == NULL || p->file == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a run");
    for (place *q = m->place; q < p; q++)
        if (strcmp(q->name, p->name) == 0)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "rename a folder, or name the first with --name",
                       "two runs have the name '%s'", p->name);
done:
    return st;
}

dial_status di_models_new(const di_alloc *al, const dial_env *env, const di_opener *opener,
                          const char *const *path, int64_t n, const char *name, int comparable,
                          di_models **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_models *m = NULL;

    if (n < 1 || n > DI_MAX_SERVED)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "RUN", "dial serve RUN [RUN ...]",
                   "expected 1 to %d runs, found %lld", DI_MAX_SERVED, (long long)n);
    m = di_zalloc(al, sizeof *m);
    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the runs");
    *m = (di_models){.al = al, .env = env, .opener = *opener, .comparable = comparable};
    pthread_mutex_init(&m->lock, NULL);
    for (int i = 0; i < (int)n; i++) {
        place *p = &m->place[m->n++];

        DI_TRY(init_place(m, p, path[i], i == 0 ? name : NULL, err));
        p->seen = look(p->file);
        DI_TRY(open_run(m, p, m->place[0].now, &p->now, err));
    }
    *out = m;
    m = NULL;
done:
    di_models_free(m);
    return st;
}

static void close_run(di_models *m, di_served *s)
{
    if (s == NULL) return;
    m->opener.close(m->opener.ctx, s);
    di_free(m->al, s);
}

void di_models_free(di_models *m)
{
    if (m == NULL) return;
    di_models_collect(m);
    for (int i = m->n - 1; i >= 0; i--) {
        close_run(m, m->place[i].now);
        di_free(m->al, m->place[i].path);
        di_free(m->al, m->place[i].file);
        di_free(m->al, m->place[i].name);
    }
    pthread_mutex_destroy(&m->lock);
    di_free(m->al, m);
}

int di_models_count(const di_models *m)
{
    return m->n;
}

/* Names are compared, never opened: what a request calls its model is no path to anything. */
int di_models_find(const di_models *m, const char *name, int strict)
{
    if (name == NULL) return 0;
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->place[i].name, name) == 0) return i;
    return strict ? -1 : 0;
}

const char *di_models_name(const di_models *m, int i)
{
    return m->place[i].name;
}

int64_t di_models_width(di_models *m, int i)
{
    int64_t width;

    pthread_mutex_lock(&m->lock);
    width = m->place[i].now->width;
    pthread_mutex_unlock(&m->lock);
    return width;
}

di_served *di_models_get(di_models *m, int i)
{
    di_served *s;

    pthread_mutex_lock(&m->lock);
    s = m->place[i].now;
    s->refs++;
    pthread_mutex_unlock(&m->lock);
    return s;
}

void di_models_put(di_models *m, di_served *served)
{
    pthread_mutex_lock(&m->lock);
    served->refs--;
    pthread_mutex_unlock(&m->lock);
}

typedef struct check {
    di_models *m;
    di_served *s;
    dial_status st;
    dial_error *err;
} check;

static void run_check(void *ctx)
{
    check *c = ctx;

    c->st = c->m->opener.check(c->m->opener.ctx, c->s, c->err);
}

dial_status di_models_reload(di_models *m, int i, di_scheduler *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    place *p = &m->place[i];
    di_served *next = NULL, *old;
    check c;

    p->seen = look(p->file);
    DI_TRY(open_run(m, p, p->now, &next, err));
    c = (check){m, next, DIAL_OK, err};
    di_scheduler_run(s, run_check, &c);
    DI_TRY(c.st);
    pthread_mutex_lock(&m->lock);
    old = p->now;
    p->now = next;
    old->retired = 1;
    old->next = m->retired;
    m->retired = old;
    pthread_mutex_unlock(&m->lock);
    next = NULL;
done:
    close_run(m, next);
    return st;
}

int di_models_changed(di_models *m, int i)
{
    signature now = look(m->place[i].file);

    /* A file that is not there is being written: its folder was moved away, or is not yet whole. */
    return now.inode != 0 && !same(&now, &m->place[i].seen);
}

void di_models_collect(di_models *m)
{
    di_served **at = &m->retired, *idle = NULL, *s;

    pthread_mutex_lock(&m->lock);
    while ((s = *at) != NULL) {
        if (s->refs > 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        s->next = idle;
        idle = s;
    }
    pthread_mutex_unlock(&m->lock);
    while ((s = idle) != NULL) {
        idle = s->next;
        close_run(m, s);
    }
}
