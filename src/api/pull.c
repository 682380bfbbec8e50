/* dial_pull: a model or a data set from a Hugging Face hub. */
#include <ctype.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/fetch.h"
#include "api/session.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

enum { MOST_LISTING = 64 << 20 };

static const char NOTES[] = "dial-pull.json"; /* in the folder: what was pulled, for --offline */

typedef struct pull_job {
    const di_alloc *al;
    const dial_env *env;
    const dial_pull_options *opt;
    di_fetcher net;
    char name[256], revision[128];
    json_t *files; /* of the result */
    int failed;
} pull_job;

static int is_dataset(const pull_job *j)
{
    return strcmp(j->opt->kind, "dataset") == 0;
}

/* NAME[@REV]; both go into addresses and paths, so their letters are few. */
static dial_status split_name(pull_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = j->opt->name, *at = strchr(text, '@');
    size_t n = at != NULL ? (size_t)(at - text) : strlen(text);
    int slashes = 0, good = n > 0 && n < sizeof j->name && strstr(text, "..") == NULL;

    for (const char *c = text; *c != '\0'; c++) {
        if (c == at) continue;
        slashes += *c == '/' && c < text + n;
        good &= isalnum((unsigned char)*c) || strchr("._-/", *c) != NULL;
    }
    if (!good || slashes > 1 || text[0] == '/' || text[n - 1] == '/' ||
        (at != NULL && (at[1] == '\0' || strlen(at + 1) >= sizeof j->revision)))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, text, "dial pull HuggingFaceTB/SmolLM2-135M --out DIR",
                   "expected OWNER/NAME or OWNER/NAME@REVISION");
    snprintf(j->name, sizeof j->name, "%.*s", (int)n, text);
    snprintf(j->revision, sizeof j->revision, "%s", at != NULL ? at + 1 : "main");
done:
    return st;
}

static int has_ending(const char *path, const char *const *endings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fnmatch(endings[i], path, 0) == 0) return 1;
    return 0;
}

/* Pickles run code when they are opened: never, whatever --files says. */
static int is_wanted(const pull_job *j, const char *path)
{
    static const char *const never[] = {"*.bin",  "*.pt",     "*.pth", "*.pkl",
                                        "*.ckpt", "*.pickle", "*.npy", "*.npz"};
    static const char *const model[] = {"*.json",  "*.safetensors",   "*.gguf",
                                        "*.jinja", "tokenizer.model", "*/tokenizer.model"};

    if (has_ending(path, never, sizeof never / sizeof *never)) return 0;
    if (j->opt->files != NULL) return fnmatch(j->opt->files, path, 0) == 0;
    return is_dataset(j) ? path[0] != '.' : has_ending(path, model, sizeof model / sizeof *model);
}

/* A path of the listing stays inside the folder. */
static int is_safe(const char *path)
{
    for (const char *c = path; *c != '\0'; c++)
        if (*c == '\\' || (unsigned char)*c < 0x20) return 0;
    return path[0] != '\0' && path[0] != '/' && strstr(path, "../") == NULL &&
           strcmp(path, "..") != 0 && strstr(path, "/..") == NULL;
}

/* --- hashes ----------------------------------------------------------------------------------- */

/* What git calls a file: SHA-1 of "blob SIZE", a 0 byte and its bytes. */
static dial_status git_name(const char *path, char hex[41], dial_error *err)
{
    dial_status st = DIAL_OK;
    unsigned char digest[20] = {0};
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    di_map map = {0};
    char head[48];

    DI_TRY(di_map_file(path, &map, err));
    snprintf(head, sizeof head, "blob %zu", map.size);
    if (hash == NULL || !EVP_DigestInit_ex(hash, EVP_sha1(), NULL) ||
        !EVP_DigestUpdate(hash, head, strlen(head) + 1) ||
        !EVP_DigestUpdate(hash, map.data, map.size) || !EVP_DigestFinal_ex(hash, digest, NULL))
        DI_FAIL(err, DIAL_ERR_NOMEM, "cannot hash '%s'", path);
    for (int i = 0; i < 20; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
done:
    di_unmap(&map);
    EVP_MD_CTX_free(hash);
    return st;
}

/* *same: the file is the one that the listing names, by SHA-256 or git's name. sha: its SHA-256. */
static dial_status check_file(const char *path, const json_t *sibling, char sha[65], int *same,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *lfs = json_object_get(sibling, "lfs");
    const char *want = json_string_value(json_object_get(lfs, "sha256"));
    const char *blob = json_string_value(json_object_get(sibling, "blobId"));
    char name[41];

    if (want == NULL) want = json_string_value(json_object_get(lfs, "oid"));
    DI_TRY(di_sha256_file(path, sha, err));
    *same = 1;
    if (want != NULL) {
        *same = strcmp(strncmp(want, "sha256:", 7) == 0 ? want + 7 : want, sha) == 0;
    } else if (blob != NULL) {
        DI_TRY(git_name(path, name, err));
        *same = strcmp(name, blob) == 0;
    }
done:
    return st;
}

/* --- files ------------------------------------------------------------------------------------ */

static dial_status note_file(pull_job *j, const char *name, const char *path, const char *sha,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    struct stat info;

    if (stat(path, &info) != 0) DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot read the file");
    di_json_add(j->files,
                json_pack("{s:s, s:I, s:s}", "path", name, "bytes", (json_int_t)info.st_size,
                          "sha256", sha),
                &j->failed);
done:
    return st;
}

static dial_status make_folder_of(const char *path, dial_error *err)
{
    char folder[4096];
    char *slash;

    snprintf(folder, sizeof folder, "%s", path);
    slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder) return DIAL_OK;
    *slash = '\0';
    return di_make_dirs(folder, err);
}

/* Appends a path with everything but letters, digits and ._-/ escaped. */
static void put_path(di_buf *url, const char *path)
{
    for (const char *c = path; *c != '\0'; c++)
        if (isalnum((unsigned char)*c) || strchr("._-/", *c) != NULL)
            di_buf_append(url, c, 1);
        else
            di_buf_printf(url, "%%%02X", (unsigned)(unsigned char)*c);
}

static dial_status pull_file(pull_job *j, const json_t *sibling, const char *name, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(j->al, j->opt->out, name), sha[65];
    di_buf url, part;
    int same = 0;

    di_buf_init(&url, j->al);
    di_buf_init(&part, j->al);
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_exists(path)) DI_TRY(check_file(path, sibling, sha, &same, err));
    if (same) {
        DI_TRY(note_file(j, name, path, sha, err));
        goto done;
    }
    di_buf_printf(&part, "%s.incomplete", path);
    di_buf_printf(&url, "%s%s/%s/resolve/%s/", j->net.origin, is_dataset(j) ? "/datasets" : "",
                  j->name, j->revision);
    put_path(&url, name);
    DI_TRY(di_buf_status(&url, err));
    DI_TRY(di_buf_status(&part, err));
    DI_TRY(make_folder_of(path, err));
    di_log(j->env, DIAL_LOG_INFO, "%s", name);
    DI_TRY(di_fetch_file(&j->net, url.data, part.data, err));
    DI_TRY(check_file(part.data, sibling, sha, &same, err));
    if (!same) {
        DI_TRY(di_remove_tree(part.data, err));
        DI_FAIL_AT(err, DIAL_ERR_INPUT, name,
                   "try again; if it happens again the server is at fault",
                   "hash mismatch: the file is not the one that the hub lists");
    }
    DI_TRY(di_rename(part.data, path, err));
    DI_TRY(note_file(j, name, path, sha, err));
done:
    di_buf_deinit(&url);
    di_buf_deinit(&part);
    di_free(j->al, path);
    return st;
}

static dial_status pull_all(pull_job *j, const json_t *list, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(one, "rfilename"));

        if (name == NULL || !is_safe(name))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, j->net.origin, "use another endpoint",
                       "the hub lists a file outside of its folder: '%.100s'",
                       name != NULL ? name : "(none)");
        if (is_wanted(j, name)) DI_TRY(pull_file(j, one, name, err));
    }
    if (json_array_size(j->files) == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, j->name, "choose them with --files GLOB, or --kind dataset",
                   "none of its %zu files is one that dial pulls", json_array_size(list));
done:
    return st;
}

static dial_status from_hub(pull_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *listing = NULL;
    const char *sha;
    di_buf url, text;

    di_buf_init(&url, j->al);
    di_buf_init(&text, j->al);
    DI_TRY(di_fetch_open(&j->net, err));
    di_buf_printf(&url, "%s/api/%s/%s/revision/", j->net.origin,
                  is_dataset(j) ? "datasets" : "models", j->name);
    for (const char *c = j->revision; *c != '\0'; c++) /* a branch may have a slash in its name */
        di_buf_printf(&url, *c == '/' ? "%%2F" : "%c", *c);
    di_buf_printf(&url, "?blobs=true");
    DI_TRY(di_buf_status(&url, err));
    DI_TRY(di_fetch_text(&j->net, url.data, MOST_LISTING, &text, err));
    DI_TRY(
        di_json_parse(text.data != NULL ? text.data : "", text.size, url.data, 1, &listing, err));
    sha = json_string_value(json_object_get(listing, "sha"));
    if (sha == NULL || strlen(sha) >= sizeof j->revision ||
        !json_is_array(json_object_get(listing, "siblings")))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, url.data, "check HF_ENDPOINT",
                   "expected a hub's listing with sha and siblings");
    snprintf(j->revision, sizeof j->revision, "%s", sha); /* all files of one revision */
    DI_TRY(di_make_dirs(j->opt->out, err));
    DI_TRY(pull_all(j, json_object_get(listing, "siblings"), err));
done:
    di_fetch_close(&j->net);
    json_decref(listing);
    di_buf_deinit(&url);
    di_buf_deinit(&text);
    return st;
}

/* --offline: what an earlier pull noted, every file hashed again. */
static dial_status from_folder(pull_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *notes = di_path_join(j->al, j->opt->out, NOTES), *path = NULL, sha[65];
    json_t *v = NULL, *one;
    const char *name, *want;
    size_t i;

    if (notes == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(notes))
        DI_FAIL_AT(err, DIAL_ERR_NETWORK, j->opt->out, "pull it once without --offline",
                   "it is not there, and --offline asks nobody");
    DI_TRY(di_json_read(j->al, notes, &v, err));
    name = json_string_value(json_object_get(v, "name"));
    if (name == NULL || strcmp(name, j->name) != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, j->opt->out, "give another --out",
                   "the folder holds '%s', not '%s'", name != NULL ? name : "nothing", j->name);
    snprintf(j->revision, sizeof j->revision, "%s",
             json_is_string(json_object_get(v, "revision"))
                 ? json_string_value(json_object_get(v, "revision"))
                 : "");
    json_array_foreach (json_object_get(v, "files"), i, one) {
        name = json_string_value(json_object_get(one, "path"));
        want = json_string_value(json_object_get(one, "sha256"));
        if (name == NULL || want == NULL || !is_safe(name))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, notes, "pull it again", "a file without path or hash");
        path = di_path_join(j->al, j->opt->out, name);
        if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        DI_TRY(di_sha256_file(path, sha, err));
        if (strcmp(sha, want) != 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "pull it again without --offline",
                       "hash mismatch: the file changed since it was pulled");
        DI_TRY(note_file(j, name, path, sha, err));
        di_free(j->al, path);
        path = NULL;
    }
done:
    json_decref(v);
    di_free(j->al, notes);
    di_free(j->al, path);
    return st;
}

dial_status dial_pull(const dial_pull_options *o, const dial_env *env, char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    pull_job j = {.al = al, .env = env, .opt = o, .files = json_array()};
    json_t *doc = NULL;
    char *notes = NULL;
    di_buf b;

    di_buf_init(&b, al);
    if (o->name == NULL || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, o->name == NULL ? NULL : "--out",
                   "dial pull OWNER/NAME --out DIR", "expected a name and a folder");
    DI_TRY(split_name(&j, err));
    j.net = (di_fetcher){.al = al, .env = env, .token = o->token};
    j.net.origin = o->endpoint != NULL ? o->endpoint : "https://huggingface.co";
    DI_TRY(o->offline ? from_folder(&j, err) : from_hub(&j, err));
    doc = json_pack("{s:s, s:s, s:s, s:s, s:O}", "schema", "dial.pull/1", "name", j.name,
                    "revision", j.revision, "dir", o->out, "files", j.files);
    if (doc == NULL || j.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    if (!o->offline) {
        notes = di_path_join(al, o->out, NOTES);
        if (notes == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        DI_TRY(di_json_write(doc, &b, err));
        DI_TRY(di_write_file(al, notes, b.data, b.size, err));
    }
    DI_TRY(di_document(al, json_incref(doc), json, err));
done:
    json_decref(doc);
    json_decref(j.files);
    di_free(al, notes);
    di_buf_deinit(&b);
    return st;
}
