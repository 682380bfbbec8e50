/*
 * Writes run folders like those of `dial train`, with a planted effect: texts have a quality, a
 * model sees it through noise, and the less noise the better it ranks. Used by the report's tests.
 */
#ifndef DIAL_RUN_FIXTURE_H
#define DIAL_RUN_FIXTURE_H

#include "test.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "eval/metrics.h"
#include "model/safetensors.h"

typedef struct run_fixture {
    const char *method;
    int seed;
    double noise;  /* of the rewards on the target; smaller is better */
    double w1_end; /* last distance; the first is 6; < 0: no critic */
    double mixed;  /* 0: domains apart in the last map, 1: one cloud */
    int scores, maps, finished;
    int64_t selected;
    const char *warning; /* code, or NULL */
} run_fixture;

enum { FIX_TEXTS = 120, FIX_PAIRS = 600, FIX_STEPS = 800, FIX_MAP = 60, FIX_WIDTH = 24 };

/* A folder of its own under the build's temporary place; removed by fixture_remove. */
static char fixture_dir[64];

static void fixture_make(void)
{
    strcpy(fixture_dir, "/tmp/dial-report-XXXXXX");
    assert_non_null(mkdtemp(fixture_dir));
}

static void fixture_remove(void)
{
    dial_error err;

    assert_ok(di_remove_tree(fixture_dir, &err), err);
}

static char *fixture_path(char buf[256], const char *run, const char *file)
{
    snprintf(buf, 256, "%s/%s%s%s", fixture_dir, run, *file != '\0' ? "/" : "", file);
    return buf;
}

/* The evaluation set: FIX_PAIRS pairs of FIX_TEXTS texts; longer texts tend to be better. */
typedef struct fixture_set {
    di_dataset d;
    di_seq seq[FIX_TEXTS];
    di_example example[FIX_PAIRS];
    int32_t text_of[2 * FIX_PAIRS];
    double quality[FIX_TEXTS];
    float reward[FIX_TEXTS];
} fixture_set;

static void fixture_data(fixture_set *t, const char *name, uint32_t stream)
{
    static char path[64];
    di_rng r = di_rng_make(1, DI_RNG_WEIGHTS, stream);

    memset(t, 0, sizeof *t);
    snprintf(path, sizeof path, "data/%s_test.jsonl", name);
    t->d = (di_dataset){.path = path,
                        .example = t->example,
                        .n = FIX_PAIRS,
                        .text_of = t->text_of,
                        .seq = t->seq,
                        .n_seq = FIX_TEXTS};
    snprintf(t->d.sha256, sizeof t->d.sha256, "%064x", stream);
    t->d.counts = (di_row_counts){.read = FIX_PAIRS, .used = FIX_PAIRS, .prompt_truncated = 3};
    for (int i = 0; i < FIX_TEXTS; i++) {
        t->quality[i] = di_rng_normal(&r);
        t->seq[i].words = (int32_t)(40 * exp(0.25 * t->quality[i] + 0.35 * di_rng_normal(&r)));
        t->seq[i].chars = 6 * t->seq[i].words;
        t->seq[i].n = 2 * t->seq[i].words;
        t->seq[i].hash = di_rng_u64(&r) | 1;
        t->seq[i].prompt_hash = (uint64_t)(i % 7);
    }
    for (int i = 0; i < FIX_PAIRS; i++) {
        int32_t a = (int32_t)di_rng_below(&r, FIX_TEXTS), b;

        do b = (int32_t)di_rng_below(&r, FIX_TEXTS);
        while (b == a);
        t->text_of[2 * i] = t->quality[a] > t->quality[b] ? a : b;
        t->text_of[2 * i + 1] = t->quality[a] > t->quality[b] ? b : a;
        t->example[i] = (di_example){.kind = DI_ROW_PAIR,
                                     .first = 2 * i,
                                     .n_texts = 2,
                                     .weight = 1,
                                     .length_matched = -1,
                                     .row = i,
                                     .line = i + 1};
    }
}

/* Two thirds of the noise are common to all models, so that their errors are alike, not equal. */
static void fixture_rewards(fixture_set *t, double noise, uint32_t stream)
{
    di_rng all = di_rng_make(2, DI_RNG_WEIGHTS, 7),
           own = di_rng_make(2, DI_RNG_WEIGHTS, 100 + stream);

    for (int i = 0; i < FIX_TEXTS; i++)
        t->reward[i] = (float)(t->quality[i] +
                               noise * (0.8 * di_rng_normal(&all) + 0.6 * di_rng_normal(&own)));
}

static json_t *fixture_result(const fixture_set *t, const char *name)
{
    di_eval_options opt = di_eval_options_default();
    json_t *out = NULL;
    dial_error err;

    opt.draws = 300;
    assert_ok(di_eval_result(di_alloc_default(), &t->d, name, t->reward, &opt, 3, -1, &out, &err),
              err);
    return out;
}

static void fixture_line(FILE *f, json_t *line)
{
    assert_non_null(line);
    json_dumpf(line, f, JSON_COMPACT);
    fputc('\n', f);
    json_decref(line);
}

static void fixture_steps(FILE *f, const run_fixture *x, uint32_t stream)
{
    di_rng r = di_rng_make(3, DI_RNG_WEIGHTS, stream);

    for (int s = 1; s <= FIX_STEPS; s++) {
        double decay = exp(-s / 220.0);
        json_t *line = json_pack("{s:s,s:i,s:f,s:f,s:i,s:f,s:f}", "event", "step", "step", s,
                                 "epoch", s / 400.0, "seconds", 0.31, "tokens", 2048, "loss_source",
                                 0.42 + 0.30 * decay + 0.09 * di_rng_normal(&r), "accuracy",
                                 0.8 - 0.25 * decay);

        if (x->w1_end >= 0) {
            json_object_set_new(
                line, "w1",
                json_real(x->w1_end + (6 - x->w1_end) * decay + 0.5 * di_rng_normal(&r)));
            json_object_set_new(
                line, "gp",
                json_real(0.08 + 0.4 * exp(-s / 60.0) + 0.02 * fabs(di_rng_normal(&r))));
        }
        fixture_line(f, line);
    }
}

static void fixture_saves(FILE *f, uint32_t stream)
{
    di_rng r = di_rng_make(4, DI_RNG_WEIGHTS, stream);

    for (int k = 1; k <= 10; k++)
        fixture_line(f,
                     json_pack("{s:s,s:i,s:s,s:{s:f,s:f}}", "event", "save", "step", 80 * k, "path",
                               "checkpoints/x", "validators", "source_loss",
                               0.47 + 0.22 * exp(-k / 2.5) + 0.004 * k + 0.004 * di_rng_normal(&r),
                               "source_accuracy", 0.78 - 0.2 * exp(-k / 2.5)));
}

static void fixture_scores(const fixture_set *t, const char *run, const char *name)
{
    char path[256], file[64];
    FILE *f;

    snprintf(file, sizeof file, "scores/%s.jsonl", name);
    f = fopen(fixture_path(path, run, file), "w");
    assert_non_null(f);
    for (int i = 0; i < FIX_PAIRS; i++) {
        char hex[2][20];
        int32_t a = t->text_of[2 * i], b = t->text_of[2 * i + 1];

        snprintf(hex[0], sizeof hex[0], "%016llx", (unsigned long long)t->seq[a].hash);
        snprintf(hex[1], sizeof hex[1], "%016llx", (unsigned long long)t->seq[b].hash);
        fixture_line(f, json_pack("{s:i,s:n,s:f,s:f,s:[s,s]}", "i", i, "id", "chosen",
                                  (double)t->reward[a], "rejected", (double)t->reward[b], "texts",
                                  hex[0], hex[1]));
    }
    fclose(f);
}

/* Axis 0 parts the domains, axis 1 the preference; with `learned` the second grows. */
static void fixture_map(const char *run, int step, double mixed, double learned, const char *set)
{
    static float e[2][2 * FIX_MAP * FIX_WIDTH];
    char path[256], file[64], name[2][64], number[16], epoch[16];
    di_rng r = di_rng_make(6, DI_RNG_WEIGHTS, 0);
    di_st_entry entry[2];
    json_t *meta;
    dial_error err;

    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 2 * FIX_MAP; i++)
            for (int j = 0; j < FIX_WIDTH; j++)
                e[k][i * FIX_WIDTH + j] =
                    (float)(di_rng_normal(&r) + (j == 0 && k == 1 ? 9 * (1 - mixed) : 0) +
                            (j == 1 ? (i % 2 == 0 ? learned : -learned) : 0));
        snprintf(name[k], sizeof name[k], "%s.embeddings", k == 0 ? "source" : set);
        entry[k] = (di_st_entry){name[k], "F32", {2 * FIX_MAP, FIX_WIDTH}, 2, e[k], sizeof e[k]};
    }
    snprintf(file, sizeof file, "maps/step-%08d.safetensors", step);
    snprintf(number, sizeof number, "%d", step);
    snprintf(epoch, sizeof epoch, "%g", step / 200.0);
    meta = json_pack("{s:s,s:s}", "step", number, "epoch", epoch);
    assert_ok(di_st_write(di_alloc_default(), fixture_path(path, run, file), entry, 2, meta, &err),
              err);
    json_decref(meta);
}

static json_t *fixture_counts(int n)
{
    return json_pack("{s:i,s:i,s:{},s:i,s:i,s:i,s:i,s:i,s:i}", "read", n, "bad", 0, "bad_by",
                     "identical", 2, "identical_after_truncation", 0, "overlong_dropped", 0,
                     "prompt_truncated", 5, "response_truncated", 0, "used", n - 2);
}

/* metrics.jsonl with the evaluations of `name`, and what x asks for beside it. */
static void fixture_run(const run_fixture *x, const char *run, const char *name)
{
    static fixture_set t;
    char path[256];
    uint32_t stream = (uint32_t)(10 * x->seed + (int)strlen(x->method));
    dial_error err;
    FILE *f;
    json_t *result;

    assert_ok(di_make_dirs(fixture_path(path, run, "scores"), &err), err);
    assert_ok(di_make_dirs(fixture_path(path, run, "maps"), &err), err);
    fixture_data(&t, name, 5);
    f = fopen(fixture_path(path, run, "metrics.jsonl"), "w");
    assert_non_null(f);
    fixture_line(f, json_pack("{s:s,s:{s:s,s:s,s:i,s:f,s:f,s:[s]}}", "event", "start", "flags",
                              "method", x->method, "base", "models/SmolLM2-135M", "seed", x->seed,
                              "lr", 1e-4, "lambda", x->w1_end >= 0 ? 0.01 : 0.0, "source",
                              "data/en_train.jsonl"));
    fixture_steps(f, x, stream);
    fixture_saves(f, stream);
    for (int k = 1; k <= 4; k++) {
        fixture_rewards(&t, x->noise + 2.0 / k, stream);
        fixture_line(f, json_pack("{s:s,s:i,s:s,s:o}", "event", "eval", "step", 200 * k, "name",
                                  name, "result", fixture_result(&t, name)));
    }
    fixture_rewards(&t, x->noise, stream);
    result = fixture_result(&t, name);
    if (x->warning != NULL)
        fixture_line(f, json_pack("{s:s,s:s}", "event", "warn", "code", x->warning));
    if (x->finished)
        fixture_line(f, json_pack("{s:s,s:s,s:i,s:s,s:{s:O},s:{s:o,s:o},s:[]}", "event", "end",
                                  "method", x->method, "selected_step", (int)x->selected,
                                  "selected_by", "earliest", "eval", name, result, "rows", "source",
                                  fixture_counts(516), "target", fixture_counts(900), "warnings"));
    else
        fixture_line(f, json_pack("{s:s,s:i,s:s,s:O}", "event", "eval", "step", FIX_STEPS, "name",
                                  name, "result", result));
    json_decref(result);
    fputs("{\"event\":\"step\",\"st", f); /* a kill cut this line short */
    fclose(f);
    if (x->finished) {
        f = fopen(fixture_path(path, run, "dial.json"), "w");
        fixture_line(f, json_pack("{s:s,s:{s:s},s:{s:s},s:i,s:{s:s},s:{s:i,s:s}}", "schema",
                                  "dial.run/1", "base", "path", "models/SmolLM2-135M", "method",
                                  "name", x->method, "seed", x->seed, "data", "target_labels",
                                  strncmp(x->method, "oracle", 6) == 0 ? "read" : "dropped",
                                  "progress", "selected_step", (int)x->selected, "selected_by",
                                  "earliest"));
        fclose(f);
    }
    if (x->scores) fixture_scores(&t, run, name);
    if (x->maps) {
        fixture_map(run, 0, 0, 0.3, name);
        fixture_map(run, (int)x->selected, x->mixed, 2.2, name);
        if (x->maps > 1) { /* epochs on the way, one of them behind the choice */
            fixture_map(run, 200, x->mixed / 2, 1, name);
            fixture_map(run, 800, x->mixed, 2.2, name);
        }
    }
}

#endif
