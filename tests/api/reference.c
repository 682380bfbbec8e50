/*
 * RUN/reference.safetensors: the texts are those of its rows, each once, as the run's own model
 * embeds them; no label has a say in which they are. --match-scale: on these texts the reward of a
 * run keeps mean and standard deviation from run to run, wherever it is read.
 */
#include "test.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "dial/dial.h"
#include "model/device.h"
#include "model/safetensors.h"
#include "serve/shift.h"

#define TOY TEST_DIR "/fixtures/toy"
enum { ROWS = 120 }; /* of the toy's source and target */

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int turn;
    char *out = path[turn++ % 4];

    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

/* The toy's defaults for a run of a fraction of a second. */
static dial_train_options options_of(const char **source, const char **target, const char *out)
{
    dial_train_options o;

    dial_options_default(dial_train_table, &o, sizeof o);
    o.base = TOY;
    o.source = (dial_list){source, 1};
    o.target = (dial_list){target, 1};
    o.out = out;
    o.method = "src-pref";
    o.steps = 12;
    o.lr = 1e-2;
    o.lora_r = 0;
    o.adaptor = "4";
    o.maps = 0;
    o.common.threads = 1;
    return o;
}

static void train(const dial_train_options *o)
{
    dial_error err;
    char *json = NULL;

    assert_ok(dial_train(o, NULL, &json, &err), err);
    dial_free(NULL, json);
}

static void open_reference(const char *run, di_st *s)
{
    char path[256];
    dial_error err;

    snprintf(path, sizeof path, "%s/reference.safetensors", run);
    assert_ok(di_st_open(di_env_alloc(NULL), path, s, &err), err);
}

/* Embeddings [2 rows, C] of a file's pairs under a run. */
static float *embed_rows(const char *run, const char *file, int64_t rows, int64_t width)
{
    dial_embed_options o;
    dial_error err;
    char *json = NULL;
    di_st s = {0};
    float *e = malloc((size_t)(2 * rows * width) * sizeof *e);

    assert_non_null(e);
    dial_options_default(dial_embed_table, &o, sizeof o);
    o.model = run;
    o.data = file;
    o.out = in_folder("e.safetensors");
    o.common.threads = 1;
    assert_ok(dial_embed(&o, NULL, &json, &err), err);
    dial_free(NULL, json);
    assert_ok(di_st_open(di_env_alloc(NULL), o.out, &s, &err), err);
    assert_ok(di_st_read_f32(&s, o.out, "embeddings", e, 2 * rows * width, &err), err);
    di_st_close(&s);
    return e;
}

static float *embed(const char *run, const char *file, int64_t width)
{
    return embed_rows(run, file, ROWS, width);
}

/* Every row of `side` is one of the two texts of its row, and none stands twice; which: at [n] of
 * the file's texts, n returned. */
static int64_t check_side(const di_st *s, const char *side, const float *e,
                          int64_t at_out[2 * ROWS])
{
    char name[32];
    const di_st_tensor *x = di_st_find(s, side), *r;
    int used[2 * ROWS] = {0};
    int64_t width;
    size_t bytes;

    snprintf(name, sizeof name, "%s_row", side);
    r = di_st_find(s, name);
    assert_non_null(x);
    assert_non_null(r);
    assert_int_equal(x->n_dims, 2);
    assert_string_equal(r->dtype_name, "I64");
    assert_int_equal(r->count, x->dim[0]);
    assert_true(x->dim[0] > ROWS && x->dim[0] <= 2 * ROWS); /* less than all: some texts repeat */
    width = x->dim[1];
    bytes = (size_t)width * sizeof *e;
    for (int64_t i = 0; i < x->dim[0]; i++) {
        const char *mine = (const char *)x->data + (size_t)i * bytes;
        int64_t row;
        int at;

        memcpy(&row, (const char *)r->data + (size_t)i * sizeof row, sizeof row);
        assert_in_range(row, 0, ROWS - 1);
        at = memcmp(mine, e + 2 * row * width, bytes) == 0 ? 0 : 1;
        assert_memory_equal(mine, e + (2 * row + at) * width, bytes);
        assert_false(used[2 * row + at]++);
        at_out[i] = 2 * row + at;
    }
    return x->dim[0];
}

static void rows_are_embedded_by_the_run(void **state)
{
    const char *source = TOY "/source.jsonl", *target = TOY "/target.jsonl", *run = in_folder("a");
    dial_train_options o = options_of(&source, &target, run);
    int64_t at[2 * ROWS];
    di_st s = {0};
    float *e;

    (void)state;
    train(&o);
    open_reference(run, &s);
    e = embed(run, source, di_st_find(&s, "source")->dim[1]);
    check_side(&s, "source", e, at);
    free(e);
    e = embed(run, target, di_st_find(&s, "target")->dim[1]);
    check_side(&s, "target", e, at);
    free(e);
    di_st_close(&s);
}

/* chosen and rejected of a file change places. */
static void swap_labels(const char *from, const char *to)
{
    static char line[8192];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");

    assert_non_null(in);
    assert_non_null(out);
    while (fgets(line, sizeof line, in) != NULL) {
        json_t *v = json_loads(line, 0, NULL), *chosen, *rejected;

        chosen = json_incref(json_object_get(v, "chosen"));
        rejected = json_incref(json_object_get(v, "rejected"));
        json_object_set_new(v, "chosen", rejected);
        json_object_set_new(v, "rejected", chosen);
        json_dumpf(v, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(v);
    }
    fclose(in);
    fclose(out);
}

static void labels_have_no_say(void **state)
{
    const char *source = TOY "/source.jsonl", *target = TOY "/target.jsonl";
    const char *turned = in_folder("turned.jsonl");
    dial_train_options o = options_of(&source, &target, in_folder("plain"));
    char *text[2];
    size_t n[2];
    dial_error err;

    (void)state;
    o.method = "base";
    train(&o);
    swap_labels(source, turned);
    o.source.item = &turned;
    o.out = in_folder("swapped");
    train(&o);
    assert_ok(di_read_file(di_env_alloc(NULL), in_folder("plain/reference.safetensors"), &text[0],
                           &n[0], &err),
              err);
    assert_ok(di_read_file(di_env_alloc(NULL), in_folder("swapped/reference.safetensors"), &text[1],
                           &n[1], &err),
              err);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(text[0], text[1], n[0]);
    di_free(di_env_alloc(NULL), text[0]);
    di_free(di_env_alloc(NULL), text[1]);
}

/* ---- rows that were held out ---- */

enum { TRAINED = 64, HELD_OUT = 128, FRESH = 128 };

/*
 * Rows from `from` on of one domain: each part is that of another row of the toy's file, by a
 * number of its own.
 */
static void write_rows(const char *path, const char *toy, int64_t from, int64_t n)
{
    static char line[8192];
    static const char *const part[] = {"prompt", "chosen", "rejected"};
    static const uint64_t prime[] = {2654435761u, 2246822519u, 3266489917u};
    FILE *in = fopen(toy, "r"), *out = fopen(path, "w");
    json_t *row[ROWS];

    assert_non_null(in);
    assert_non_null(out);
    for (int i = 0; i < ROWS; i++) {
        assert_non_null(fgets(line, sizeof line, in));
        row[i] = json_loads(line, 0, NULL);
    }
    for (int64_t i = from; i < from + n; i++) {
        json_t *v = json_object();

        for (int k = 0; k < 3; k++) {
            uint64_t at = ((uint64_t)i * prime[k] >> 7) % ROWS;

            json_object_set(v, part[k], json_object_get(row[at], part[k]));
        }
        json_dumpf(v, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(v);
    }
    for (int i = 0; i < ROWS; i++) json_decref(row[i]);
    fclose(in);
    fclose(out);
}

static void train_without_target(const char *run, const char *source, const char *held)
{
    dial_train_options o = options_of(&source, &source, run);

    o.target.n = 0;
    o.heldout_source = held;
    train(&o);
}

/* The monitor's p-value and A-distance of rows that no training saw. */
static di_shift_look look_at_fresh_rows(const char *run, const char *file)
{
    const di_alloc *al = di_env_alloc(NULL);
    di_shift_reference ref = {0};
    di_shift_look look = {0};
    di_device dev;
    dial_error err;
    di_st s = {0};
    int64_t width;
    float *e, *head;

    open_reference(run, &s);
    width = di_st_find(&s, "source")->dim[1];
    di_st_close(&s);
    e = embed_rows(run, file, FRESH, width);
    head = calloc((size_t)width, sizeof *head);
    head[0] = 1;
    for (int64_t i = 1; i < FRESH; i++) /* one text of a prompt, as a window has them */
        memcpy(e + i * width, e + (2 * i + i % 2) * width, (size_t)width * sizeof *e);
    assert_ok(di_device_open(al, NULL, "auto", "f32", 1, &dev, &err), err);
    assert_ok(di_shift_reference_open(al, run, width, &ref, &err), err);
    assert_ok(di_shift_compare(&dev, &ref, e, FRESH, head, 1, &look, &err), err);
    di_shift_reference_close(&ref);
    di_device_close(&dev);
    free(e);
    free(head);
    return look;
}

static const char *metadata(const char *run, const char *key)
{
    static char text[80];
    const char *v;
    di_st s = {0};

    open_reference(run, &s);
    v = json_string_value(json_object_get(s.metadata, key));
    snprintf(text, sizeof text, "%s", v != NULL ? v : "");
    di_st_close(&s);
    return text;
}

/*
 * The rows trained on are no sample of what comes later, here because they are of another domain;
 * those held out are. Compared with the former, what comes later has left the source (so the test
 * can fail); with the latter it has not.
 */
static void unshifted_rows_look_unshifted(void **state)
{
    static char source[128], held[128], fresh[128], run[3][128];
    di_shift_look l;
    int64_t n;
    di_st s = {0};

    (void)state;
    snprintf(source, sizeof source, "%s/other.jsonl", folder);
    snprintf(held, sizeof held, "%s/held.jsonl", folder);
    snprintf(fresh, sizeof fresh, "%s/fresh.jsonl", folder);
    for (int k = 0; k < 3; k++) snprintf(run[k], sizeof run[k], "%s/run%d", folder, k);
    write_rows(source, TOY "/target.jsonl", 0, TRAINED);
    write_rows(held, TOY "/source.jsonl", TRAINED, HELD_OUT);
    write_rows(fresh, TOY "/source.jsonl", TRAINED + HELD_OUT, FRESH);
    train_without_target(run[0], source, held);
    assert_string_equal(metadata(run[0], "source_rows"), "held-out file");
    l = look_at_fresh_rows(run[0], fresh);
    assert_true(l.mmd_p > 0.05);
    assert_true(l.a_ci.lo <= 0.2); /* where the monitor begins to call domains apart */
    train_without_target(run[1], source, "0%");
    assert_string_equal(metadata(run[1], "source_rows"), "trained on");
    l = look_at_fresh_rows(run[1], fresh);
    assert_true(l.mmd_p < 0.05);
    assert_true(l.a_ci.lo > 0.2);
    train_without_target(run[2], fresh, "60%"); /* of its own rows: 76 of 128 */
    assert_string_equal(metadata(run[2], "source_rows"), "held out");
    open_reference(run[2], &s);
    n = di_st_find(&s, "source")->dim[0];
    di_st_close(&s);
    assert_in_range(n, 76, 2 * 77);
}

/* ---- the scale of the reward ---- */

typedef struct scores {
    double r[2 * ROWS];
    int n;
} scores;

static int take_lines(void *ctx, const char *lines, size_t n)
{
    scores *x = ctx;

    for (const char *end, *at = lines; at < lines + n; at = end + 1) {
        json_t *v;

        end = memchr(at, '\n', (size_t)(lines + n - at));
        v = json_loadb(at, (size_t)(end - at), 0, NULL);
        x->r[x->n++] = json_number_value(json_object_get(v, "chosen"));
        x->r[x->n++] = json_number_value(json_object_get(v, "rejected"));
        json_decref(v);
    }
    return 0;
}

/* Rewards of a run's reference texts, as `dial score` gives them; n of them. */
static int64_t rewards(const char *run, double *r)
{
    const char *file = TOY "/source.jsonl";
    dial_score_options o;
    dial_error err;
    scores all = {.n = 0};
    char *json = NULL;
    int64_t at[2 * ROWS], n;
    di_st s = {0};
    float *e;

    dial_options_default(dial_score_table, &o, sizeof o);
    o.model = run;
    o.data = file;
    o.common.threads = 1;
    assert_ok(dial_score(&o, take_lines, &all, NULL, &json, &err), err);
    dial_free(NULL, json);
    assert_int_equal(all.n, 2 * ROWS);
    open_reference(run, &s);
    e = embed(run, file, di_st_find(&s, "source")->dim[1]);
    n = check_side(&s, "source", e, at);
    for (int64_t i = 0; i < n; i++) r[i] = all.r[at[i]];
    free(e);
    di_st_close(&s);
    return n;
}

static void moments(const double *r, int64_t n, double *mean, double *sd, double *most)
{
    *mean = *sd = 0;
    for (int64_t i = 0; i < n; i++) *mean += r[i] / (double)n;
    for (int64_t i = 0; i < n; i++) *sd += (r[i] - *mean) * (r[i] - *mean) / (double)n;
    for (int64_t i = 0; i < n; i++) *most = fmax(*most, fabs(r[i]));
    *sd = sqrt(*sd);
}

/* A run from `from`, at another rate, so that its own scale is another. */
static void adapt(const char *from, const char *out, int match)
{
    const char *target = TOY "/val.jsonl";
    dial_train_options o;
    dial_error err;
    char *kept = NULL;

    dial_options_default(dial_train_table, &o, sizeof o);
    assert_ok(dial_run_options_apply(from, &o, NULL, &kept, &err), err);
    o.resume_from = from;
    o.target = (dial_list){&target, 1};
    o.out = out;
    o.lr = 3e-2;
    o.match_scale = match;
    o.common.threads = 1;
    train(&o);
    dial_free(NULL, kept);
}

/*
 * A reward is an f32, off by at most u = 2^-24 of itself; means then differ by at most u max|r|,
 * standard deviations by as much, on either side of the comparison.
 */
static void the_scale_stays(void **state)
{
    const char *source = TOY "/source.jsonl", *target = TOY "/target.jsonl";
    const char *run[] = {"one", "two", "three", "free"};
    dial_train_options o = options_of(&source, &target, in_folder(run[0]));
    double r[4][2 * ROWS], mean[4], sd[4], most = 0;
    int64_t n[4];

    (void)state;
    train(&o);
    for (int k = 1; k < 3; k++) {
        char from[128];

        snprintf(from, sizeof from, "%s", in_folder(run[k - 1]));
        adapt(from, in_folder(run[k]), 1);
    }
    adapt(in_folder(run[0]), in_folder(run[3]), 0);
    for (int k = 0; k < 4; k++) {
        n[k] = rewards(in_folder(run[k]), r[k]);
        assert_int_equal(n[k], n[0]);
        moments(r[k], n[k], &mean[k], &sd[k], &most);
    }
    for (int k = 1; k < 3; k++) {
        assert_true(fabs(mean[k] - mean[0]) <= 2 * most * 0x1p-24);
        assert_true(fabs(sd[k] - sd[0]) <= 2 * most * 0x1p-24);
        assert_memory_not_equal(r[k], r[0], sizeof r[0]);
    }
    assert_true(fabs(sd[3] - sd[0]) > 1e-2 * sd[0]); /* without the flag it does not stay */
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-reference-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    return setenv("XDG_CACHE_HOME", in_folder("cache"), 1);
}

static int teardown(void **state)
{
    (void)state;
    return di_remove_tree(folder, NULL) == DIAL_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_embedded_by_the_run),
        cmocka_unit_test(labels_have_no_say),
        cmocka_unit_test(unshifted_rows_look_unshifted),
        cmocka_unit_test(the_scale_stays),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
