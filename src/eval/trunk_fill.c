#include "eval/trunk_fill.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "data/trunk_file.h"

typedef struct fill {
    di_embedder *m;
    const di_alloc *al;
    const dial_env *env;
    di_trunk *t;
    const di_trunk_store *s;
    const di_seq_view *text; /* [n] not in the file yet */
    const uint64_t *prompt;
    int64_t n;
} fill;

/* Those of n texts that t lacks, into missing [n] and theirs [n]. */
static void list_missing(fill *f, const di_seq_view *text, const uint64_t *prompt, int64_t n,
                         di_seq_view *missing, uint64_t *theirs)
{
    for (int64_t i = 0; i < n; i++) {
        if (di_trunk_find(f->t, &text[i]) != NULL) continue;
        missing[f->n] = text[i];
        theirs[f->n++] = prompt != NULL ? prompt[i] : 0;
    }
    f->text = missing;
    f->prompt = theirs;
}

static dial_status put_in_memory(void *ctx, const di_seq_view *text, const void *rows,
                                 dial_error *err)
{
    return di_trunk_add(ctx, text, &rows, 1, err);
}

static dial_status put_in_file(void *ctx, const di_seq_view *text, const void *rows,
                               dial_error *err)
{
    return di_trunk_write_put(ctx, text, rows, err);
}

/* What the file holds already, to be written again beside the new. */
typedef struct old_blocks {
    di_trunk_file file;
    di_seq_view *text; /* [n] the sound ones */
    const void **rows;
    int64_t n;
} old_blocks;

static dial_status list_old(fill *f, old_blocks *old, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (di_trunk_file_open(f->s->path, f->s->key, di_trunk_get_shape(f->t), &old->file, NULL) !=
        DIAL_OK)
        return DIAL_OK;
    old->text = di_new_array(f->al, (size_t)old->file.n, sizeof *old->text);
    old->rows = di_new_array(f->al, (size_t)old->file.n, sizeof *old->rows);
    if (old->text == NULL || old->rows == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)old->file.n);
    for (int64_t i = 0; i < old->file.n; i++)
        old->n += di_trunk_file_block(&old->file, i, &old->text[old->n], &old->rows[old->n]);
done:
    return st;
}

static dial_status make_room(fill *f, const old_blocks *old, int *fits, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_trunk_shape *shape = di_trunk_get_shape(f->t);
    size_t need =
        di_trunk_file_bytes(shape, old->text, old->n) + di_trunk_file_bytes(shape, f->text, f->n);
    const char *slash = strrchr(f->s->path, '/');
    char *dir = slash != NULL ? di_strndup(f->al, f->s->path, (size_t)(slash - f->s->path))
                              : di_strdup(f->al, ".");

    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_make_dirs(dir, err));
    DI_TRY(di_trunk_dir_clean(f->al, dir, err));
    DI_TRY(di_trunk_dir_make_room(f->al, dir, f->s->path, need, f->s->max, fits, err));
    if (!*fits)
        di_log(f->env, DIAL_LOG_WARN,
               "the trunk is not stored: %zu MB do not fit %s (raise --trunk-cache-max, or free "
               "some space)",
               need >> 20, dir);
done:
    di_free(f->al, dir);
    return st;
}

/* The file anew: what it held, and the missing texts out of t or by the model. */
static dial_status write_file(fill *f, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_trunk_writer w = {.n = 0};
    old_blocks old = {.n = 0};
    int fits = 0;

    DI_TRY(list_old(f, &old, err));
    DI_TRY(make_room(f, &old, &fits, err));
    if (!fits) goto done;
    DI_TRY(di_trunk_write_begin(f->al, f->s->path, f->s->key, di_trunk_get_shape(f->t), &w, err));
    for (int64_t i = 0; i < old.n; i++)
        DI_TRY(di_trunk_write_put(&w, &old.text[i], old.rows[i], err));
    if (di_trunk_get_shape(f->t)->per_token)
        DI_TRY(di_trunk_texts(f->m, di_trunk_get_shape(f->t), f->text, f->prompt, f->n, put_in_file,
                              &w, err));
    for (int64_t i = 0; !di_trunk_get_shape(f->t)->per_token && i < f->n; i++)
        DI_TRY(di_trunk_write_put(&w, &f->text[i], di_trunk_find(f->t, &f->text[i]), err));
    DI_TRY(di_trunk_write_commit(&w, err));
done:
    if (w.file.f != NULL) di_trunk_write_abort(&w);
    di_trunk_file_close(&old.file);
    di_free(f->al, old.text);
    di_free(f->al, (void *)old.rows);
    return st;
}

/* A store that cannot be written is no reason to stop. */
static dial_status store(fill *f, dial_error *err)
{
    dial_error why;
    dial_status st = write_file(f, &why);

    if (st == DIAL_ERR_IO || st == DIAL_ERR_USAGE) {
        di_log(f->env, DIAL_LOG_WARN, "the trunk is not stored: %s (%s)", why.message, f->s->path);
        return DIAL_OK;
    }
    if (st != DIAL_OK && err != NULL) *err = why;
    return st;
}

dial_status di_trunk_fill(di_embedder *m, di_trunk *t, const di_trunk_store *s,
                          const di_seq_view *text, const uint64_t *prompt, int64_t n,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_device *dev = di_embedder_device(m);
    fill f = {.m = m, .al = dev->al, .env = dev->env, .t = t, .s = s};
    const di_trunk_shape *shape = di_trunk_get_shape(t);
    di_seq_view *missing = di_new_array(f.al, (size_t)n, sizeof *missing);
    uint64_t *theirs = di_new_array(f.al, (size_t)n, sizeof *theirs);
    int damaged = 0;

    if (missing == NULL || theirs == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)n);
    if (s->path != NULL) DI_TRY(di_trunk_load(t, s->path, s->key, &damaged, err));
    if (s->path != NULL) utimensat(AT_FDCWD, s->path, NULL, 0); /* used now: the last to go */
    list_missing(&f, text, prompt, n, missing, theirs);
    if (f.n == 0) goto done;
    if (!shape->per_token || s->path == NULL)
        DI_TRY(di_trunk_texts(m, shape, f.text, f.prompt, f.n, put_in_memory, t, err));
    if (s->path == NULL) goto done;
    DI_TRY(store(&f, err));
    if (shape->per_token) DI_TRY(di_trunk_load(t, s->path, s->key, &damaged, err));
done:
    di_free(f.al, missing);
    di_free(f.al, theirs);
    return st;
}

dial_status di_trunk_keep(const di_alloc *al, const dial_env *env, di_trunk *t,
                          const di_trunk_store *s, const di_seq_view *text, int64_t n,
                          dial_error *err)
{
    fill f = {.al = al, .env = env, .t = t, .s = s, .text = text, .n = n};

    return n > 0 ? store(&f, err) : DIAL_OK;
}
