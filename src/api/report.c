/* dial_report, and the human form of every job's document. */
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "report/claims.h"
#include "report/report.h"
#include "report/sweep.h"

dial_status dial_report(const dial_report_options *o, const dial_env *env, char **json,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    di_report_options r = di_report_options_default();
    json_t *doc = NULL;

    if (o->runs.n == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--runs", "see dial report --help", "the flag is required");
    if (di_is_sweep(al, o->runs.item[0])) {
        DI_TRY(
            di_sweep_report(al, o->runs.item, o->runs.n, o->claims, o->out, o->title, &doc, err));
        st = di_document(al, doc, json, err);
        goto done;
    }
    if (o->claims != NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--claims", "name folders of dial sweep in --runs",
                   "claims are about sweeps, %s is none", o->runs.item[0]);
    r.run = o->runs.item;
    r.n_runs = o->runs.n;
    r.out = o->out;
    r.title = o->title;
    r.seed = (uint64_t)o->common.seed;
    DI_TRY(di_report_write(al, env, &r, &doc, err));
    DI_TRY(di_document(al, doc, json, err));
done:
    return st;
}

/* KEY: value lines of a document, nested objects indented: for jobs without a form of their own. */
static void plain_text(const json_t *v, int depth, di_buf *out)
{
    const char *key;
    json_t *child;

    json_object_foreach ((json_t *)(uintptr_t)v, key, child) {
        if (strcmp(key, "schema") == 0) continue;
        di_buf_printf(out, "%*s%-24s ", 2 * depth, "", key);
        if (json_is_object(child) && json_object_size(child) > 0) {
            di_buf_printf(out, "\n");
            plain_text(child, depth + 1, out);
            continue;
        }
        if (json_is_string(child))
            di_buf_printf(out, "%s", json_string_value(child));
        else
            di_json_write(child, out, NULL);
        di_buf_printf(out, "\n");
    }
}

/* The document of `train` as that of `eval`, whose table it shares. */
static dial_status train_text(const json_t *doc, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *results = json_array(), *eval = NULL, *result;
    const char *name;

    di_buf_printf(out, "%s: method %s, %lld steps, checkpoint of step %lld by '%s'\n",
                  json_string_value(json_object_get(doc, "out")),
                  json_string_value(json_object_get(doc, "method")),
                  (long long)json_integer_value(json_object_get(doc, "steps")),
                  (long long)json_integer_value(json_object_get(doc, "selected_step")),
                  json_string_value(json_object_get(doc, "selected_by")));
    json_object_foreach (json_object_get(doc, "eval"), name, result)
        if (json_array_append(results, result) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the results");
    eval = json_pack("{s:s, s:O, s:O}", "schema", "dial.eval/1", "model",
                     json_object_get(doc, "out"), "results", results);
    if (json_array_size(results) > 0) DI_TRY(di_report_eval_text(eval, out, err));
done:
    json_decref(results);
    json_decref(eval);
    return st;
}

dial_status dial_document_text(const dial_env *env, const char *json, char **text, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *doc = NULL;
    const char *schema;
    di_buf b;

    di_buf_init(&b, di_env_alloc(env));
    DI_TRY(di_json_parse(json, strlen(json), "document", 1, &doc, err));
    schema = json_string_value(json_object_get(doc, "schema"));
    if (schema == NULL) DI_FAIL(err, DIAL_ERR_USAGE, "expected a document with a schema");
    if (strcmp(schema, "dial.eval/1") == 0)
        DI_TRY(di_report_eval_text(doc, &b, err));
    else if (strcmp(schema, "dial.train/1") == 0)
        DI_TRY(train_text(doc, &b, err));
    else if (strcmp(schema, "dial.doctor/1") == 0)
        DI_TRY(di_report_doctor_text(doc, &b, err));
    else if (strcmp(schema, "dial.select/1") == 0)
        DI_TRY(di_report_select_text(doc, &b, err));
    else if (strcmp(schema, "dial.sweep/1") == 0)
        DI_TRY(di_sweep_text(doc, &b, err));
    else if (strcmp(schema, "dial.report/1") == 0 && json_object_get(doc, "claims") != NULL)
        DI_TRY(di_claims_text(doc, &b, err));
    else if (strcmp(schema, "dial.report/1") == 0)
        DI_TRY(di_report_table(doc, &b, err));
    else
        plain_text(doc, 0, &b);
    DI_TRY(di_buf_status(&b, err));
    *text = di_buf_take(&b);
    if (*text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the text");
done:
    json_decref(doc);
    di_buf_deinit(&b);
    return st;
}
