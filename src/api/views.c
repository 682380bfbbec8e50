#include "api/views.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "dist/dist.h"

/* Texts of a pass: bounds the memory beside the trunks. */
enum { TEXTS = 512 };

void di_main_views(int64_t layers, di_view out[DI_MAIN_VIEWS])
{
    const int64_t depth[] = {layers, (3 * layers + 2) / 4, (layers + 1) / 2};

    for (int k = 0; k < DI_MAIN_VIEWS; k++)
        out[k] =
            (di_view){depth[k % 3] > 0 ? depth[k % 3] : 1, k < 3 ? DI_POOL_LAST : DI_POOL_MEAN};
}

/* The stored rows of one view. */
typedef struct kept {
    di_view view;
    di_trunk *trunk;
    char *path, key[65];
    di_seq_view *fresh; /* [n_fresh] texts that the file lacks */
    int64_t n_fresh;
} kept;

typedef struct lookup {
    const di_views_job *j;
    const di_alloc *al;
    const di_dataset *d;
    int64_t width, n;
    kept *view; /* [n_views] those wanted first, each once */
    int n_views;
    int32_t *missing; /* [n_missing] texts that a view wanted lacks */
    int64_t n_missing;
} lookup;

static di_seq_view seq_of(const lookup *l, int32_t text)
{
    return (di_seq_view){l->d->seq[text].id, l->d->seq[text].n};
}

static int same_view(const di_view *a, const di_view *b)
{
    return a->layer == b->layer && a->pooling == b->pooling;
}

/* Opens the store of each view and loads what is there. */
static dial_status open_views(lookup *l, const char *dir, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_views_job *j = l->j;
    const di_trunk_shape shape = {.row_bytes = (size_t)l->width * sizeof(float)};
    json_t *about = NULL;
    int damaged;

    l->view = di_new_array(l->al, (size_t)(j->n_views + j->n_more), sizeof *l->view);
    if (l->view == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the views");
    DI_TRY(di_trunk_about(j->s, &about, err));
    for (int v = 0; v < j->n_views + j->n_more; v++) {
        const di_view *x = v < j->n_views ? &j->view[v] : &j->more[v - j->n_views];
        kept *k = &l->view[l->n_views];
        int known = 0;

        for (int i = 0; v >= j->n_views && i < l->n_views; i++)
            known |= same_view(x, &l->view[i].view);
        if (known) continue;
        l->n_views++;
        k->view = *x;
        DI_TRY(di_trunk_new(l->al, j->s->env, &shape, &k->trunk, err));
        DI_TRY(di_trunk_place(l->al, dir, about, x, l->d->sha256, &k->path, k->key, err));
        DI_TRY(di_trunk_load(k->trunk, k->path, k->key, &damaged, err));
        utimensat(AT_FDCWD, k->path, NULL, 0); /* used now: the last to go */
    }
done:
    json_decref(about);
    return st;
}

static dial_status list_missing(lookup *l, const int32_t *text, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *seen = di_new_array(l->al, (size_t)l->d->n_seq, 1);

    l->missing = di_new_array(l->al, (size_t)l->n, sizeof *l->missing);
    if (seen == NULL || l->missing == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)l->n);
    for (int64_t i = 0; i < l->n; i++) {
        di_seq_view s = seq_of(l, text[i]);
        int lacks = 0;

        if (seen[text[i]]) continue;
        seen[text[i]] = 1;
        for (int v = 0; v < l->j->n_views; v++)
            lacks |= di_trunk_find(l->view[v].trunk, &s) == NULL;
        if (lacks) l->missing[l->n_missing++] = text[i];
    }
done:
    di_free(l->al, seen);
    return st;
}

/* Some of the missing texts, through all views at once. */
static dial_status compute(lookup *l, int64_t from, int64_t n, const di_view *views, float *e,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    di_seq_view text[TEXTS];
    uint64_t prompt[TEXTS];

    for (int64_t i = 0; i < n; i++) {
        text[i] = seq_of(l, l->missing[from + i]);
        prompt[i] = l->d->seq[l->missing[from + i]].prompt_hash;
    }
    DI_TRY(di_embed_views(l->j->embedder, text, prompt, n, views, l->n_views, l->j->what, e, err));
    for (int v = 0; v < l->n_views; v++)
        for (int64_t i = 0; i < n; i++) {
            const void *row = e + (v * n + i) * l->width;
            kept *k = &l->view[v];

            if (di_trunk_find(k->trunk, &text[i]) != NULL) continue;
            DI_TRY(di_trunk_add(k->trunk, &text[i], &row, 1, err));
            k->fresh[k->n_fresh++] = text[i];
        }
done:
    return st;
}

static dial_status compute_missing(lookup *l, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t most = l->n_missing < TEXTS ? l->n_missing : TEXTS;
    float *e = di_new_array(l->al, (size_t)(l->n_views * most), (size_t)l->width * sizeof *e);
    di_view *views = di_new_array(l->al, (size_t)l->n_views, sizeof *views);

    if (e == NULL || views == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings of %d views", l->n_views);
    for (int v = 0; v < l->n_views; v++) {
        kept *k = &l->view[v];

        views[v] = k->view;
        k->fresh = di_new_array(l->al, (size_t)l->n_missing, sizeof *k->fresh);
        if (k->fresh == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the views");
    }
    for (int64_t at = 0; at < l->n_missing; at += TEXTS)
        DI_TRY(
            compute(l, at, l->n_missing - at < TEXTS ? l->n_missing - at : TEXTS, views, e, err));
    for (int v = 0; v < l->n_views; v++) {
        kept *k = &l->view[v];
        di_trunk_store store = {k->path, k->key, (size_t)l->j->max};

        DI_TRY(di_trunk_keep(l->al, l->j->s->env, k->trunk, &store, k->fresh, k->n_fresh, err));
    }
done:
    di_free(l->al, e);
    di_free(l->al, views);
    return st;
}

static void close_views(lookup *l)
{
    for (int v = 0; v < l->n_views; v++) {
        di_trunk_free(l->view[v].trunk);
        di_free(l->al, l->view[v].path);
        di_free(l->al, l->view[v].fresh);
    }
    di_free(l->al, l->view);
    di_free(l->al, l->missing);
}

/* Nothing is stored: one pass into e. */
static dial_status compute_all(const di_views_job *j, const di_dataset *d, const int32_t *text,
                               const int64_t *place, int64_t n, int64_t stride, float *e,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = j->s->al;
    size_t width = (size_t)di_source_config(j->s->source)->width;
    di_seq_view *seq = di_new_array(al, (size_t)n, sizeof *seq);
    uint64_t *prompt = di_new_array(al, (size_t)n, sizeof *prompt);
    float *own = di_new_array(al, (size_t)(j->n_views * n), width * sizeof *own);

    if (seq == NULL || prompt == NULL || own == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the embeddings of %d views", j->n_views);
    for (int64_t i = 0; i < n; i++) {
        seq[i] = (di_seq_view){d->seq[text[i]].id, d->seq[text[i]].n};
        prompt[i] = d->seq[text[i]].prompt_hash;
    }
    DI_TRY(di_embed_views(j->embedder, seq, prompt, n, j->view, j->n_views, j->what, own, err));
    for (int v = 0; v < j->n_views; v++)
        for (int64_t i = 0; i < n; i++)
            memcpy(e + (size_t)(v * stride + (place != NULL ? place[i] : i)) * width,
                   own + (size_t)(v * n + i) * width, width * sizeof *e);
done:
    di_free(al, seq);
    di_free(al, prompt);
    di_free(al, own);
    return st;
}

dial_status di_views_embed(const di_views_job *j, const di_dataset *d, const int32_t *text,
                           const int64_t *place, int64_t n, int64_t stride, float *e,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    lookup l = {
        .j = j, .al = j->s->al, .d = d, .n = n, .width = di_source_config(j->s->source)->width};
    size_t bytes = (size_t)l.width * sizeof *e;
    char *dir = NULL;

    if (di_dist_of(j->s->env)->size == 1) /* whether a file is there differs by machine */
        DI_TRY(di_trunk_cache_dir(l.al, j->cache, &dir, err));
    if (dir == NULL) {
        if (e != NULL) DI_TRY(compute_all(j, d, text, place, n, stride, e, err));
        goto done;
    }
    DI_TRY(open_views(&l, dir, err));
    DI_TRY(list_missing(&l, text, err));
    if (l.n_missing > 0) DI_TRY(compute_missing(&l, err));
    for (int v = 0; e != NULL && v < j->n_views; v++)
        for (int64_t i = 0; i < n; i++) {
            di_seq_view s = seq_of(&l, text[i]);

            memcpy(e + (v * stride + (place != NULL ? place[i] : i)) * l.width,
                   di_trunk_find(l.view[v].trunk, &s), bytes);
        }
done:
    close_views(&l);
    di_free(l.al, dir);
    return st;
}
