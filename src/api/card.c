#include "api/card.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "report/collect.h"
#include "report/markup.h"

/* ---- results ---- */

static const char head[] = "| set | n | measure | value | 95% interval | ties | longer wins | "
                           "length-matched |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";

/* "0.612", or "-" where the result has no such number. */
static void cell(di_buf *out, double x, int digits)
{
    di_puts(out, isfinite(x) ? DI_DECIMAL(x, digits) : "-");
    di_puts(out, " | ");
}

static void interval(di_buf *out, const json_t *ci)
{
    if (json_array_size(ci) == 2)
        di_buf_printf(out, "%.3f to %.3f | ", json_number_value(json_array_get(ci, 0)),
                      json_number_value(json_array_get(ci, 1)));
    else
        di_puts(out, "- | ");
}

/* What the result is measured by, with its interval (clustered where there is such a one). */
static void measure(const json_t *r, di_buf *out)
{
    const json_t *clustered = di_at(r, "ci95_cluster");
    int scores = !json_is_number(di_at(r, "accuracy"));

    di_puts(out, scores ? "Spearman | " : "accuracy | ");
    cell(out, di_num(r, scores ? "spearman.pooled" : "accuracy"), 3);
    interval(out, scores              ? di_at(r, "spearman.ci95")
                  : clustered != NULL ? clustered
                                      : di_at(r, "ci95"));
}

static void line(const char *name, const json_t *r, di_buf *out)
{
    double longer = di_num(r, "length.baseline_longer");

    di_buf_printf(out, "| %s | ", name);
    cell(out, di_num(r, "n"), 0);
    measure(r, out);
    cell(out, di_num(r, "ties"), 0);
    cell(out, longer, 3);
    di_puts(out, isfinite(di_num(r, "length.matched.accuracy"))
                     ? DI_DECIMAL(di_num(r, "length.matched.accuracy"), 3)
                     : "-");
    di_puts(out, " |\n");
}

/* The name of a set as its line has it, in `out`; a NUL ends it. */
static void name_of(const json_t *r, di_buf *out)
{
    out->size = 0;
    di_put_md(out, di_text_at(r, "name"));
    di_buf_append(out, "", 1);
}

/* The result that a line of an earlier table is of; n: none. */
static size_t result_of(const json_t *results, const char *at, di_buf *name)
{
    const json_t *r;
    size_t i;

    json_array_foreach (results, i, r) {
        name_of(r, name);
        if (name->data != NULL && strncmp(at, "| ", 2) == 0 &&
            strncmp(at + 2, name->data, strlen(name->data)) == 0 &&
            strncmp(at + 2 + strlen(name->data), " | ", 3) == 0)
            break;
    }
    return i;
}

void di_card_results(const json_t *results, const char *was, di_buf *out)
{
    const char *at = was != NULL ? strstr(was, head) : NULL, *end;
    json_t *done = json_object();
    const json_t *r;
    size_t i;
    di_buf name;

    di_buf_init(&name, out->al);
    di_puts(out, head);
    for (at = at != NULL ? at + strlen(head) : ""; *at == '|'; at = end + 1) {
        size_t k = result_of(results, at, &name);

        end = strchr(at, '\n');
        if (end == NULL) break;
        if (k == json_array_size(results)) {
            di_buf_append(out, at, (size_t)(end + 1 - at));
        } else {
            line(name.data, json_array_get(results, k), out);
            di_json_put(done, name.data, json_true(), &out->failed);
        }
    }
    json_array_foreach (results, i, r) {
        name_of(r, &name);
        if (name.data == NULL || json_object_get(done, name.data) != NULL) continue;
        line(name.data, r, out);
        di_json_put(done, name.data, json_true(), &out->failed);
    }
    di_puts(out,
            "\nIntervals are clustered by text where texts recur. Longer wins: what preferring "
            "the longer response is right in. Length-matched: rows that say so, else "
            "|ln(ratio of words)| < 0.3. A tie counts one half.\n");
    out->failed |= name.failed;
    di_buf_deinit(&name);
    json_decref(done);
}

/* ---- doctor ---- */

void di_card_doctor(const json_t *doc, di_buf *out)
{
    const char *summary = doc != NULL ? di_text_at(doc, "summary") : NULL, *reason;
    const json_t *f;
    size_t i;

    if (doc == NULL) {
        di_puts(out, "The doctor's verdict: not run.\n");
        return;
    }
    di_puts(out, "The doctor's verdict: **");
    di_put_md(out, di_text_at(doc, "verdict"));
    di_buf_printf(out, "**, on %.0f source and %.0f target pairs (dial %s). ",
                  di_num(doc, "n.source"), di_num(doc, "n.target"), DIAL_VERSION);
    reason = summary != NULL ? strstr(summary, ": ") : NULL; /* it begins with the verdict */
    di_put_md(out, reason != NULL ? reason + 2 : summary);
    di_puts(out, "\n");
    if (json_is_object(di_at(doc, "labelled")))
        di_buf_printf(out, "\nOn %.0f labelled target pairs its accuracy is %.3f (%.3f to %.3f).\n",
                      di_num(doc, "labelled.n"), di_num(doc, "labelled.accuracy"),
                      json_number_value(json_array_get(di_at(doc, "labelled.ci95"), 0)),
                      json_number_value(json_array_get(di_at(doc, "labelled.ci95"), 1)));
    json_array_foreach (di_at(doc, "findings"), i, f) {
        const char *level = di_text_at(f, "level");

        if (level == NULL || strcmp(level, "warn") != 0) continue;
        di_puts(out, "\n- `");
        di_put_plain(out, di_text_at(f, "code"));
        di_puts(out, "`: ");
        di_put_md(out, di_text_at(f, "message"));
    }
    di_puts(out, "\n");
}

/* ---- sections ---- */

/* Where a heading's line begins; NULL: the text has none. */
static const char *find(const char *text, const char *heading)
{
    size_t n = strlen(heading);

    for (const char *at = text; (at = strstr(at, heading)) != NULL; at += n)
        if ((at == text || at[-1] == '\n') && (at[n] == '\n' || at[n] == '\0')) return at;
    return NULL;
}

/* The end of the section that begins at `at`: the next heading of its level, or the text's. */
static const char *end_of(const char *at)
{
    const char *next = strstr(at + 1, "\n## ");

    return next != NULL ? next + 1 : at + strlen(at);
}

char *di_card_section(const di_alloc *al, const char *text, const char *heading)
{
    const char *at = find(text, heading);

    return at != NULL ? di_strndup(al, at, (size_t)(end_of(at) - at)) : NULL;
}

dial_status di_card_put(const di_alloc *al, char **text, const char *heading, const di_buf *body,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *at = find(*text, heading), *end = at != NULL ? end_of(at) : NULL, *whole;
    di_buf b;

    di_buf_init(&b, al);
    if (at == NULL) at = end = find(*text, "## Use");
    if (at == NULL) at = end = *text + strlen(*text);
    di_buf_append(&b, *text, (size_t)(at - *text));
    if (b.size > 0 && b.data[b.size - 1] != '\n') di_puts(&b, "\n");
    di_buf_printf(&b, "%s\n\n", heading);
    di_buf_append(&b, body->data, body->size);
    if (*end != '\0') di_puts(&b, "\n");
    di_puts(&b, end);
    DI_TRY(di_buf_status(body, err));
    DI_TRY(di_buf_status(&b, err));
    whole = di_buf_take(&b);
    di_free(al, *text);
    *text = (char *)(uintptr_t)whole;
done:
    di_buf_deinit(&b);
    return st;
}

/* ---- files ---- */

dial_status di_card_read(const di_alloc *al, const char *run, char **text, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, run, "README.md"), *card = di_path_join(al, run, "dial.json");
    size_t n;

    if (path == NULL || card == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (!di_exists(path) || !di_exists(card))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, run, "name a folder that dial train has written",
                   "expected a run with its card: there is no %s in it",
                   di_exists(card) ? "README.md" : "dial.json");
    DI_TRY(di_read_file(al, path, text, &n, err));
done:
    di_free(al, path);
    di_free(al, card);
    return st;
}

dial_status di_card_write(const di_alloc *al, const char *run, const char *text, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, run, "README.md");

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_write_file(al, path, text, strlen(text), err));
done:
    di_free(al, path);
    return st;
}

dial_status di_card_renew_results(const di_alloc *al, const char *run, const json_t *results,
                                  dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL, *was = NULL;
    di_buf body;

    di_buf_init(&body, al);
    DI_TRY(di_card_read(al, run, &text, err));
    was = di_card_section(al, text, DI_CARD_RESULTS);
    di_card_results(results, was, &body);
    DI_TRY(di_card_put(al, &text, DI_CARD_RESULTS, &body, err));
    DI_TRY(di_card_write(al, run, text, err));
done:
    di_buf_deinit(&body);
    di_free(al, text);
    di_free(al, was);
    return st;
}

dial_status di_card_renew_doctor(const di_alloc *al, const char *run, const json_t *doc,
                                 dial_error *err)
{
    dial_status st = DIAL_OK;
    char *text = NULL;
    di_buf body;

    di_buf_init(&body, al);
    DI_TRY(di_card_read(al, run, &text, err));
    di_card_doctor(doc, &body);
    DI_TRY(di_card_put(al, &text, DI_CARD_DOCTOR, &body, err));
    DI_TRY(di_card_write(al, run, text, err));
done:
    di_buf_deinit(&body);
    di_free(al, text);
    return st;
}
