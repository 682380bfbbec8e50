/*
 * A Hugging Face folder: config.json beside model.safetensors, or beside an index that names a
 * shard for each tensor. Names are brought to one form: with a leading "model.", without the
 * prefixes that models with images carry.
 */
#include "model/source_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char fetch_again[] = "fetch the model again; a file may be missing or incomplete";

static int starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int of_image_part(const char *name)
{
    if (starts(name, "model.")) name += 6;
    return starts(name, "vision_tower.") || starts(name, "multi_modal_projector.");
}

/* The form that di_source_find knows, in parts: a prefix to put in front, and the rest. */
static const char *plain_name(const char *stored, const char **prefix)
{
    *prefix = "";
    if (starts(stored, "language_model.")) stored += strlen("language_model.");
    if (starts(stored, "model.language_model.")) {
        *prefix = "model.";
        stored += strlen("model.language_model.");
    } else if (starts(stored, "layers.") || starts(stored, "embed_tokens.") ||
               starts(stored, "norm.")) {
        *prefix = "model.";
    }
    return stored;
}

static dial_status add_tensor(di_source *s, const di_st_tensor *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *prefix, *rest;
    di_source_entry *e;
    char *name = NULL;
    size_t n;

    if (of_image_part(t->name)) {
        s->n_image++;
        goto done;
    }
    rest = plain_name(t->name, &prefix);
    n = strlen(prefix) + strlen(rest) + 1;
    name = di_new(s->al, n);
    if (name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the tensors of '%s'", s->path);
    snprintf(name, n, "%s%s", prefix, rest);
    e = di_source_add(s, name);
    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the tensors of '%s'", s->path);
    e->stored = t->name;
    e->type = t->dtype_name;
    e->n_dims = t->n_dims;
    e->w.data = t->data;
    e->w.dtype = t->dtype == DI_I32 ? DI_DTYPE_COUNT : t->dtype;
    e->w.out = t->n_dims == 2 ? t->dim[0] : 1;
    e->w.in = t->n_dims > 0 ? t->dim[t->n_dims - 1] : 1;
done:
    di_free(s->al, name);
    return st;
}

/* Opens dir/name as the next weight file. */
static dial_status add_file(di_source *s, const char *name, di_source_file **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_source_file *more = di_resize(s->al, s->file, (s->n_files + 1) * sizeof *more), *f;
    char *path = di_path_join(s->al, s->dir, name);

    if (more != NULL) s->file = more;
    if (more == NULL || path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", name);
    f = &s->file[s->n_files];
    *f = (di_source_file){.name = di_strdup(s->al, name)};
    if (f->name == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", name);
    s->n_files++;
    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, fetch_again, "a file of the model is missing");
    DI_TRY(di_st_open(s->al, path, &f->st, err));
    if (out != NULL) *out = f;
done:
    di_free(s->al, path);
    return st;
}

/* A plain name: no folder, not hidden, no way out of the model's folder. */
static int is_file_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

static dial_status shard_of(di_source *s, const char *name, di_source_file **out, dial_error *err)
{
    for (size_t i = 0; i < s->n_files; i++)
        if (strcmp(s->file[i].name, name) == 0) {
            *out = &s->file[i];
            return DIAL_OK;
        }
    return add_file(s, name, out, err);
}

/* Two walks: shards move while their list grows, so tensors are added when all are open. */
static dial_status open_shards(di_source *s, const char *index_path, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *index = NULL, *map, *file;
    di_source_file *shard = NULL;
    const char *tensor;

    DI_TRY(di_json_read(s->al, index_path, &index, err));
    map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, index_path, fetch_again,
                   "expected an object weight_map from tensors to files");
    s->sharded = 1;
    json_object_foreach (map, tensor, file) {
        const char *name = json_string_value(file);

        if (name == NULL || !is_file_name(name))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: weight_map['%s']", index_path, tensor),
                       fetch_again,
                       "expected the name of a file in the model's folder, found '%.200s'",
                       name != NULL ? name : "no string");
        DI_TRY(shard_of(s, name, &shard, err));
    }
    json_object_foreach (map, tensor, file) {
        const di_st_tensor *t;

        DI_TRY(shard_of(s, json_string_value(file), &shard, err));
        t = di_st_find(&shard->st, tensor);
        if (t == NULL)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: tensor '%s'", index_path, tensor),
                       fetch_again, "the index puts the tensor into %s, which does not hold it",
                       shard->name);
        DI_TRY(add_tensor(s, t, err));
    }
done:
    json_decref(index);
    return st;
}

static dial_status open_single(di_source *s, const char *name, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_source_file *f = NULL;

    DI_TRY(add_file(s, name, &f, err));
    for (size_t i = 0; i < f->st.n; i++) DI_TRY(add_tensor(s, &f->st.tensor[i], err));
done:
    return st;
}

/* Paths of files in the folder: a buffer with room for the names that are looked for. */
enum { LONGEST_NAME = 64 };

typedef struct folder {
    char *path;
    size_t size;
} folder;

/* Whether the folder holds a file of this name, whose path is then in f->path. */
static int has(const di_source *s, const folder *f, const char *name)
{
    snprintf(f->path, f->size, "%s/%s", s->dir, name);
    return di_exists(f->path);
}

static dial_status no_weights(const di_source *s, const folder *f, dial_error *err)
{
    static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                          "model.pt", "consolidated.00.pth"};
    dial_status st = DIAL_OK;

    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (has(s, f, pickles[i]))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, f->path,
                       "convert it: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW, "
                       "safe_serialization=True) in transformers writes model.safetensors",
                       "the weights are a pickle, which is never opened: it can run code");
    DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path,
               "fetch the weights, or name config.json itself where no weights are needed",
               "the folder has neither model.safetensors nor model.safetensors.index.json");
done:
    return st;
}

static dial_status no_config(const di_source *s, const folder *f, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (has(s, f, "adapter_config.json"))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "name the folder of its base model",
                   "the folder holds an adapter, not a model");
    DI_FAIL_AT(err, DIAL_ERR_INPUT, s->path, "name a Hugging Face folder or a .gguf file",
               "the folder has no config.json");
done:
    return st;
}

dial_status di_source_open_hf(di_source *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    folder f = {.size = strlen(s->path) + 1 + LONGEST_NAME};
    char *json = NULL;
    size_t n = 0;

    s->dir = di_strdup(s->al, s->path);
    f.path = di_new(s->al, f.size);
    if (s->dir == NULL || f.path == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", s->path);
    if (!has(s, &f, "config.json")) DI_TRY(no_config(s, &f, err));
    DI_TRY(di_read_file(s->al, f.path, &json, &n, err));
    DI_TRY(di_config_from_json(json, n, f.path, &s->config, err));
    if (has(s, &f, "model.safetensors"))
        DI_TRY(open_single(s, "model.safetensors", err));
    else if (has(s, &f, "model.safetensors.index.json"))
        DI_TRY(open_shards(s, f.path, err));
    else
        DI_TRY(no_weights(s, &f, err));
    if (has(s, &f, "value_head.safetensors")) DI_TRY(open_single(s, "value_head.safetensors", err));
done:
    di_free(s->al, f.path);
    di_free(s->al, json);
    return st;
}
