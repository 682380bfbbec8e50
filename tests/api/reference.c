/*
 * RUN/reference.safetensors: the texts are those of its rows, each once, as the run's own model
 * embeds them; no label has a say in which they are.
 */
#include "test.h"

#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "dial/dial.h"
#include "model/safetensors.h"

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

/* Embeddings [2 ROWS, C] of a file's pairs under a run. */
static float *embed(const char *run, const char *file, int64_t width)
{
    dial_embed_options o;
    dial_error err;
    char *json = NULL;
    di_st s = {0};
    float *e = malloc((size_t)(2 * ROWS * width) * sizeof *e);

    assert_non_null(e);
    dial_options_default(dial_embed_table, &o, sizeof o);
    o.model = run;
    o.data = file;
    o.out = in_folder("e.safetensors");
    o.common.threads = 1;
    assert_ok(dial_embed(&o, NULL, &json, &err), err);
    dial_free(NULL, json);
    assert_ok(di_st_open(di_env_alloc(NULL), o.out, &s, &err), err);
    assert_ok(di_st_read_f32(&s, o.out, "embeddings", e, 2 * ROWS * width, &err), err);
    di_st_close(&s);
    return e;
}

/* Every row of `side` is one of the two texts of its row, and none stands twice. */
static void check_side(const di_st *s, const char *side, const float *e)
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
    }
}

static void rows_are_embedded_by_the_run(void **state)
{
    const char *source = TOY "/source.jsonl", *target = TOY "/target.jsonl", *run = in_folder("a");
    dial_train_options o = options_of(&source, &target, run);
    di_st s = {0};
    float *e;

    (void)state;
    train(&o);
    open_reference(run, &s);
    e = embed(run, source, di_st_find(&s, "source")->dim[1]);
    check_side(&s, "source", e);
    free(e);
    e = embed(run, target, di_st_find(&s, "target")->dim[1]);
    check_side(&s, "target", e);
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
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
