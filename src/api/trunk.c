#include "api/trunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

dial_status di_trunk_cache_dir(const di_alloc *al, const char *cache, char **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *own = getenv("DIAL_CACHE"), *shared = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME"), *base, *tail;

    *out = NULL;
    if (strcmp(cache, "off") == 0) return DIAL_OK;
    if (strcmp(cache, "auto") != 0) {
        base = cache;
        tail = "";
    } else if (own != NULL && *own != '\0') {
        base = own;
        tail = "trunk";
    } else if (shared != NULL && *shared != '\0') {
        base = shared;
        tail = "dial/trunk";
    } else if (home != NULL && *home != '\0') {
        base = home;
        tail = ".cache/dial/trunk";
    } else {
        return DIAL_OK;
    }
    *out = *tail != '\0' ? di_path_join(al, base, tail) : di_strdup(al, base);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
done:
    return st;
}

/* Another number where a change of dial gives the same text other bits. */
enum { NUMERICS = 2 };

dial_status di_trunk_about(const di_session *s, json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *hashes = json_object();

    if (hashes == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a key");
    DI_TRY(di_source_hashes(s->source, hashes, err));
    /* clang-format off */
    *out = json_pack("{s:s, s:i, s:O, s:o, s:s, s:s, s:s, s:s}",
                     "dial_version", DIAL_VERSION,
                     "numerics", NUMERICS,
                     "base", hashes,
                     "text", di_text_policy_to_json(&s->policy, ""),
                     "backend", s->dev.ops->name,
                     "device", s->dev.isa,
                     "dtype", s->dev.act == DI_BF16 ? "bf16" : "f32",
                     "weights", s->int8 ? "int8" : "auto");
    /* clang-format on */
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a key");
done:
    json_decref(hashes);
    return st;
}

/* What the rows are of: a view's embeddings, or (per_token) what enters block view->layer. */
static dial_status set_view(json_t *about, const di_view *view, int per_token, dial_error *err)
{
    dial_status st = DIAL_OK;
    int failed = 0;

    di_json_put(about, "layer", json_integer((json_int_t)view->layer), &failed);
    di_json_put(about, "pooling",
                per_token ? json_null()
                          : json_string(view->pooling == DI_POOL_MEAN ? "mean" : "last"),
                &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the key of a trunk");
done:
    return st;
}

/* What decides the rows of a text, for the key of a file. */
static dial_status about_rows(const di_session *s, const di_decoder *d, json_t **out,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t entry = di_decoder_entry(d);
    di_view view = {entry > 0 ? entry : s->layers, s->pooling};

    DI_TRY(di_trunk_about(s, out, err));
    DI_TRY(set_view(*out, &view, entry > 0, err));
done:
    return st;
}

dial_status di_trunk_job_open(di_trunk_job *j, const di_session *s, di_embedder *embedder,
                              const di_decoder *decoder, const char *cache, int64_t max,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    int per_token = di_decoder_entry(decoder) > 0;
    di_trunk_shape shape = {.per_token = per_token,
                            .row_bytes = (size_t)di_decoder_config(decoder)->width *
                                         (per_token ? di_act_bytes(s->dev.act) : sizeof(float))};

    *j = (di_trunk_job){.s = s, .embedder = embedder, .decoder = decoder, .max = max};
    DI_TRY(di_trunk_cache_dir(s->al, cache, &j->dir, err));
    if (j->dir != NULL) DI_TRY(about_rows(s, decoder, &j->about, err));
    DI_TRY(di_trunk_new(s->al, s->env, &shape, &j->trunk, err));
done:
    if (st != DIAL_OK) di_trunk_job_close(j);
    return st;
}

void di_trunk_job_close(di_trunk_job *j)
{
    if (j->s == NULL) return;
    di_trunk_free(j->trunk);
    json_decref(j->about);
    di_free(j->s->al, j->dir);
    *j = (di_trunk_job){0};
}

/* The file in dir that SHA-256 of all that decides the rows names, the data file's among it. */
static dial_status place_of(const di_alloc *al, const char *dir, json_t *about,
                            const char *data_sha256, char **path, char key[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    char name[80];
    di_buf text;

    di_buf_init(&text, al);
    if (json_object_set_new(about, "data", json_string(data_sha256)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the key of a trunk");
    DI_TRY(di_json_write(about, &text, err));
    DI_TRY(di_buf_status(&text, err));
    di_sha256(text.data, text.size, key);
    snprintf(name, sizeof name, "%s.trunk", key);
    *path = di_path_join(al, dir, name);
    if (*path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
done:
    di_buf_deinit(&text);
    return st;
}

dial_status di_trunk_place(const di_alloc *al, const char *dir, json_t *about, const di_view *view,
                           const char *data_sha256, char **path, char key[65], dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(set_view(about, view, 0, err));
    DI_TRY(place_of(al, dir, about, data_sha256, path, key, err));
done:
    return st;
}

/* want[i]: text i of d stands in a list. */
static void mark(const di_dataset *d, const di_examples *x, char *want)
{
    for (int64_t i = 0; i < x->n; i++) {
        const di_example *e = di_example_at(x, i);

        if (x->set[x->ref[i].set] != d) continue;
        for (int t = 0; t < e->n_texts; t++) want[d->text_of[e->first + t]] = 1;
    }
}

/* Does the trunk hold these already, of another list of the same file? */
static int holds(const di_trunk *t, const di_seq_view *text, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (di_trunk_find(t, &text[i]) == NULL) return 0;
    return 1;
}

dial_status di_trunk_job_fill_texts(di_trunk_job *j, const di_dataset *d, const char *want,
                                    dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = j->s->al;
    di_trunk_store store = {.max = (size_t)j->max};
    di_seq_view *text = di_new_array(al, (size_t)d->n_seq, sizeof *text);
    uint64_t *prompt = di_new_array(al, (size_t)d->n_seq, sizeof *prompt);
    char key[65], *path = NULL;
    int64_t count = 0;

    if (text == NULL || prompt == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)d->n_seq);
    for (int64_t i = 0; i < d->n_seq; i++) {
        if (want != NULL && !want[i]) continue;
        text[count] = (di_seq_view){d->seq[i].id, d->seq[i].n};
        prompt[count++] = d->seq[i].prompt_hash;
    }
    if (holds(j->trunk, text, count)) goto done;
    if (j->dir != NULL) {
        DI_TRY(place_of(al, j->dir, j->about, d->sha256, &path, key, err));
        store.path = path;
        store.key = key;
    } else if (di_trunk_get_shape(j->trunk)->per_token) {
        goto done; /* rows of tokens are kept on the disk or not at all */
    }
    DI_TRY(di_trunk_fill(j->embedder, j->trunk, &store, text, prompt, count, err));
done:
    di_free(al, text);
    di_free(al, prompt);
    di_free(al, path);
    return st;
}

dial_status di_trunk_job_fill(di_trunk_job *j, const di_dataset *d, const di_examples *const *lists,
                              int n, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *want = di_new_array(j->s->al, (size_t)d->n_seq, 1);

    if (want == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld texts", (long long)d->n_seq);
    for (int k = 0; k < n; k++) mark(d, lists[k], want);
    DI_TRY(di_trunk_job_fill_texts(j, d, n > 0 ? want : NULL, err));
done:
    di_free(j->s->al, want);
    return st;
}
