/* Flags, paths and keys of the runs of an experiment; its grid is in experiment_grid.c, what its
 * paths leave open in experiment_vary.c. */
#include "api/experiment_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

enum { MAX_ITEMS = 256, MAX_CELLS = 20000 };

/* Flags that say where and how fast a run goes, not what it computes: not in its key. */
static int is_place(const char *flag)
{
    static const char *const places[] = {
        "out",       "resume",      "overwrite",           "dry-run",
        "log-every", "threads",     "trunk-cache",         "trunk-cache-max",
        "keep",      "show-tokens", "snapshot-embeddings", "tensorboard"};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(flag, places[i]) == 0) return 1;
    return 0;
}

int di_flag_is_owned(const char *flag)
{
    return strcmp(flag, "out") == 0 || strcmp(flag, "resume") == 0 ||
           strcmp(flag, "overwrite") == 0 || strcmp(flag, "dry-run") == 0 ||
           strcmp(flag, "overfit") == 0;
}

const dial_option *di_train_flag(const char *name)
{
    for (const dial_option *row = dial_train_table; row->name != NULL; row++)
        if (strcmp(row->name, name) == 0) return row;
    return NULL;
}

/* ---- values ---- */

int di_value_text(const json_t *v, char *out, size_t size)
{
    switch (json_typeof(v)) {
    case JSON_STRING: return snprintf(out, size, "%s", json_string_value(v)) < (int)size;
    case JSON_TRUE: return snprintf(out, size, "yes") > 0;
    case JSON_FALSE: return snprintf(out, size, "no") > 0;
    case JSON_INTEGER: return snprintf(out, size, "%lld", (long long)json_integer_value(v)) > 0;
    case JSON_REAL: return snprintf(out, size, "%.17g", json_real_value(v)) > 0;
    default: return 0;
    }
}

/* Sets one option from a JSON value: [256, 128] is "256,128" for a flag that is no list. */
static dial_status set_option(const dial_option *row, const json_t *v, json_t *keep, void *options,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    char text[2048] = "", one[1024];
    const json_t *item;
    size_t i, used = 0;

    if (json_is_array(v)) {
        json_array_foreach (v, i, item) {
            if (!di_value_text(item, one, sizeof one) || used + strlen(one) + 2 > sizeof text)
                DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name),
                           "write a list of strings or numbers", "expected plain values");
            if (row->type == DIAL_OPT_LIST) {
                if (((dial_list *)(void *)((char *)options + row->offset))->n >= MAX_ITEMS)
                    DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name),
                               "put the rows into fewer files", "more than %d values", MAX_ITEMS);
                if (json_array_append_new(keep, json_string(one)) != 0)
                    DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a flag");
                DI_TRY(dial_option_set(
                    row, options,
                    json_string_value(json_array_get(keep, json_array_size(keep) - 1)), err));
                continue;
            }
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? "," : "", one);
        }
        if (row->type == DIAL_OPT_LIST) goto done;
    } else if (!di_value_text(v, text, sizeof text)) {
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name),
                   "write a string, a number, true or false", "expected a plain value");
    }
    if (json_array_append_new(keep, json_string(text)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a flag");
    DI_TRY(dial_option_set(
        row, options, json_string_value(json_array_get(keep, json_array_size(keep) - 1)), err));
done:
    return st;
}

/* Room for the items of every list in one array: row number k begins at k * MAX_ITEMS. */
typedef struct filled {
    dial_train_options options;
    const char **item;
    json_t *keep; /* owns the strings */
} filled;

static void give_lists(dial_train_options *o, const char **item)
{
    dial_list *list[] = {&o->source, &o->target, &o->eval};

    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        *list[k] = (dial_list){item + k * MAX_ITEMS, 0};
}

/* given -> all flags of the table, in its order: default, preset, given. */
static dial_status resolve(const di_alloc *al, const json_t *given, json_t **flags, dial_error *err)
{
    dial_status st = DIAL_OK;
    filled f = {.item = di_new_array(al, 3 * MAX_ITEMS, sizeof *f.item), .keep = json_array()};
    const json_t *preset = json_object_get(given, "preset");
    dial_env env = {.allocator = al};
    char *text = NULL;

    if (f.item == NULL || f.keep == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the flags");
    dial_options_default(dial_train_table, &f.options, sizeof f.options);
    give_lists(&f.options, f.item);
    if (json_is_string(preset))
        DI_TRY(dial_preset_apply(json_string_value(preset), &f.options, err));
    for (const dial_option *row = dial_train_table; row->name != NULL; row++) {
        const json_t *v = json_object_get(given, row->name);

        if (v == NULL || json_is_null(v)) continue;
        DI_TRY(set_option(row, v, f.keep, &f.options, err));
    }
    DI_TRY(dial_options_to_json(&env, dial_train_table, &f.options, &text, err));
    DI_TRY(di_json_parse(text, strlen(text), "flags", 1, flags, err));
done:
    di_free(al, text);
    di_free(al, (void *)f.item);
    json_decref(f.keep);
    return st;
}

dial_status di_experiment_options(const json_t *flags, const char **item, int64_t n_items,
                                  dial_train_options *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t used = 0;

    dial_options_default(dial_train_table, out, sizeof *out);
    for (const dial_option *row = dial_train_table; row->name != NULL; row++) {
        const json_t *v = json_object_get(flags, row->name), *one;
        char text[64];
        size_t i;

        if (v == NULL || json_is_null(v) || row->help == NULL) continue;
        if (row->type == DIAL_OPT_LIST) {
            dial_list *list = (dial_list *)(void *)((char *)out + row->offset);

            *list = (dial_list){item + used, 0};
            json_array_foreach (v, i, one) {
                if (used == n_items) DI_FAIL(err, DIAL_ERR_USAGE, "too many files");
                item[used++] = json_string_value(one);
                list->n++;
            }
        } else if (row->type == DIAL_OPT_TEXT) {
            *(const char **)(void *)((char *)out + row->offset) = json_string_value(v);
        } else {
            if (!di_value_text(v, text, sizeof text))
                DI_FAIL(err, DIAL_ERR_USAGE, "a flag has no value");
            DI_TRY(dial_option_set(row, out, text, err));
        }
    }
done:
    return st;
}

/* ---- paths ---- */

/* `name` in one of the folders of a list separated by ':'. */
static char *in_folders(const di_alloc *al, const char *folders, const char *name)
{
    while (folders != NULL && *folders != '\0') {
        size_t n = strcspn(folders, ":");
        char *folder = di_strndup(al, folders, n);
        char *path = folder != NULL ? di_path_join(al, folder, name) : NULL;

        di_free(al, folder);
        if (path != NULL && n > 0 && di_exists(path)) return path;
        di_free(al, path);
        folders += n + (folders[n] == ':');
    }
    return NULL;
}

/* The folder `models` of the cache, where base models are fetched to. */
static char *in_cache(const di_alloc *al, const char *name)
{
    const char *own = getenv("DIAL_CACHE"), *shared = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char folder[1024];

    if (own != NULL && *own != '\0')
        snprintf(folder, sizeof folder, "%s/models", own);
    else if (shared != NULL && *shared != '\0')
        snprintf(folder, sizeof folder, "%s/dial/models", shared);
    else if (home != NULL && *home != '\0')
        snprintf(folder, sizeof folder, "%s/.cache/dial/models", home);
    else
        return NULL;
    return in_folders(al, folder, name);
}

/* Beside the experiment, then in DIAL_DATA; a base model also in the cache. */
static dial_status find_path(const di_experiment *x, const char *name, int is_base, char **out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(x->al, x->folder, name);

    if (path != NULL && !di_exists(path)) {
        di_free(x->al, path);
        path = is_base ? in_cache(x->al, name) : in_folders(x->al, getenv("DIAL_DATA"), name);
    }
    if (path == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, name,
                   is_base ? "fetch the model (demo/fetch_model.sh), or give --base"
                           : "name the folder that holds it in DIAL_DATA",
                   is_base ? "no such model in %s or in the cache folder"
                           : "no such file in %s or in DIAL_DATA",
                   x->folder);
    *out = path;
done:
    return st;
}

static dial_status put_path(const di_experiment *x, json_t *given, const char *flag,
                            const char *name, const char *as, const json_t *point, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL, *varied = NULL;
    json_t *list = json_object_get(given, flag);
    int is_base = strcmp(flag, "base") == 0, failed = 0;
    int is_list = di_train_flag(flag)->type == DIAL_OPT_LIST;

    if (!is_base) DI_TRY(di_vary_path(x->al, name, point, &varied, err));
    DI_TRY(find_path(x, is_base ? name : varied, is_base, &path, err));
    if (is_list && list == NULL) {
        di_json_put(given, flag, json_array(), &failed);
        list = json_object_get(given, flag);
    }
    if (is_list)
        di_json_add(list, as != NULL ? json_sprintf("%s=%s", as, path) : json_string(path),
                    &failed);
    else
        di_json_put(given, flag, json_string(path), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the paths of an experiment");
done:
    di_free(x->al, varied);
    di_free(x->al, path);
    return st;
}

static dial_status put_paths(const di_experiment *x, json_t *given, const char *flag,
                             const json_t *v, const json_t *point, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *one;
    size_t i;

    if (json_is_string(v)) return put_path(x, given, flag, json_string_value(v), NULL, point, err);
    json_array_foreach (v, i, one) {
        if (!json_is_string(one))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, flag, "write a list of paths", "expected a string");
        DI_TRY(put_path(x, given, flag, json_string_value(one), NULL, point, err));
    }
done:
    return st;
}

/* ---- the flags that all runs share ---- */

dial_status di_copy_flags(json_t *to, const json_t *from, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *flag;
    json_t *v;

    json_object_foreach ((json_t *)(uintptr_t)from, flag, v) {
        if (strcmp(flag, "name") == 0 || strcmp(flag, "label") == 0) continue;
        if (di_train_flag(flag) == NULL || di_flag_is_owned(flag))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("%s: %s", where, flag),
                       "dial train --help lists the flags",
                       di_train_flag(flag) == NULL ? "there is no such flag"
                                                   : "the sweep sets this flag itself");
        if (json_object_set(to, flag, v) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the flags");
    }
done:
    return st;
}

/* "NAME=VALUE" of the command line; a flag that is a list may come several times. */
static dial_status add_extra(json_t *given, const dial_list *extra, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *seen = json_object();

    for (int64_t i = 0; i < extra->n; i++) {
        const char *text = extra->item[i], *equals = strchr(text, '=');
        char name[64] = "";
        const dial_option *row;
        int failed = 0;

        if (equals != NULL && (size_t)(equals - text) < sizeof name)
            snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
        row = di_train_flag(name);
        if (row == NULL || di_flag_is_owned(name))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--flag %s", text),
                       "write NAME=VALUE with a flag of dial train",
                       row == NULL ? "there is no such flag" : "the sweep sets this flag itself");
        if (row->type != DIAL_OPT_LIST) {
            di_json_put(given, name, json_string(equals + 1), &failed);
        } else {
            if (json_object_get(seen, name) == NULL)
                di_json_put(given, name, json_array(), &failed);
            di_json_put(seen, name, json_true(), &failed);
            di_json_add(json_object_get(given, name), json_string(equals + 1), &failed);
        }
        if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the flags");
    }
done:
    json_decref(seen);
    return st;
}

dial_status di_shared_flags(const di_experiment *x, json_t *given, const dial_list *extra,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *budget = json_object_get(x->file, "budget");
    const json_t *flags = json_object_get(x->file, "flags");
    const json_t *base = json_object_get(x->file, "base");

    DI_TRY(di_copy_flags(given, flags, "flags", err));
    DI_TRY(di_copy_flags(given, budget, "budget", err));
    DI_TRY(add_extra(given, extra, err));
    if (base != NULL && json_object_get(given, "base") == NULL)
        DI_TRY(put_paths(x, given, "base", base, NULL, err));
    if (json_object_get(given, "base") == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--base",
                   "give it in the experiment or on the command line", "required and not given");
done:
    return st;
}

dial_status di_file_flags(const di_experiment *x, json_t *given, const json_t *point,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *files = json_object_get(x->file, "files");
    const char *name;
    json_t *v;

    for (size_t i = 0; i < 2; i++) {
        const char *side = i == 0 ? "source" : "target";

        if (json_object_get(given, side) == NULL)
            DI_TRY(put_paths(x, given, side, json_object_get(files, side), point, err));
    }
    v = json_object_get(files, "heldout");
    if (json_is_string(v) && json_object_get(given, "heldout-source") == NULL)
        DI_TRY(put_paths(x, given, "heldout-source", v, point, err));
    if (json_object_get(given, "eval") == NULL)
        json_object_foreach (json_object_get(files, "eval"), name, v) {
            if (!json_is_string(v))
                DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("files.eval.%s", name), "name one file",
                           "expected a path");
            DI_TRY(put_path(x, given, "eval", json_string_value(v), name, point, err));
        }
    if (json_object_get(given, "source") == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--source",
                   "give it in the experiment or on the command line", "required and not given");
done:
    return st;
}

/* ---- keys ---- */

/* Hash of a file, or of the files of a folder. */
static dial_status content_hash(di_experiment *x, const char *path, char hex[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *known = json_string_value(json_object_get(x->hashes, path));
    char **names = NULL, *file = NULL, one[65];
    size_t n = 0;
    di_buf all;

    di_buf_init(&all, x->al);
    if (known != NULL) {
        snprintf(hex, 65, "%s", known);
        goto done;
    }
    if (!di_is_dir(path)) {
        DI_TRY(di_sha256_file(path, hex, err));
    } else {
        DI_TRY(di_list_dir(x->al, path, &names, &n, err));
        for (size_t i = 0; i < n; i++) {
            di_free(x->al, file);
            file = di_path_join(x->al, path, names[i]);
            if (file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
            if (di_is_dir(file)) continue;
            DI_TRY(di_sha256_file(file, one, err));
            di_buf_printf(&all, "%s %s\n", names[i], one);
        }
        DI_TRY(di_buf_status(&all, err));
        di_sha256(all.data, all.size, hex);
    }
    if (json_object_set_new(x->hashes, path, json_string(hex)) != 0)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the hash of a file");
done:
    di_buf_deinit(&all);
    di_free(x->al, file);
    di_free_names(x->al, names, n);
    return st;
}

/* The value of a flag with the hash of a file in the place of its path. */
static dial_status put_content(di_experiment *x, json_t *about, const char *flag, const json_t *v,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *list = json_array();
    int failed = 0;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;

    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        const char *path = text, *equals = text != NULL ? strchr(text, '=') : NULL;
        char hex[65];

        if (text == NULL) continue;
        if (strcmp(flag, "eval") == 0 && equals != NULL) path = equals + 1;
        if (strcmp(flag, "heldout-source") == 0 && !di_exists(path)) { /* a share */
            di_json_add(list, json_string(text), &failed);
            continue;
        }
        DI_TRY(content_hash(x, path, hex, err));
        di_json_add(list, json_sprintf("%.*s%s", (int)(path - text), text, hex), &failed);
    }
    di_json_put(about, flag, json_incref(list), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the key of a run");
done:
    json_decref(list);
    return st;
}

static dial_status key_of(di_experiment *x, const json_t *flags, char key[17], dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *about = json_pack("{s:s}", "dial_version", DIAL_VERSION), *v;
    const char *flag;
    char hex[65];
    di_buf b;

    di_buf_init(&b, x->al);
    if (about == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the key of a run");
    json_object_foreach ((json_t *)(uintptr_t)flags, flag, v) {
        if (is_place(flag)) continue;
        if (strcmp(flag, "base") == 0 || strcmp(flag, "source") == 0 ||
            strcmp(flag, "target") == 0 || strcmp(flag, "eval") == 0 ||
            strcmp(flag, "heldout-source") == 0)
            DI_TRY(put_content(x, about, flag, v, err));
        else if (json_object_set(about, flag, v) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the key of a run");
    }
    DI_TRY(di_json_write(about, &b, err));
    DI_TRY(di_buf_status(&b, err));
    di_sha256(b.data, b.size, hex);
    snprintf(key, 17, "%.16s", hex);
done:
    di_buf_deinit(&b);
    json_decref(about);
    return st;
}

/* ---- cells ---- */

/* Letters of a label that may stand in the name of a folder. */
static void name_cell(di_cell *c, const char *label)
{
    char slug[64];
    size_t n = 0;

    for (const char *p = label; *p != '\0' && n + 1 < sizeof slug; p++) {
        int plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                    (*p >= '0' && *p <= '9') || *p == '.' || *p == '-';

        if (plain)
            slug[n++] = *p;
        else if (n > 0 && slug[n - 1] != '_')
            slug[n++] = '_';
    }
    slug[n] = '\0';
    snprintf(c->name, sizeof c->name, "%s-s%lld-%s", slug, (long long)c->seed, c->key);
}

static dial_status group_of(di_experiment *x, const char *label, const char *entry,
                            const char *method, json_t *axes, int64_t *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_group *g;

    for (*out = 0; *out < x->n_groups; ++*out)
        if (strcmp(x->group[*out].label, label) == 0) return DIAL_OK;
    if (strlen(label) >= sizeof g->label)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, label, "shorten the method's label or the values",
                   "the label of a group is longer than %d bytes", (int)sizeof g->label - 1);
    g = di_resize(x->al, x->group, (size_t)(x->n_groups + 1) * sizeof *g);
    if (g == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a group of runs");
    x->group = g;
    g[x->n_groups] = (di_group){.method = method, .axes = json_incref(axes)};
    snprintf(g[x->n_groups].label, sizeof g->label, "%s", label);
    snprintf(g[x->n_groups].entry, sizeof g->entry, "%s", entry);
    x->n_groups++;
done:
    return st;
}

dial_status di_add_cell(di_experiment *x, const json_t *given, const char *label, const char *entry,
                        json_t *axes, json_t *varied, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_cell c = {.seed = 0}, *p;
    const char *method;

    DI_TRY(resolve(x->al, given, &c.flags, err));
    DI_TRY(key_of(x, c.flags, c.key, err));
    for (int64_t i = 0; i < x->n_cells; i++)
        if (strcmp(x->cell[i].key, c.key) == 0) goto done;
    c.seed = json_integer_value(json_object_get(c.flags, "seed"));
    method = json_string_value(json_object_get(c.flags, "method"));
    DI_TRY(group_of(x, label, entry, method, axes, &c.group, err));
    name_cell(&c, label);
    if (x->n_cells == MAX_CELLS)
        DI_FAIL(err, DIAL_ERR_USAGE, "a sweep has at most %d runs", MAX_CELLS);
    if (x->n_cells == x->cap) {
        int64_t cap = x->cap == 0 ? 64 : 2 * x->cap;

        p = di_resize(x->al, x->cell, (size_t)cap * sizeof *p);
        if (p == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the runs of a sweep");
        x->cell = p;
        x->cap = cap;
    }
    c.varied = json_incref(varied);
    x->cell[x->n_cells++] = c;
    c.flags = NULL;
done:
    json_decref(c.flags);
    return st;
}
