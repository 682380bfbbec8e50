/* PEFT adapters: what peft wrote is read to the bit, what dial writes is read back, the rest is
 * refused. */
#include "files.h"

#include "model/lora.h"
#include "model/safetensors.h"

#define MODELS TEST_DIR "/fixtures/models/"

enum { QV = 1U << DI_Q_PROJ | 1U << DI_V_PROJ, ALL = (1U << DI_LINEAR_COUNT) - 1 };

/* The shapes of models/NAME (tests/fixtures/make_models.py). */
typedef struct fixture {
    const char *name, *adapter;
    di_config config;
    unsigned targets;
    int64_t first, end;
} fixture;

#define SHAPE(c, f, l, d)                                                                          \
    {                                                                                              \
        .vocab = 97, .width = c, .mlp = f, .layers = l, .heads = 4, .kv_heads = 2, .head_dim = d   \
    }
static const fixture FIXTURES[] = {
    {"llama", "adapter", SHAPE(32, 44, 3, 8), ALL, 0, 3},
    {"llama", "adapter_top", SHAPE(32, 44, 3, 8), QV, 1, 3},
    {"llama_rope3", "adapter", SHAPE(28, 40, 2, 16), QV, 0, 2},
    {"mistral", "adapter", SHAPE(24, 42, 2, 6), QV, 0, 2},
    {"qwen2", "adapter", SHAPE(32, 40, 3, 8), QV, 0, 3},
    {"qwen3", "adapter", SHAPE(24, 41, 2, 10), ALL, 0, 2},
    {"gemma", "adapter", SHAPE(24, 40, 2, 8), QV, 0, 2},
    {"gemma2", "adapter", SHAPE(24, 40, 4, 8), ALL, 0, 4},
    {"gemma3_text", "adapter", SHAPE(24, 40, 6, 8), QV, 0, 6},
};
enum { N_FIXTURES = sizeof FIXTURES / sizeof *FIXTURES };

static void folder_of(const fixture *f, char path[512])
{
    snprintf(path, 512, "%s%s/%s", MODELS, f->name, f->adapter);
}

static dial_status open_adapter(const di_alloc *al, const char *dir, const di_config *c,
                                di_params *p, dial_error *err)
{
    di_lora_options o;
    dial_status st = di_adapter_read_config(al, dir, c, &o, err);

    if (st == DIAL_OK) st = di_params_init(p, al, c, &o, err);
    if (st == DIAL_OK) st = di_adapter_load(al, dir, p, err);
    return st;
}

static void reads_what_peft_wrote(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIXTURES; i++) {
        const fixture *f = &FIXTURES[i];
        char dir[512], file[600];
        dial_error err = {0};
        di_params p;
        di_st st;

        folder_of(f, dir);
        assert_ok(open_adapter(di_alloc_default(), dir, &f->config, &p, &err), err);
        assert_int_equal(p.lora.r, 4);
        assert_true(p.lora.alpha == 8);
        assert_int_equal(p.lora.rslora, 0);
        assert_int_equal(p.lora.targets, f->targets);
        assert_int_equal(p.lora.first_layer, f->first);
        assert_int_equal(p.lora.end_layer, f->end);
        snprintf(file, sizeof file, "%s/adapter_model.safetensors", dir);
        assert_ok(di_st_open(di_alloc_default(), file, &st, &err), err);
        assert_int_equal(st.n, p.n); /* same names, so the loader missed none */
        for (int k = 0; k < p.n; k++) {
            const di_st_tensor *t = di_st_find(&st, p.param[k].name);

            assert_non_null(t);
            assert_memory_equal(t->data, p.theta + p.param[k].at, t->bytes);
        }
        di_st_close(&st);
        di_params_deinit(&p);
    }
}

/* interfaces.md 4.5, RT6: keys equal, tensors bit-equal, and the settings survive too. */
static void writes_what_it_reads(void **state)
{
    char dir[256];
    (void)state;

    make_temp_dir(dir);
    for (int i = 0; i < N_FIXTURES; i++) {
        const fixture *f = &FIXTURES[i];
        char from[512], to[300], a[600], b[600];
        dial_error err = {0};
        di_params p, q;
        di_st sa, sb;

        folder_of(f, from);
        snprintf(to, sizeof to, "%s/deeper/%d", dir, i);
        assert_ok(open_adapter(di_alloc_default(), from, &f->config, &p, &err), err);
        p.lora.rslora = i % 2;
        assert_ok(di_adapter_save(&p, to, "some/base", &err), err);
        assert_ok(open_adapter(di_alloc_default(), to, &f->config, &q, &err), err);
        assert_int_equal(q.lora.r, p.lora.r);
        assert_true(q.lora.alpha == p.lora.alpha);
        assert_int_equal(q.lora.rslora, p.lora.rslora);
        assert_int_equal(q.lora.targets, p.lora.targets);
        assert_int_equal(q.lora.first_layer, p.lora.first_layer);
        assert_int_equal(q.lora.end_layer, p.lora.end_layer);
        snprintf(a, sizeof a, "%s/adapter_model.safetensors", from);
        snprintf(b, sizeof b, "%s/adapter_model.safetensors", to);
        assert_ok(di_st_open(di_alloc_default(), a, &sa, &err), err);
        assert_ok(di_st_open(di_alloc_default(), b, &sb, &err), err);
        assert_string_equal(json_string_value(json_object_get(sb.metadata, "format")), "pt");
        assert_int_equal(sa.n, sb.n);
        for (size_t k = 0; k < sa.n; k++) {
            assert_string_equal(sa.tensor[k].name, sb.tensor[k].name);
            assert_string_equal(sb.tensor[k].dtype_name, "F32");
            assert_int_equal(sb.tensor[k].n_dims, 2);
            assert_int_equal(sa.tensor[k].dim[0], sb.tensor[k].dim[0]);
            assert_int_equal(sa.tensor[k].dim[1], sb.tensor[k].dim[1]);
            assert_memory_equal(sa.tensor[k].data, sb.tensor[k].data, sa.tensor[k].bytes);
        }
        di_st_close(&sa);
        di_st_close(&sb);
        di_params_deinit(&p);
        di_params_deinit(&q);
    }
    remove_temp_dir(dir);
}

/* Every key that peft 0.21 writes for a LoRA reward model and that changes what it computes. */
static void settings_are_those_of_peft(void **state)
{
    char dir[256], file[300], peft[512];
    dial_error err = {0};
    json_t *mine, *theirs;
    di_params p;
    const char *key;
    json_t *v;
    (void)state;

    make_temp_dir(dir);
    snprintf(peft, sizeof peft, "%sllama/adapter_top", MODELS);
    assert_ok(open_adapter(di_alloc_default(), peft, &FIXTURES[1].config, &p, &err), err);
    assert_ok(di_adapter_save(&p, dir, "tests/fixtures/models/llama", &err), err);
    snprintf(file, sizeof file, "%s/adapter_config.json", dir);
    assert_ok(di_json_read(di_alloc_default(), file, &mine, &err), err);
    snprintf(peft, sizeof peft, "%sllama/adapter_top/adapter_config.json", MODELS);
    assert_ok(di_json_read(di_alloc_default(), peft, &theirs, &err), err);
    assert_int_equal(json_object_size(mine), 18);
    json_object_foreach (mine, key, v) {
        json_t *w = json_object_get(theirs, key);

        if (strcmp(key, "target_modules") == 0) continue; /* a set: peft writes any order */
        if (!json_equal(v, w)) fail_msg("\"%s\" differs from what peft writes", key);
    }
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(mine, "target_modules"), 0)), "q_proj");
    json_decref(mine);
    json_decref(theirs);
    /* all layers: null, and no pattern; no base: null */
    p.lora.first_layer = 0;
    assert_ok(di_adapter_save(&p, dir, NULL, &err), err);
    assert_ok(di_json_read(di_alloc_default(), file, &mine, &err), err);
    assert_true(json_is_null(json_object_get(mine, "layers_to_transform")));
    assert_true(json_is_null(json_object_get(mine, "layers_pattern")));
    assert_true(json_is_null(json_object_get(mine, "base_model_name_or_path")));
    json_decref(mine);
    di_params_deinit(&p);
    remove_temp_dir(dir);
}

/* --- settings --------------------------------------------------------------------------------- */

static dial_status read_settings(const char *dir, const char *text, di_lora_options *o,
                                 dial_error *err)
{
    char path[300];

    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    write_file(path, text, strlen(text));
    return di_adapter_read_config(di_alloc_default(), dir, &FIXTURES[0].config, o, err);
}

#define LORA "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8"
#define QONLY LORA ",\"target_modules\":[\"q_proj\"]"

static void accepts_other_spellings(void **state)
{
    static const struct {
        const char *text;
        unsigned targets;
        int64_t first, end;
        float scale;
    } cases[] = {
        {QONLY "}", 1, 0, 3, 2},
        {LORA ",\"target_modules\":\"all-linear\"}", ALL, 0, 3, 2},
        {LORA ",\"target_modules\":[\"self_attn.v_proj\",\"q_proj\"]}", QV, 0, 3, 2},
        {QONLY ",\"use_rslora\":true}", 1, 0, 3, 4},
        {QONLY ",\"layers_to_transform\":[2,1],\"layers_pattern\":\"layers\"}", 1, 1, 3, 2},
        {QONLY ",\"layers_to_transform\":[1,2,1],\"layers_pattern\":[\"layers\"]}", 1, 1, 3, 2},
        {QONLY ",\"layers_to_transform\":0}", 1, 0, 1, 2},
        {QONLY ",\"layers_to_transform\":[]}", 1, 0, 3, 2},
        {QONLY ",\"rank_pattern\":{},\"alpha_pattern\":null,\"use_dora\":false}", 1, 0, 3, 2},
        {QONLY ",\"init_lora_weights\":\"gaussian\",\"a_key_of_the_future\":[1]}", 1, 0, 3, 2},
        {"{\"peft_type\":\"LORA\",\"r\":8,\"target_modules\":[\"q_proj\"]}", 1, 0, 3, 1},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":0.5,\"target_modules\":[\"q_proj\"]}", 1,
         0, 3, 0.125F},
        {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":8,\"target_modules\":[]}", 0, 0, 0, 0},
    };
    char dir[256];
    (void)state;

    make_temp_dir(dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dial_error err = {0};
        di_lora_options o;

        assert_ok(read_settings(dir, cases[i].text, &o, &err), err);
        assert_int_equal(o.targets, cases[i].targets);
        assert_int_equal(o.first_layer, cases[i].first);
        assert_int_equal(o.end_layer, cases[i].end);
        assert_true(di_lora_scale(&o) == cases[i].scale);
    }
    remove_temp_dir(dir);
}

static void refuses_what_it_cannot_compute(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{}", "peft_type"},
        {"[]", "peft_type"},
        {"{\"peft_type\":\"IA3\"}", "IA3"},
        {QONLY ",\"use_dora\":true}", "use_dora"},
        {QONLY ",\"lora_bias\":true}", "lora_bias"},
        {QONLY ",\"bias\":\"all\"}", "\"all\""},
        {QONLY ",\"rank_pattern\":{\"q_proj\":8}}", "rank_pattern"},
        {QONLY ",\"alpha_pattern\":{\"q_proj\":8}}", "alpha_pattern"},
        {QONLY ",\"fan_in_fan_out\":true}", "fan_in_fan_out"},
        {QONLY ",\"exclude_modules\":\"layers.0\"}", "exclude_modules"},
        {QONLY ",\"layer_replication\":[[0,2]]}", "layer_replication"},
        {QONLY ",\"trainable_token_indices\":[3]}", "trainable_token_indices"},
        {QONLY ",\"init_lora_weights\":\"pissa_niter_4\"}", "pissa_niter_4"},
        {QONLY ",\"layers_to_transform\":[0,2]}", "gaps"},
        {QONLY ",\"layers_to_transform\":[0,3]}", "entry 1"},
        {QONLY ",\"layers_to_transform\":[-1]}", "entry 0"},
        {QONLY ",\"layers_to_transform\":\"all\"}", "layers_to_transform"},
        {QONLY ",\"layers_to_transform\":[1],\"layers_pattern\":\"h\"}", "layers_pattern"},
        {LORA ",\"target_modules\":[]}", "target_modules"},
        {LORA ",\"target_modules\":[3]}", "target_modules"},
        {LORA ",\"target_modules\":[\"q_proj\",\"embed_tokens\"]}", "embed_tokens"},
        {LORA ",\"target_modules\":\".*q_proj\"}", ".*q_proj"},
        {LORA "}", "target_modules"},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":8,\"target_modules\":[\"q_proj\"]}", "\"r\""},
        {"{\"peft_type\":\"LORA\",\"r\":-1,\"target_modules\":[\"q_proj\"]}", "\"r\""},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":\"8\",\"target_modules\":[\"q_proj\"]}",
         "lora_alpha"},
    };
    char dir[256];
    (void)state;

    make_temp_dir(dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dial_error err = {0};
        di_lora_options o = {.r = 77};

        assert_input_error(read_settings(dir, cases[i].text, &o, &err), err, cases[i].part);
        assert_int_equal(o.r, 77); /* untouched */
        assert_non_null(strstr(err.where, "adapter_config.json"));
    }
    remove_temp_dir(dir);
}

/* --- tensors ---------------------------------------------------------------------------------- */

/* adapter_top without tensor `drop`, with `cut` one row short, with one more named `extra`. */
static dial_status load_changed(const char *dir, const char *drop, const char *cut,
                                const char *extra, dial_error *err)
{
    const di_alloc *al = di_alloc_default();
    const fixture *f = &FIXTURES[1];
    char from[512], path[600];
    di_lora_options o;
    di_params p;
    di_st st;
    di_st_entry entry[16];
    dial_status result;
    size_t n = 0;

    folder_of(f, from);
    assert_ok(di_adapter_read_config(al, from, &f->config, &o, err), *err);
    assert_ok(di_params_init(&p, al, &f->config, &o, err), *err);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", from);
    assert_ok(di_st_open(al, path, &st, err), *err);
    assert_true(st.n < 16);
    for (size_t i = 0; i < st.n; i++) {
        const di_st_tensor *t = &st.tensor[i];

        if (drop != NULL && strcmp(t->name, drop) == 0) continue;
        entry[n] = (di_st_entry){t->name, "F32", {t->dim[0], t->dim[1]}, 2, t->data, t->bytes};
        if (cut != NULL && strcmp(t->name, cut) == 0) {
            entry[n].bytes -= (size_t)t->dim[1] * 4;
            entry[n].dim[0]--;
        }
        n++;
    }
    if (extra != NULL) entry[n++] = (di_st_entry){extra, "F32", {1}, 1, st.tensor[0].data, 4};
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    assert_ok(di_st_write(al, path, entry, n, NULL, err), *err);
    di_st_close(&st);
    result = di_adapter_load(al, dir, &p, err);
    di_params_deinit(&p);
    return result;
}

static void refuses_a_file_that_does_not_fit(void **state)
{
    static const char *const b = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
    char dir[256];
    dial_error err = {0};
    (void)state;

    make_temp_dir(dir);
    assert_ok(load_changed(dir, NULL, NULL, NULL, &err), err);
    assert_input_error(load_changed(dir, "base_model.model.score.weight", NULL, NULL, &err), err,
                       "head was not saved");
    assert_non_null(strstr(err.message, "trl#1379"));
    assert_non_null(strstr(err.hint, "modules_to_save"));
    assert_input_error(load_changed(dir, b, NULL, NULL, &err), err, b);
    assert_input_error(load_changed(dir, NULL, b, NULL, &err), err,
                       "expected shape [32, 4], found [31, 4]");
    assert_non_null(strstr(err.message, b));
    /* two labels instead of one (OpenRLHF#872): the same message */
    assert_input_error(load_changed(dir, NULL, NULL, "base_model.model.score.bias", &err), err,
                       "score.bias");
    remove_temp_dir(dir);
}

static dial_status round_trip(void *arg, dial_error *err)
{
    char from[512];
    di_params p = {.al = &heap_alloc};
    dial_status st;

    folder_of(&FIXTURES[1], from);
    st = open_adapter(&heap_alloc, from, &FIXTURES[1].config, &p, err);
    if (st == DIAL_OK) st = di_adapter_save(&p, arg, "base", err);
    di_params_deinit(&p);
    return st;
}

static void survives_failed_allocations(void **state)
{
    char dir[256];
    (void)state;

    make_temp_dir(dir);
    print_message("%ld allocations failed in turn\n", fail_each_allocation(round_trip, dir));
    remove_temp_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_peft_wrote),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(settings_are_those_of_peft),
        cmocka_unit_test(accepts_other_spellings),
        cmocka_unit_test(refuses_what_it_cannot_compute),
        cmocka_unit_test(refuses_a_file_that_does_not_fit),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
