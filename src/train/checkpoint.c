#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
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

/* Entries of one family of tensors of the critic: theta, m or v. */
static di_st_entry align_entry(const di_align_tensor *t, const char *name, const float *data)
{
    int64_t n = t->rows * (t->cols > 0 ? t->cols : 1);

    return (di_st_entry){
        name, "F32", {t->rows, t->cols}, t->cols > 0 ? 2 : 1, data, (size_t)n * sizeof *data};
}

static dial_status write_critic(const di_alloc *al, const char *dir, di_trainer *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_align *a = di_trainer_align(t);
    di_align_tensor tensor[MAX_ALIGN_TENSORS];
    di_st_entry entry[MAX_ALIGN_TENSORS];
    char *path = NULL;
    int n;

    if (a == NULL) return DIAL_OK;
    n = a->method->tensors(a, tensor, MAX_ALIGN_TENSORS);
    for (int i = 0; i < n; i++) entry[i] = align_entry(&tensor[i], tensor[i].name, tensor[i].theta);
    DI_TRY(join(al, dir, "critic.safetensors", &path, err));
    DI_TRY(di_st_write(al, path, entry, (size_t)n, NULL, err));
done:
    di_free(al, path);
    return st;
}

/* m.NAME and v.NAME for every trainable tensor, the critic's included. */
typedef struct moments {
    di_align_tensor align[MAX_ALIGN_TENSORS];
    int n_align, n;
    di_st_entry *entry; /* [2 n] */
    char (*name)[160];  /* [2 n] */
} moments;

static dial_status list_moments(const di_alloc *al, di_trainer *t, moments *x, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_params *p = di_trainer_params(t);
    di_optimizer *o = di_trainer_optimizer(t);
    di_align *a = di_trainer_align(t);
    float *block[2] = {o->m, o->v};

    x->n_align = a != NULL ? a->method->tensors(a, x->align, MAX_ALIGN_TENSORS) : 0;
    x->n = p->n + x->n_align;
    x->entry = di_new_array(al, 2 * (size_t)x->n, sizeof *x->entry);
    x->name = di_new_array(al, 2 * (size_t)x->n, sizeof *x->name);
    if (x->entry == NULL || x->name == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the optimizer's table");
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < x->n; i++) {
            int at = k * x->n + i;
            const di_align_tensor *c = i >= p->n ? &x->align[i - p->n] : NULL;

            snprintf(x->name[at], sizeof x->name[at], "%c.%s", "mv"[k],
                     c != NULL ? c->name : p->param[i].name);
            x->entry[at] =
                c != NULL
                    ? align_entry(c, x->name[at], k == 0 ? c->m : c->v)
                    : (di_st_entry){x->name[at],
                                    "F32",
                                    {p->param[i].rows, p->param[i].cols},
                                    2,
                                    block[k] + p->param[i].at,
                                    (size_t)(p->param[i].rows * p->param[i].cols) * sizeof(float)};
        }
done:
    return st;
}

static void free_moments(const di_alloc *al, moments *x)
{
    di_free(al, x->entry);
    di_free(al, x->name);
}

static dial_status write_moments(const di_alloc *al, const char *dir, di_trainer *t,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    moments x = {.n = 0};
    char *path = NULL;

    DI_TRY(list_moments(al, t, &x, err));
    DI_TRY(join(al, dir, "optimizer.safetensors", &path, err));
    DI_TRY(di_st_write(al, path, x.entry, 2 * (size_t)x.n, NULL, err));
done:
    free_moments(al, &x);
    di_free(al, path);
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
    json_object_update(state, (json_t *)(uintptr_t)extra);
    snprintf(name, sizeof name, "checkpoints/step-%08lld.tmp-%ld", (long long)step, (long)getpid());
    DI_TRY(join(al, run, "checkpoints", &top, err));
    DI_TRY(di_make_dirs(top, err));
    DI_TRY(join(al, run, name, &tmp, err));
    DI_TRY(di_remove_tree(tmp, err));
    DI_TRY(di_make_dirs(tmp, err));
    DI_TRY(di_adapter_save(di_trainer_params(t), tmp, base_name, err));
    DI_TRY(write_critic(al, tmp, t, err));
    DI_TRY(write_moments(al, tmp, t, err));
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

dial_status di_checkpoint_read(const di_alloc *al, const char *dir, di_trainer *t, json_t **state,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    moments x = {.n = 0};
    di_st_entry critic[MAX_ALIGN_TENSORS];
    char *path = NULL;
    json_t *v = NULL;

    DI_TRY(join(al, dir, "state.json", &path, err));
    DI_TRY(di_json_read(al, path, &v, err));
    DI_TRY(di_adapter_load(al, dir, di_trainer_params(t), err));
    DI_TRY(list_moments(al, t, &x, err));
    DI_TRY(read_entries(al, dir, "optimizer.safetensors", x.entry, 2 * (size_t)x.n, err));
    for (int i = 0; i < x.n_align; i++)
        critic[i] = align_entry(&x.align[i], x.align[i].name, x.align[i].theta);
    if (x.n_align > 0)
        DI_TRY(read_entries(al, dir, "critic.safetensors", critic, (size_t)x.n_align, err));
    DI_TRY(di_trainer_restore(t, v, path, err));
    *state = v;
    v = NULL;
done:
    json_decref(v);
    free_moments(al, &x);
    di_free(al, path);
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
    char *dir = NULL;

    DI_TRY(clean_dir(al, run, err));
    DI_TRY(join(al, run, "checkpoints", &dir, err));
    DI_TRY(clean_dir(al, dir, err));
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
