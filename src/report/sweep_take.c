/* From a run folder into the store of a sweep. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "report/collect.h"
#include "report/sweep.h"

enum { MAX_SETS = 64 };

/* Accuracies of a set at the checkpoints of the run: [[step, accuracy], ...]. */
static json_t *along(const di_run *r, const char *set, int *failed)
{
    json_t *list = json_array();
    const json_t *save, *e;
    size_t i, k;

    json_array_foreach (r->saves, i, save)
        json_array_foreach (r->evals, k, e) {
            double a = di_num(e, "result.accuracy");

            if (di_num(e, "step") != di_num(save, "step") || json_is_true(di_at(e, "final")) ||
                strcmp(di_text_at(e, "name"), set) != 0 || !isfinite(a))
                continue;
            di_json_add(list, json_pack("[o,o]", di_json_stat(di_num(e, "step")), di_json_stat(a)),
                        failed);
            break;
        }
    return list;
}

/* The numbers of a save's validators; lists (the loss of each row) stay in the run. */
static json_t *scalars_of(const json_t *validators, int *failed)
{
    json_t *o = json_object(), *v;
    const char *key;

    json_object_foreach ((json_t *)(uintptr_t)validators, key, v)
        if (!json_is_array(v) && !json_is_object(v)) di_json_put(o, key, json_incref(v), failed);
    return o;
}

static json_t *facts_of(const di_run *r)
{
    json_t *o = json_object(), *sets = json_object(), *v, *save;
    double chosen = di_num(r->end, "selected_step");
    const char *name;
    size_t i;
    int failed = 0;

    di_json_put(o, "seconds", di_json_stat(r->seconds), &failed);
    di_json_put(o, "steps", di_json_stat(di_num(r->end, "steps")), &failed);
    di_json_put(o, "selected_step", di_json_stat(chosen), &failed);
    json_array_foreach (r->saves, i, save)
        if (di_num(save, "step") == chosen && json_is_object(di_at(save, "validators")))
            di_json_put(o, "validators", scalars_of(di_at(save, "validators"), &failed), &failed);
    json_object_foreach (r->final, name, v)
        di_json_put(sets, name, along(r, name, &failed), &failed);
    di_json_put(o, "along", sets, &failed);
    di_json_put(o, "warnings", json_integer((json_int_t)json_array_size(di_at(r->end, "warnings"))),
                &failed);
    return di_json_whole(o, failed);
}

static uint8_t halves(const di_score_row *r)
{
    return r->chosen > r->rejected ? 2 : r->chosen < r->rejected ? 0 : 1;
}

static dial_status take_set(const di_run *r, const char *name, const json_t *result,
                            di_store_result *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *kind = di_text_at(result, "kind");
    uint8_t *credit = NULL;
    uint64_t *text = NULL;
    di_scores s;

    DI_TRY(di_run_scores(r, name, &s, err));
    if (s.n > 0) {
        credit = di_new_array(r->al, (size_t)s.n, sizeof *credit);
        text = di_new_array(r->al, (size_t)s.n, 3 * sizeof *text);
        if (credit == NULL || text == NULL)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the scores of '%s'", name);
        for (int64_t i = 0; i < s.n; i++) {
            credit[i] = halves(&s.row[i]);
            text[3 * i] = s.row[i].text[0];
            text[3 * i + 1] = s.row[i].text[1];
            text[3 * i + 2] = s.row[i].prompt;
        }
    }
    *out = (di_store_result){.name = name,
                             .kind = kind != NULL ? kind : "",
                             .n = s.n > 0 ? s.n : (int64_t)di_num(result, "n"),
                             .accuracy = di_num(result, "accuracy"),
                             .result = result,
                             .credit = credit,
                             .text = text};
    credit = NULL;
    text = NULL;
done:
    di_free(r->al, s.row);
    di_free(r->al, credit);
    di_free(r->al, text);
    return st;
}

dial_status di_sweep_take(const di_alloc *al, di_store *store, const char *key, const char *dir,
                          const char *label, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_run r = {.al = NULL};
    di_store_result set[MAX_SETS] = {{.name = NULL}};
    json_t *facts = NULL, *result;
    const char *name;
    int n = 0;

    DI_TRY(di_run_open(al, dir, &r, err));
    facts = facts_of(&r);
    if (facts == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the run '%s'", dir);
    json_object_foreach (r.final, name, result)
        if (n < MAX_SETS) {
            DI_TRY(take_set(&r, name, result, &set[n], err));
            n++;
        }
    DI_TRY(di_store_put(store,
                        &(di_store_run){.run = key,
                                        .dir = dir,
                                        .label = label,
                                        .method = r.method,
                                        .seed = r.seed,
                                        .status = "done",
                                        .seconds = r.seconds,
                                        .facts = facts},
                        set, n, err));
done:
    for (int k = 0; k < n; k++) {
        di_free(al, (void *)(uintptr_t)set[k].credit);
        di_free(al, (void *)(uintptr_t)set[k].text);
    }
    json_decref(facts);
    di_run_close(&r);
    return st;
}

dial_status di_sweep_take_failed(di_store *store, const char *key, const char *dir,
                                 const char *label, const char *method, int64_t seed,
                                 const char *error, dial_error *err)
{
    return di_store_put(store,
                        &(di_store_run){.run = key,
                                        .dir = dir,
                                        .label = label,
                                        .method = method,
                                        .seed = seed,
                                        .status = "failed",
                                        .error = error},
                        NULL, 0, err);
}
