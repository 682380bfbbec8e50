/*
 * Validate the validators (method.md 9): over the runs of a sweep, Spearman's correlation of each
 * validator of the chosen checkpoint with the accuracy on the target. Runs that read target labels
 * are left out, and so are sweeps that vary the files: accuracies of different data do not rank.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "eval/select.h"
#include "eval/stats.h"
#include "report/collect.h"
#include "report/markup.h"
#include "report/sweep.h"

enum { LEAST_RUNS = 6 };

static int reads_no_target_label(const json_t *run)
{
    const char *method = di_text_at(run, "flags.method");

    return method != NULL && strcmp(method, "base") != 0 && strncmp(method, "oracle", 6) != 0;
}

dial_status di_sweep_validators(const di_alloc *al, const json_t *plan, const json_t *runs,
                                json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *named = di_text_at(plan, "target_set"), *set = named != NULL ? named : "target";
    size_t room = json_array_size(runs) + 1, i;
    di_ranked *c = di_new_array(al, room, sizeof *c);
    double *accuracy = di_new_array(al, room, sizeof *accuracy), rho;
    json_t *all = json_object(), *ci;
    const json_t *run;
    const char *name;
    int64_t n = 0, used;
    int failed = 0;
    di_interval range;

    *out = json_null();
    if (c == NULL || accuracy == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validators");
    json_array_foreach (runs, i, run) {
        double x = di_num(di_at(run, "eval"), set);

        if (!json_is_object(di_at(run, "validators")) || !isfinite(x) ||
            !reads_no_target_label(run))
            continue;
        c[n].v = di_validators_from_json(di_at(run, "validators"));
        accuracy[n++] = x;
    }
    if (n < LEAST_RUNS || json_object_size(di_at(plan, "vary")) > 0) goto done;
    for (int k = 0; (name = di_select_criterion(k)) != NULL; k++) {
        DI_TRY(di_select_spearman(al, c, n, accuracy, k, &rho, &used, err));
        ci = isfinite(rho) && di_fisher(rho, used, DI_CORR_SPEARMAN, &range)
                 ? json_pack("[o,o]", di_json_stat(range.lo), di_json_stat(range.hi))
                 : json_null();
        di_json_put(
            all, name,
            json_pack("{s:o,s:I,s:o}", "rho", di_json_stat(rho), "n", (json_int_t)used, "ci95", ci),
            &failed);
    }
    *out = failed ? NULL
                  : json_pack("{s:s,s:I,s:O}", "set", set, "runs", (json_int_t)n, "spearman", all);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for validators");
done:
    di_free(al, c);
    di_free(al, accuracy);
    json_decref(all);
    return st;
}

json_t *di_sweep_validator_rows(const json_t *doc)
{
    json_t *rows = json_pack("[[s,s,s,s]]", "validator", "Spearman", "95% interval", "runs"), *v;
    const char *name;
    int failed = rows == NULL;

    json_object_foreach (di_at(doc, "validators.spearman"), name, v) {
        const json_t *ci = di_at(v, "ci95");

        if (!isfinite(di_num(v, "rho"))) continue;
        di_json_add(rows,
                    json_pack("[s,s,s,s]", name, DI_FMT("%+.2f", di_num(v, "rho")),
                              json_is_array(ci) ? DI_FMT("%+.2f to %+.2f",
                                                         json_number_value(json_array_get(ci, 0)),
                                                         json_number_value(json_array_get(ci, 1)))
                                                : "-",
                              DI_DECIMAL(di_num(v, "n"), 0)),
                    &failed);
    }
    return di_json_whole(rows, failed);
}

void di_sweep_validator_words(const json_t *doc, di_buf *out)
{
    di_buf_printf(out,
                  "Spearman's correlation of each validator, which reads no target label, with the "
                  "accuracy on this set over %.0f runs, with the sign at which 1 is right; 0 is "
                  "guessing. Runs of one method are alike, so the intervals are too narrow; w1 "
                  "flatters the method that minimises it.",
                  di_num(doc, "validators.runs"));
}
