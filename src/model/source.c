#include "model/source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "model/source_parts.h"

/* ---- entries ---- */

di_source_entry *di_source_add(di_source *s, const char *name)
{
    if (s->n == s->cap) {
        size_t cap = s->cap + s->cap / 2 + 64;
        di_source_entry *more = di_resize(s->al, s->entry, cap * sizeof *more);

        if (more == NULL) return NULL;
        s->entry = more;
        s->cap = cap;
    }
    s->entry[s->n] = (di_source_entry){.name = di_strdup(s->al, name)};
    return s->entry[s->n].name != NULL ? &s->entry[s->n++] : NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const di_source_entry *)a)->name, ((const di_source_entry *)b)->name);
}

di_source_entry *di_source_entry_of(const di_source *s, const char *name)
{
    di_source_entry key = {.name = (char *)(uintptr_t)name};

    return s->n == 0 ? NULL : bsearch(&key, s->entry, s->n, sizeof key, by_name);
}

const char *di_source_type_name(const di_source_entry *e, char buf[24])
{
    return e->type != NULL ? e->type : di_gguf_type_name(e->type_id, buf);
}

static dial_status sort_entries(di_source *s, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (s->n > 0) qsort(s->entry, s->n, sizeof *s->entry, by_name);
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->entry[i - 1].name, s->entry[i].name) == 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "keep one of the two",
                       "'%s' and '%s' are the same tensor of the model", s->entry[i - 1].stored,
                       s->entry[i].stored);
done:
    return st;
}

/* ---- opening ---- */

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

/* A config.json without weights. A tokenizer.json beside it makes its folder the model's. */
static dial_status open_config(di_source *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *slash = strrchr(s->path, '/');
    char *json = NULL, *tokenizer = NULL;
    size_t n = 0;

    DI_TRY(di_read_file(s->al, s->path, &json, &n, err));
    DI_TRY(di_config_from_json(json, n, s->path, &s->config, err));
    s->dir = slash != NULL ? di_strndup(s->al, s->path, (size_t)(slash - s->path + 1))
                           : di_strdup(s->al, ".");
    tokenizer = s->dir != NULL ? di_path_join(s->al, s->dir, "tokenizer.json") : NULL;
    if (tokenizer == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(tokenizer)) {
        di_free(s->al, s->dir);
        s->dir = NULL;
    }
done:
    di_free(s->al, tokenizer);
    di_free(s->al, json);
    return st;
}

/* What kind of model a path is, from its name and its first bytes; ERR_INPUT: none. */
static dial_status find_kind(const char *path, const char **kind, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_map map = {0};
    int gguf;

    *kind = di_is_dir(path) ? "hf" : ends_with(path, ".json") ? "config" : "gguf";
    if (strcmp(*kind, "gguf") != 0) goto done;
    DI_TRY(di_map_file(path, &map, err));
    gguf = ends_with(path, ".gguf") || (map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0);
    if (!gguf && ends_with(path, ".safetensors"))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "name the folder, which holds config.json too",
                   "weights alone are no model");
    if (!gguf)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "name a Hugging Face folder or a .gguf file",
                   "the file is no model that dial reads");
done:
    di_unmap(&map);
    return st;
}

dial_status di_source_open(const di_alloc *al, const dial_env *env, const char *path,
                           di_source **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_source *s = NULL;
    const char *kind = NULL;

    DI_TRY(find_kind(path, &kind, err));
    s = di_zalloc(al, sizeof *s);
    if (s == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the model '%s'", path);
    s->al = al;
    s->env = env;
    s->kind = kind;
    s->path = di_strdup(al, path);
    if (s->path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the model '%s'", path);
    if (strcmp(kind, "config") == 0) {
        DI_TRY(open_config(s, err));
    } else {
        DI_TRY(strcmp(kind, "hf") == 0 ? di_source_open_hf(s, err) : di_source_open_gguf(s, err));
        DI_TRY(sort_entries(s, err));
        DI_TRY(di_source_check(s, err));
    }
    *out = s;
    s = NULL;
done:
    di_source_close(s);
    return st;
}

void di_source_close(di_source *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->n; i++) {
        di_free(s->al, s->entry[i].name);
        di_free(s->al, s->entry[i].own);
    }
    for (size_t i = 0; i < s->n_files; i++) {
        di_free(s->al, s->file[i].name);
        di_st_close(&s->file[i].st);
    }
    di_gguf_close(s->gguf);
    di_free(s->al, s->entry);
    di_free(s->al, s->file);
    di_free(s->al, s->row_map);
    di_free(s->al, s->dir);
    di_free(s->al, s->path);
    di_free(s->al, s);
}

/* ---- asking ---- */

const di_config *di_source_config(const di_source *s)
{
    return &s->config;
}

const char *di_source_kind(const di_source *s)
{
    return s->kind;
}

const char *di_source_path(const di_source *s)
{
    return s->path;
}

dial_status di_source_find(const di_source *s, const char *name, di_weight *out, int *found,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_source_entry *e = di_source_entry_of(s, name);
    char type[24];

    if (e == NULL) {
        *found = 0;
        goto done;
    }
    if (e->n_dims != 1 && e->n_dims != 2)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: tensor '%s'", s->path, e->stored),
                   "check that this is a model of a supported family",
                   "expected one or two dimensions, found %d", e->n_dims);
    if (e->w.dtype == DI_DTYPE_COUNT)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: tensor '%s'", s->path, e->stored),
                   "store it as F32, F16 or BF16", "its type %s is not read",
                   di_source_type_name(e, type));
    *out = e->w;
    *found = 1;
done:
    return st;
}

int di_source_note(const di_source *s, const char *key, di_str *out)
{
    return s->gguf != NULL && di_gguf_string(s->gguf, key, out);
}

const struct di_gguf *di_source_gguf(const di_source *s)
{
    return s->gguf;
}

size_t di_source_count(const di_source *s)
{
    size_t n = s->gguf != NULL ? di_gguf_count(s->gguf) : 0;

    for (size_t i = 0; i < s->n_files; i++) n += s->file[i].st.n;
    return n;
}

di_source_tensor di_source_at(const di_source *s, size_t i)
{
    di_source_tensor t = {0};
    const di_st_tensor *x = NULL;

    if (s->gguf != NULL) {
        const di_gguf_tensor *g = di_gguf_at(s->gguf, i);

        t = (di_source_tensor){g->name, g->dtype, {0}, g->n_dims};
        for (int k = 0; k < g->n_dims; k++) t.dim[k] = g->dim[g->n_dims - 1 - k];
        return t;
    }
    for (size_t f = 0; x == NULL && f < s->n_files; f++) {
        if (i < s->file[f].st.n) x = &s->file[f].st.tensor[i];
        i -= s->file[f].st.n;
    }
    if (x == NULL) return t;
    t = (di_source_tensor){x->name, x->dtype, {0}, x->n_dims < 4 ? x->n_dims : 4};
    for (int k = 0; k < x->n_dims; k++)
        t.dim[k < 4 ? k : 3] = k < 4 ? x->dim[k] : t.dim[3] * x->dim[k];
    return t;
}

int di_source_has_tokenizer(const di_source *s)
{
    return s->gguf != NULL || s->dir != NULL;
}

dial_status di_source_tokenizer(const di_source *s, di_tokenizer **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_tokenizer *t = NULL;
    int64_t ids;

    if (s->gguf != NULL)
        DI_TRY(di_gguf_tokenizer(s->al, s->gguf, &t, err));
    else if (s->dir != NULL)
        DI_TRY(di_tokenizer_open_hf(s->al, s->dir, &t, err));
    else
        DI_FAIL_AT(err, DIAL_ERR_USAGE, s->path,
                   "put the model's tokenizer.json beside it, or name the model's folder",
                   "a config.json alone has no tokenizer");
    ids = di_tokenizer_get_info(t)->vocab;
    if (ids > s->config.vocab && strcmp(s->config.arch, "gemma3") == 0)
        di_log(s->env, DIAL_LOG_DEBUG,
               "%s: token ids %lld to %lld have no embedding (image tokens)", s->path,
               (long long)s->config.vocab, (long long)ids - 1);
    else if (ids > s->config.vocab)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path,
                   "use the tokenizer that was published with this model",
                   "the tokenizer has %lld ids, but the embedding table has %lld rows",
                   (long long)ids, (long long)s->config.vocab);
    *out = t;
    t = NULL;
done:
    di_tokenizer_close(t);
    return st;
}

/* ---- files ---- */

static void forget(di_map m)
{
    /* only whole pages; the last one goes along, since the map ends with it */
    if (m.data != NULL) madvise((void *)(uintptr_t)m.data, m.size, MADV_DONTNEED);
}

void di_source_forget_pages(di_source *s)
{
    for (size_t i = 0; i < s->n_files; i++) forget(s->file[i].st.map);
    for (size_t i = 0; s->gguf != NULL && i < di_gguf_parts(s->gguf); i++)
        forget(di_gguf_part_map(s->gguf, i));
}

static dial_status put_hash(json_t *out, const char *name, const char hex[65], dial_error *err)
{
    dial_status st = DIAL_OK;

    if (json_object_set_new(out, name, json_string(hex)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the hash of '%s'", name);
done:
    return st;
}

static dial_status put_map_hash(json_t *out, const char *path, di_map m, dial_error *err)
{
    const char *slash = strrchr(path, '/');
    char hex[65];

    di_sha256(m.data, m.size, hex);
    return put_hash(out, slash != NULL ? slash + 1 : path, hex, err);
}

dial_status di_source_hashes(const di_source *s, json_t *out, dial_error *err)
{
    static const char *const beside[] = {"config.json",           "tokenizer.json",
                                         "tokenizer_config.json", "special_tokens_map.json",
                                         "chat_template.jinja",   "model.safetensors.index.json"};
    dial_status st = DIAL_OK;
    char hex[65], *path = NULL;

    for (size_t i = 0; s->gguf != NULL && i < di_gguf_parts(s->gguf); i++)
        DI_TRY(put_map_hash(out, di_gguf_part_path(s->gguf, i), di_gguf_part_map(s->gguf, i), err));
    for (size_t i = 0; i < s->n_files; i++)
        DI_TRY(put_map_hash(out, s->file[i].name, s->file[i].st.map, err));
    if (s->gguf == NULL && s->dir == NULL) {
        DI_TRY(di_sha256_file(s->path, hex, err));
        DI_TRY(put_hash(out, "config.json", hex, err));
    }
    for (size_t i = 0; s->dir != NULL && i < sizeof beside / sizeof *beside; i++) {
        if (strstr(beside[i], ".index.") != NULL && !s->sharded) continue;
        path = di_path_join(s->al, s->dir, beside[i]);
        if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", beside[i]);
        if (di_exists(path)) {
            DI_TRY(di_sha256_file(path, hex, err));
            DI_TRY(put_hash(out, beside[i], hex, err));
        }
        di_free(s->al, path);
        path = NULL;
    }
done:
    di_free(s->al, path);
    return st;
}
