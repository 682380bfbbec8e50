/*
 * What an adaptation computes of its texts: each goes through the model once, for training, select
 * and doctor together; and what the training of the run before it has kept, not at all. Counted
 * where the passes tell their progress.
 */
#include "test.h"

#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "dial/dial.h"

#define TOY TEST_DIR "/fixtures/toy"
enum { ROWS = 60 };

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[8][128];
    static int turn;
    char *out = path[turn++ % 8];

    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

/* Texts that passes over the data have computed: not those that are made for a check. */
static void count_texts(void *ctx, const dial_progress *p)
{
    static const char *const others[] = {"train", "critic warm-up", "self-test",
                                         "exchanged prompts"};
    int64_t *texts = ctx;

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(p->what, others[i]) == 0) return;
    if (p->done == p->total) *texts += p->total;
}

/* Of the first ROWS rows. */
static int64_t distinct_texts(const char *path)
{
    static char text[2 * ROWS][600];
    FILE *f = fopen(path, "r");
    char line[2000];
    int64_t n = 0;

    assert_non_null(f);
    for (int r = 0; r < ROWS && fgets(line, sizeof line, f) != NULL; r++) {
        static const char *const keys[] = {"chosen", "rejected"};
        dial_error err;
        json_t *row = NULL;

        assert_ok(di_json_parse(line, strlen(line), path, 1, &row, &err), err);
        for (int k = 0; k < 2; k++) {
            int64_t i = 0;

            snprintf(text[n], sizeof text[n], "%s%s",
                     json_string_value(json_object_get(row, "prompt")),
                     json_string_value(json_object_get(row, keys[k])));
            while (strcmp(text[i], text[n]) != 0) i++;
            n += i == n;
        }
        json_decref(row);
    }
    fclose(f);
    return n;
}

/* A run on the source alone; layer, pooling: flags. */
static void train(const char *out, const char *layer, const char *pooling, const char *cache)
{
    const char *source = TOY "/source.jsonl";
    dial_train_options o;
    dial_error err;
    char *json = NULL;

    dial_options_default(dial_train_table, &o, sizeof o);
    o.base = TOY;
    o.source = (dial_list){&source, 1};
    o.out = out;
    o.method = "src-pref";
    o.layer = layer;
    o.pooling = pooling;
    o.steps = 8;
    o.batch_source = ROWS; /* a step is a pass over the source */
    o.lr = 1e-2;
    o.lora_r = 0;
    o.adaptor = "4";
    o.critic_warmup = 2;
    o.critic_widths = "8";
    o.maps = 0;
    o.trunk_cache = cache;
    o.common.threads = 1;
    o.common.limit = ROWS;
    assert_ok(dial_train(&o, NULL, &json, &err), err);
    dial_free(NULL, json);
}

/* Texts computed. */
static int64_t adapt(const char *run, const char *out, const char *const *flag, int64_t n)
{
    dial_adapt_options o;
    dial_error err;
    char *json = NULL;
    int64_t texts = 0;
    dial_env env = {.progress = count_texts, .ctx = &texts};

    dial_options_default(dial_adapt_table, &o, sizeof o);
    o.run = run;
    o.out = out;
    o.target = TOY "/target.jsonl";
    o.flag = (dial_list){(const char **)(uintptr_t)flag, n};
    assert_ok(dial_adapt(&o, &env, &json, &err), err);
    dial_free(NULL, json);
    return texts;
}

static const char *flag_of(const char *name, const char *value)
{
    static char text[2][160];
    static int turn;
    char *out = text[turn++ % 2];

    snprintf(out, sizeof text[0], "%s=%s", name, value);
    return out;
}

/* Nothing stored, and another view than the run's, which select and doctor read as well. */
static void a_text_once(void **state)
{
    const char *flag[] = {"layer=1", "pooling=mean", flag_of("trunk-cache", in_folder("empty"))};

    (void)state;
    train(in_folder("last"), "last", "last", in_folder("other"));
    assert_int_equal(adapt(in_folder("last"), in_folder("mean"), flag, 3),
                     distinct_texts(TOY "/source.jsonl") + distinct_texts(TOY "/target.jsonl"));
}

/* A run that could not choose has kept what a later choice reads of the source. */
static void an_open_choice_is_kept(void **state)
{
    (void)state;
    train(in_folder("open"), "auto", "auto", in_folder("kept"));
    assert_int_equal(adapt(in_folder("open"), in_folder("chosen"), NULL, 0),
                     distinct_texts(TOY "/target.jsonl"));
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dial-adapt-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return di_remove_tree(folder, NULL) != DIAL_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_once),
        cmocka_unit_test(an_open_choice_is_kept),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
