#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "dist/dist.h"
#include "model/safetensors.h"

enum { MAX_ALIGN_TENSORS = 64 };

char *di_checkpoint_dir(const di_alloc *al, const char *run, int64_t step)
{
    char name[64];

    snprintf(name, sizeof name, "checkpoints/step-%08lld", (long long)step);
    return di_path_join(al, run, name);
}

/* A file name in a folder, or an error. */
static dial_status join(const di_alloc *al, const char *dir, const char *name, char **out,
                        dial_error *err)
{
    dial_status st = DIAL_OK;

    *out = di_path_join(al, dir, name);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
done:
    return st;
}

static dial_status write_json(const di_alloc *al, const char *dir, const char *name,
                              const json_t *value, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL;
    di_buf b;

    di_buf_init(&b, al);
    DI_TRY(join(al, dir, name, &path, err));
    DI_TRY(di_json_write(value, &b, err));
    di_buf_append(&b, "\n", 1);
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(al, path, b.data, b.size, err));
done:
    di_buf_deinit(&b);
    di_free(al, path);
    return st;
}

/*
 * The tensors of a checkpoint beside the adapter. critic.safetensors: what the alignment trains.
 * optimizer.safetensors: m.NAME and v.NAME of every trainable tensor, and the alignment's
 * statistics (tensors without moments) under their own names.
 */
typedef struct state_tensors {
    di_align_tensor align[MAX_ALIGN_TENSORS];
    di_st_entry critic[MAX_ALIGN_TENSORS];
    size_t n_critic;
    di_st_entry *entry; /* [n] of optimizer.safetensors */
    char (*name)[160];  /* [n] */
    size_t n;
} state_tensors;

static void free_tensors(const di_alloc *al, state_tensors *x)
{
    di_free(al, x->entry);
    di_free(al, x->name);
}

/* cols 0: a vector. */
static di_st_entry entry_of(const char *name, int64_t rows, int64_t cols, const float *data)
{
    size_t bytes = (size_t)(rows * (cols > 0 ? cols : 1)) * sizeof *data;

    return (di_st_entry){name, "F32", {rows, cols}, cols > 0 ? 2 : 1, data, bytes};
}

static void add(state_tensors *x, const char *prefix, const char *name, int64_t rows, int64_t cols,
                const float *data)
{
    snprintf(x->name[x->n], sizeof x->name[x->n], "%s%s", prefix, name);
    x->entry[x->n] = entry_of(x->name[x->n], rows, cols, data);
    x->n++;
}

static dial_status list_tensors(const di_alloc *al, di_trainer *t, state_tensors *x,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_params *p = di_trainer_params(t);
    const di_optimizer *o = di_trainer_optimizer(t);
    di_alignment *a = di_trainer_alignment(t);
    int n_align = a != NULL ? di_alignment_tensors(a, x->align, MAX_ALIGN_TENSORS) : 0;
    size_t most = 3 * (size_t)(p->n + n_align);

    x->entry = di_new_array(al, most, sizeof *x->entry);
    x->name = di_new_array(al, most, sizeof *x->name);
    if (x->entry == NULL || x->name == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the optimizer's table");
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < p->n; i++)
            add(x, k == 0 ? "m." : "v.", p->param[i].name, p->param[i].rows, p->param[i].cols,
                (k == 0 ? o->m : o->v) + p->param[i].at);
        for (int i = 0; i < n_align; i++) {
            const di_align_tensor *c = &x->align[i];

            if (c->m != NULL)
                add(x, k == 0 ? "m." : "v.", c->name, c->rows, c->cols, k == 0 ? c->m : c->v);
            else if (k == 0)
                add(x, "", c->name, c->rows, c->cols, c->theta);
        }
    }
    for (int i = 0; i < p->n && di_trainer_teacher(t) != NULL; i++)
        add(x, "teacher.", p->param[i].name, p->param[i].rows, p->param[i].cols,
            di_trainer_teacher(t) + p->param[i].at);
    for (int i = 0; i < n_align; i++) {
        const di_align_tensor *c = &x->align[i];

        if (c->m != NULL) x->critic[x->n_critic++] = entry_of(c->name, c->rows, c->cols, c->theta);
    }
done:
    return st;
}

static dial_status write_tensors(const di_alloc *al, const char *dir, di_trainer *t,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    state_tensors x = {.n = 0};
    char *critic = NULL, *optimizer = NULL;

    DI_TRY(list_tensors(al, t, &x, err));
    DI_TRY(join(al, dir, "critic.safetensors", &critic, err));
    DI_TRY(join(al, dir, "optimizer.safetensors", &optimizer, err));
    if (x.n_critic > 0) DI_TRY(di_st_write(al, critic, x.critic, x.n_critic, NULL, err));
    DI_TRY(di_st_write(al, optimizer, x.entry, x.n, NULL, err));
done:
    free_tensors(al, &x);
    di_free(al, critic);
    di_free(al, optimizer);
    return st;
}

dial_status di_checkpoint_write(const di_alloc *al, const char *run, di_trainer *t,
                                const char *base_name, const json_t *extra, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t step = di_trainer_steps_done(t);
    char *dir = di_checkpoint_dir(al, run, step), *tmp = NULL, *top = NULL;
    json_t *state = di_trainer_state(t), *latest = NULL;
    char name[64];

    if (dir == NULL || state == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a checkpoint");
    if (json_object_update(state, (json_t *)(uintptr_t)extra) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a checkpoint");
    snprintf(name, sizeof name, "checkpoints/step-%08lld.tmp-%ld", (long long)step, (long)getpid());
    DI_TRY(join(al, run, "checkpoints", &top, err));
    DI_TRY(di_make_dirs(top, err));
    DI_TRY(join(al, run, name, &tmp, err));
    DI_TRY(di_remove_tree(tmp, err));
    DI_TRY(di_make_dirs(tmp, err));
    DI_TRY(di_adapter_save(di_trainer_params(t), tmp, base_name, err));
    DI_TRY(write_tensors(al, tmp, t, err));
    DI_TRY(write_json(al, tmp, "state.json", state, err));
    DI_TRY(di_remove_tree(dir, err)); /* the same step again, after a resume */
    DI_TRY(di_rename(tmp, dir, err));
    snprintf(name, sizeof name, "checkpoints/step-%08lld", (long long)step);
    latest = json_pack("{s:I, s:s}", "step", (json_int_t)step, "path", name);
    if (latest == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a checkpoint");
    DI_TRY(write_json(al, run, "latest.json", latest, err));
done:
    if (st != DIAL_OK && tmp != NULL) di_remove_tree(tmp, NULL);
    json_decref(state);
    json_decref(latest);
    di_free(al, dir);
    di_free(al, tmp);
    di_free(al, top);
    return st;
}

dial_status di_checkpoint_latest(const di_alloc *al, const char *run, int64_t *step, char **dir,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL, *found = NULL;
    json_t *latest = NULL;
    json_int_t at;
    const char *name;

    *step = -1;
    DI_TRY(join(al, run, "latest.json", &path, err));
    if (!di_exists(path)) goto done;
    DI_TRY(di_json_read(al, path, &latest, err));
    if (json_unpack(latest, "{s:I, s:s}", "step", &at, "path", &name) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "point it to a folder in checkpoints/",
                   "expected step and path");
    DI_TRY(join(al, run, name, &found, err));
    *step = at;
    *dir = found;
    found = NULL;
done:
    json_decref(latest);
    di_free(al, path);
    di_free(al, found);
    return st;
}

/* Copies every listed tensor from a file into where the entry points. */
static dial_status read_entries(const di_alloc *al, const char *dir, const char *file,
                                const di_st_entry *entry, size_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL;
    di_st s = {0};

    DI_TRY(join(al, dir, file, &path, err));
    DI_TRY(di_st_open(al, path, &s, err));
    for (size_t i = 0; i < n; i++)
        DI_TRY(di_st_read_f32(&s, path, entry[i].name, (float *)(uintptr_t)entry[i].data,
                              (int64_t)(entry[i].bytes / sizeof(float)), err));
done:
    di_st_close(&s);
    di_free(al, path);
    return st;
}

/* Rank 0 has read the folder: state and tensors to the others, who need not see the run's files. */
static dial_status share_state(const di_alloc *al, const di_dist *d, di_trainer *t,
                               state_tensors *x, char **text, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_params *p = di_trainer_params(t);

    DI_TRY(di_dist_broadcast_text(d, al, text, err));
    DI_TRY(di_dist_broadcast(d, p->theta, (size_t)p->size * sizeof *p->theta, err));
    for (size_t i = 0; i < x->n + x->n_critic; i++) {
        di_st_entry *e = i < x->n ? &x->entry[i] : &x->critic[i - x->n];

        DI_TRY(di_dist_broadcast(d, (void *)(uintptr_t)e->data, e->bytes, err));
    }
done:
    return st;
}

static dial_status read_files(const di_alloc *al, const char *dir, const char *path, di_trainer *t,
                              state_tensors *x, char **text, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n;

    DI_TRY(di_read_file(al, path, text, &n, err));
    DI_TRY(di_adapter_load(al, dir, di_trainer_params(t), err));
    DI_TRY(read_entries(al, dir, "optimizer.safetensors", x->entry, x->n, err));
    if (x->n_critic > 0)
        DI_TRY(read_entries(al, dir, "critic.safetensors", x->critic, x->n_critic, err));
done:
    return st;
}

dial_status di_checkpoint_read(const di_alloc *al, const di_dist *dist, const char *dir,
                               di_trainer *t, json_t **state, dial_error *err)
{
    dial_status st = DIAL_OK;
    state_tensors x = {.n = 0};
    char *path = NULL, *text = NULL;
    json_t *v = NULL;

    DI_TRY(join(al, dir, "state.json", &path, err));
    DI_TRY(list_tensors(al, t, &x, err));
    if (dist->rank == 0) st = read_files(al, dir, path, t, &x, &text, err);
    DI_TRY(di_dist_agree(dist, st, err));
    DI_TRY(share_state(al, dist, t, &x, &text, err));
    DI_TRY(di_json_parse(text, strlen(text), path, 1, &v, err));
    DI_TRY(di_trainer_restore(t, v, path, err));
    *state = v;
    v = NULL;
done:
    json_decref(v);
    free_tensors(al, &x);
    di_free(al, text);
    di_free(al, path);
    return st;
}

/* Is a tensor of an alignment taken over by the run that starts from it, and from which file? */
static const char *file_of(const di_align_tensor *t)
{
    if (t->m != NULL) return "critic.safetensors";
    return strncmp(t->name, "scale.", 6) == 0 ? "optimizer.safetensors" : NULL;
}

/* Those of a file: with `take` into the alignment, else *found is cleared where one is not there.
 */
static dial_status take_tensors(const di_alloc *al, const char *dir, const char *file,
                                const di_align_tensor *t, int n, int take, int *found,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL;
    di_st s = {0};
    int wanted = 0;

    for (int i = 0; i < n; i++)
        wanted |= file_of(&t[i]) != NULL && strcmp(file_of(&t[i]), file) == 0;
    if (!wanted) goto done;
    DI_TRY(join(al, dir, file, &path, err));
    if (!di_exists(path)) {
        *found = 0;
        goto done;
    }
    DI_TRY(di_st_open(al, path, &s, err));
    for (int i = 0; i < n; i++) {
        const di_st_tensor *x = di_st_find(&s, t[i].name);
        int64_t cols = t[i].cols > 0 ? t[i].cols : 1;

        if (file_of(&t[i]) == NULL || strcmp(file_of(&t[i]), file) != 0) continue;
        if (take)
            DI_TRY(di_st_read_f32(&s, path, t[i].name, t[i].theta, t[i].rows * cols, err));
        else
            *found &= x != NULL && x->dim[0] == t[i].rows && x->count == t[i].rows * cols;
    }
done:
    di_st_close(&s);
    di_free(al, path);
    return st;
}

dial_status di_checkpoint_read_alignment(const di_alloc *al, const di_dist *dist, const char *dir,
                                         di_alignment *a, int *found, dial_error *err)
{
    static const char *const file[] = {"critic.safetensors", "optimizer.safetensors"};
    dial_status st = DIAL_OK;
    di_align_tensor t[MAX_ALIGN_TENSORS];
    int n = di_alignment_tensors(a, t, MAX_ALIGN_TENSORS);

    *found = 1;
    for (int take = 0; take < 2 && dist->rank == 0 && *found && st == DIAL_OK; take++)
        for (int k = 0; k < 2 && st == DIAL_OK; k++)
            st = take_tensors(al, dir, file[k], t, n, take, found, err);
    DI_TRY(di_dist_agree(dist, st, err));
    DI_TRY(di_dist_broadcast(dist, found, sizeof *found, err));
    for (int i = 0; i < n && *found; i++)
        DI_TRY(di_dist_broadcast(
            dist, t[i].theta,
            (size_t)(t[i].rows * (t[i].cols > 0 ? t[i].cols : 1)) * sizeof *t[i].theta, err));
done:
    return st;
}

/* Removes entries of a folder whose name holds ".tmp-". */
static dial_status clean_dir(const di_alloc *al, const char *dir, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL, *path = NULL;
    size_t n = 0;

    if (!di_is_dir(dir)) return DIAL_OK;
    DI_TRY(di_list_dir(al, dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (strstr(names[i], ".tmp-") == NULL) continue;
        DI_TRY(join(al, dir, names[i], &path, err));
        DI_TRY(di_remove_tree(path, err));
        di_free(al, path);
        path = NULL;
    }
done:
    di_free(al, path);
    di_free_names(al, names, n);
    return st;
}

dial_status di_checkpoint_clean(const di_alloc *al, const char *run, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const folder[] = {"checkpoints", "maps", "scores"};
    char *dir = NULL;

    DI_TRY(clean_dir(al, run, err));
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++) {
        DI_TRY(join(al, run, folder[i], &dir, err));
        DI_TRY(clean_dir(al, dir, err));
        di_free(al, dir);
        dir = NULL;
    }
done:
    di_free(al, dir);
    return st;
}

dial_status di_checkpoint_prune(const di_alloc *al, const char *run, int64_t keep, int64_t chosen,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    char *dir = NULL, *path = NULL, **names = NULL;
    size_t n = 0;
    long long step;

    if (keep <= 0) return DIAL_OK;
    DI_TRY(join(al, run, "checkpoints", &dir, err));
    DI_TRY(di_list_dir(al, dir, &names, &n, err));
    for (size_t i = 0; i + (size_t)keep < n; i++) { /* sorted: oldest first */
        if (sscanf(names[i], "step-%lld", &step) != 1 || step == chosen) continue;
        DI_TRY(join(al, dir, names[i], &path, err));
        DI_TRY(di_remove_tree(path, err));
        di_free(al, path);
        path = NULL;
    }
done:
    di_free(al, path);
    di_free(al, dir);
    di_free_names(al, names, n);
    return st;
}
