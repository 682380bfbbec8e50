/* A report over sweeps: their documents read from the folders, and the file that was asked for. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "report/claims.h"
#include "report/collect.h"
#include "report/markup.h"
#include "report/sweep.h"

int di_is_sweep(const di_alloc *al, const char *folder)
{
    char *path = di_path_join(al, folder, "sweep.json");
    int yes = path != NULL && di_exists(path);

    di_free(al, path);
    return yes;
}

static dial_status read_sweep(const di_alloc *al, const char *folder, json_t *docs, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, folder, "sweep.json");
    json_t *doc = NULL;
    const char *schema;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, folder, "name folders of dial sweep alone, or runs alone",
                   "expected a sweep beside the other sweeps, found no sweep.json");
    DI_TRY(di_json_read(al, path, &doc, err));
    schema = di_text_at(doc, "schema");
    if (schema == NULL || strcmp(schema, "dial.sweep/1") != 0 || !json_is_array(di_at(doc, "sets")))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "run dial sweep again: it makes the file anew",
                   "expected a dial.sweep/1 document");
    if (json_array_append(docs, doc) != 0) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
done:
    json_decref(doc);
    di_free(al, path);
    return st;
}

static int ends_in(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);

    return n > m && strcmp(path + n - m, end) == 0;
}

static dial_status markdown(const json_t *docs, const json_t *claims, const char *title,
                            di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const json_t *doc;
    size_t i;

    if (claims != NULL) {
        di_puts(out, "# ");
        di_put_md(out, title);
        di_puts(out, "\n\n```\n");
        DI_TRY(di_claims_text(claims, out, err));
        di_puts(out, "```\n\n");
    }
    json_array_foreach (docs, i, doc) {
        if (i > 0) di_puts(out, "\n");
        DI_TRY(di_sweep_markdown(doc, out, err));
    }
done:
    return st;
}

static dial_status write_report(const di_alloc *al, const char *path, const json_t *docs,
                                const json_t *claims, const json_t *result, const char *title,
                                dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *whole = NULL;
    di_buf b;

    di_buf_init(&b, al);
    if (ends_in(path, ".html") || ends_in(path, ".htm")) {
        DI_TRY(di_sweep_html(docs, claims, title, &b, err));
    } else if (ends_in(path, ".md")) {
        DI_TRY(markdown(docs, claims, title, &b, err));
    } else if (ends_in(path, ".json")) {
        whole = json_copy((json_t *)(uintptr_t)result);
        if (whole == NULL || json_object_set(whole, "sweeps", (json_t *)(uintptr_t)docs) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
        DI_TRY(di_json_write(whole, &b, err));
        di_buf_append(&b, "\n", 1);
    } else {
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "end the name in .html, .md or .json",
                   "expected --out FILE.html, FILE.md or FILE.json");
    }
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_write_file(al, path, b.data, b.size, err));
done:
    json_decref(whole);
    di_buf_deinit(&b);
    return st;
}

dial_status di_sweep_report(const di_alloc *al, const char *const *folder, int64_t n,
                            const char *claims, const char *out, const char *title, json_t **result,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *docs = json_array(), *rules = NULL, *outcome = NULL, *o = NULL;
    int failed = 0;

    if (title == NULL) title = "Does the reward model carry over to the new domain?";
    if (docs == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
    for (int64_t i = 0; i < n; i++) DI_TRY(read_sweep(al, folder[i], docs, err));
    if (claims != NULL) {
        DI_TRY(di_json_read(al, claims, &rules, err));
        DI_TRY(di_claims(rules, docs, &outcome, err));
    }
    o = json_pack("{s:s,s:s?,s:I}", "schema", "dial.report/1", "out", out, "runs", (json_int_t)n);
    di_json_put(o, "claims", outcome != NULL ? json_incref(di_at(outcome, "claims")) : json_array(),
                &failed);
    o = di_json_whole(o, failed);
    if (o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the report");
    if (out != NULL) DI_TRY(write_report(al, out, docs, outcome, o, title, err));
    *result = json_incref(o);
done:
    json_decref(docs);
    json_decref(rules);
    json_decref(outcome);
    json_decref(o);
    return st;
}
