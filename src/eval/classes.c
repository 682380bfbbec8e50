#include "eval/classes.h"

#include <math.h>

#include "base/error.h"
#include "eval/metrics_internal.h"
#include "model/head.h"
#include "train/objective.h"

void di_class_logits(const float *w, int64_t classes, const float *e, int64_t n, int64_t width,
                     float *logit)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < classes; j++)
            logit[i * classes + j] = di_reward(w + j * width, e + i * width, width);
}

int64_t di_class_of(const float *logit, int64_t classes)
{
    int64_t best = 0;

    for (int64_t j = 1; j < classes; j++)
        if (logit[j] > logit[best]) best = j;
    return best;
}

dial_status di_class_check(const di_dataset *d, int64_t classes, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int64_t i = 0; i < d->n; i++) {
        const di_example *x = &d->example[i];
        double y = (double)x->score;

        if (x->kind == DI_ROW_SCORED && y >= 0 && y < (double)classes && y == floor(y)) continue;
        DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s:%lld:1", d->path, (long long)x->line),
                   "give rows whose score is a class of the training",
                   "missing_key: expected a class from 0 to %lld as the score, found %s",
                   (long long)classes - 1,
                   x->kind == DI_ROW_SCORED ? DI_FMT("%g", y) : "a row without a score");
    }
done:
    return st;
}

/* Of each class: rows that have it, answers that name it, rows of which both are true. */
typedef struct tally {
    int64_t label, answer, both;
} tally;

static dial_status count(const di_dataset *d, const float *logit, int64_t classes, tally *t,
                         double *loss, dial_error *err)
{
    dial_status st = DIAL_OK;

    *loss = 0;
    for (int64_t i = 0; i < d->n; i++) {
        const di_example *x = &d->example[i];
        const float *z = logit + di_row_text(d, i, 0) * classes;
        int64_t answer = di_class_of(z, classes), label = (int64_t)x->score;

        for (int64_t j = 0; j < classes; j++)
            if (!isfinite(z[j]))
                DI_FAIL_AT(err, DIAL_ERR_NUMERIC, DI_FMT("%s:%lld", d->path, (long long)x->line),
                           "try --dtype f32; check the weights with `dial info --verify`",
                           "logit %lld of row %lld is not finite", (long long)j, (long long)x->row);
        *loss +=
            di_ce_loss(&(di_ce_args){.z = z, .y = &x->score, .n = 1, .classes = classes}).loss /
            (double)d->n;
        t[label].label++;
        t[answer].answer++;
        t[label].both += label == answer;
    }
done:
    return st;
}

static json_t *class_json(const tally *t, int64_t j)
{
    double tp = (double)t[j].both, labels = (double)t[j].label, answers = (double)t[j].answer;

    return json_pack("{s:I,s:I,s:o,s:o,s:o}", "class", (json_int_t)j, "n", (json_int_t)t[j].label,
                     "precision", di_stat_or_null(tp / answers, answers > 0), "recall",
                     di_stat_or_null(tp / labels, labels > 0), "f1",
                     di_stat_or_null(2 * tp / (labels + answers), labels + answers > 0));
}

dial_status di_eval_classes(const di_alloc *al, const di_dataset *d, const char *name,
                            const float *logit, int64_t classes, double seconds, int64_t tokens,
                            json_t **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    tally *t = di_new_array(al, (size_t)classes, sizeof *t);
    double n = (double)d->n, correct = 0, most = 0, f1 = 0, seen = 0, loss;
    json_t *o = NULL, *list = json_array();
    int failed = 0;

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to evaluate '%s'", d->path);
    DI_TRY(di_class_check(d, classes, err));
    for (int64_t j = 0; j < classes; j++) t[j] = (tally){0};
    DI_TRY(count(d, logit, classes, t, &loss, err));
    for (int64_t j = 0; j < classes; j++) {
        double either = (double)(t[j].label + t[j].answer);

        correct += (double)t[j].both;
        most = fmax(most, (double)t[j].label);
        if (either > 0) f1 += 2 * (double)t[j].both / either;
        seen += either > 0;
        di_json_add(list, class_json(t, j), &failed);
    }
    o = json_pack("{s:s,s:s,s:s,s:s,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:O}", "name", name, "file",
                  d->path, "sha256", d->sha256, "kind", "classes", "n", (json_int_t)d->n, "rows",
                  di_row_counts_to_json(&d->counts), "accuracy", di_json_stat(correct / n), "ci95",
                  di_interval_json(di_wilson(correct, n, DI_Z95)), "macro_f1",
                  di_json_stat(f1 / seen), "majority", di_json_stat(most / n), "loss",
                  di_json_stat(loss), "correct", di_json_stat(correct), "classes", list);
    if (o != NULL) di_put_speed(d, seconds, tokens, o, &failed);
    if (failed || o == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result of '%s'", name);
    *out = o;
    o = NULL;
done:
    di_free(al, t);
    json_decref(o);
    json_decref(list);
    return st;
}
