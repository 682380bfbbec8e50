/*
 * Sources of weights: a GGUF file gives what the Hugging Face folder it was made from gives, bit
 * for bit; what is missing, misshapen or unreadable is refused by name when the model is opened.
 */
#include "files.h"

#include <sys/stat.h>

#include "model/safetensors.h"
#include "model/source.h"

#define MODELS TEST_DIR "/fixtures/models/"
#define GGUF TEST_DIR "/fixtures/gguf/"

static di_source *open_source(const char *path)
{
    dial_error err = {0};
    di_source *s = NULL;

    assert_ok(di_source_open(di_alloc_default(), NULL, path, &s, &err), err);
    return s;
}

/* Row r of a weight, in HF order, as f32. */
static void row_of(const di_weight *w, int64_t r, float *dst)
{
    int64_t at = w->row_map != NULL ? w->row_map[r] : r;

    di_dequantize(w->dtype,
                  (const char *)w->data + (size_t)at * di_dtype_row_bytes(w->dtype, w->in), dst,
                  w->in);
}

/* Every tensor of the folder, found in both; plus_one: the file holds 1 + w for norms. */
static int compare(const char *folder, const char *gguf)
{
    di_source *hf = open_source(folder), *g = open_source(gguf);
    int n = 0, gemma = di_source_config(hf)->norm_plus_one;

    assert_string_equal(di_source_kind(hf), "hf");
    assert_string_equal(di_source_kind(g), "gguf");
    assert_int_equal(di_source_config(g)->norm_plus_one, 0);
    for (size_t i = 0; i < di_source_count(hf); i++, n++) {
        const char *name = di_source_at(hf, i).name;
        int plus_one = gemma && strstr(name, "norm.weight") != NULL, found = 0;
        float a[64], b[64];
        dial_error err = {0};
        di_weight x, y;

        assert_ok(di_source_find(hf, name, &x, &found, &err), err);
        assert_true(found);
        assert_ok(di_source_find(g, name, &y, &found, &err), err);
        if (!found || x.out != y.out || x.in != y.in) fail_msg("%s: missing or misshapen", name);
        if (x.out == 1) assert_null(y.row_map); /* biases come in order */
        for (int64_t r = 0; r < x.out; r++) {
            row_of(&x, r, a);
            row_of(&y, r, b);
            for (int64_t k = 0; plus_one && k < x.in; k++) a[k] += 1;
            if (memcmp(a, b, (size_t)x.in * sizeof *a) != 0)
                fail_msg("%s: row %lld differs", name, (long long)r);
        }
    }
    di_source_close(hf);
    di_source_close(g);
    return n;
}

static void gguf_equals_hf(void **state)
{
    (void)state;
    assert_int_equal(compare(MODELS "llama", GGUF "llama.gguf"), 29);
    assert_int_equal(compare(MODELS "llama_rope3", GGUF "rope3.gguf"), 2 * 16 + 3);
    assert_int_equal(compare(MODELS "gemma3_text", GGUF "gemma3-00001-of-00002.gguf"), 80);
}

static void configs_agree(void **state)
{
    static const char *const pair[][2] = {
        {MODELS "llama", GGUF "llama.gguf"},
        {MODELS "llama_rope3", GGUF "rope3.gguf"},
        {MODELS "gemma3_text", GGUF "gemma3-00002-of-00002.gguf"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        di_source *hf = open_source(pair[i][0]), *g = open_source(pair[i][1]);
        di_config a = *di_source_config(hf), b = *di_source_config(g);

        for (int64_t k = 0; k < a.head_dim / 2; k++) { /* rope_freqs is stored in f32 */
            assert_true(a.freq[k] - b.freq[k] <= 2e-7f * a.freq[k]);
            assert_true(b.freq[k] - a.freq[k] <= 2e-7f * a.freq[k]);
            assert_true(i == 1 || a.freq_local[k] == b.freq_local[k]);
        }
        assert_string_equal(a.arch, b.arch);
        assert_memory_equal(a.window, b.window, sizeof a.window);
        assert_memory_equal(a.rope_local, b.rope_local, sizeof a.rope_local);
        assert_true(a.vocab == b.vocab && a.context == b.context && a.tied == b.tied);
        assert_true(a.norm_eps == b.norm_eps && a.embed_scale == b.embed_scale && a.act == b.act);
        assert_true(a.qkv_bias == b.qkv_bias && a.o_bias == b.o_bias && a.mlp_bias == b.mlp_bias);
        assert_int_equal(a.exact_layers, b.exact_layers);
        /* no key of GGUF carries query_pre_attn_scalar, which the tiny Gemma 3 sets to 11 */
        if (i != 2) assert_true(a.attn_scale == b.attn_scale);
        di_source_close(hf);
        di_source_close(g);
    }
}

static void every_fixture_opens(void **state)
{
    static const char *const name[] = {"llama", "llama_rope3", "mistral", "qwen2",
                                       "qwen3", "gemma",       "gemma2",  "gemma3_text"};
    (void)state;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char path[400];
        dial_error err = {0};
        di_source *s;
        di_tokenizer *t = NULL;
        di_weight w = {.out = 77};
        int found = 7;

        snprintf(path, sizeof path, MODELS "%s", name[i]);
        s = open_source(path);
        assert_string_equal(di_source_path(s), path);
        assert_ok(di_source_find(s, "model.layers.9.mlp.up_proj.weight", &w, &found, &err), err);
        assert_true(found == 0 && w.out == 77);
        assert_ok(di_source_find(s, "model.layers.1.mlp.down_proj.weight", &w, &found, &err), err);
        assert_true(found == 1 && w.out == di_source_config(s)->width &&
                    w.in == di_source_config(s)->mlp);
        di_source_forget_pages(s);
        assert_ok(di_source_find(s, "model.norm.weight", &w, &found, &err), err);
        assert_true(found == 1 && w.out == 1 && w.in == di_source_config(s)->width);
        assert_int_not_equal(di_source_tokenizer(s, &t, &err), DIAL_OK); /* the folder has none */
        di_source_close(s);
    }
    di_source_close(NULL);
}

static void stored_tensors(void **state)
{
    di_source *s = open_source(GGUF "llama.gguf");
    di_source_tensor t;
    int seen = 0;
    (void)state;
    assert_int_equal(di_source_count(s), 29);
    for (size_t i = 0; i < di_source_count(s); i++) {
        t = di_source_at(s, i);
        if (strcmp(t.name, "blk.0.ffn_down.weight") != 0) continue;
        seen = 1;
        assert_true(t.n_dims == 2 && t.dim[0] == 32 && t.dim[1] == 44 && t.dtype == DI_F32);
    }
    assert_true(seen);
    di_source_close(s);
    s = open_source(MODELS "qwen2"); /* in 6 shards */
    assert_int_equal(di_source_count(s), 3 * 12 + 3);
    assert_non_null(di_source_at(s, 38).name);
    di_source_close(s);
}

static void tokenizer_of_gguf(void **state)
{
    di_source *s = open_source(GGUF "gemma3-00001-of-00002.gguf");
    di_tokenizer *t = NULL;
    dial_error err = {0};
    (void)state;
    assert_ok(di_source_tokenizer(s, &t, &err), err);
    assert_int_equal(di_tokenizer_get_info(t)->vocab, 97);
    di_tokenizer_close(t);
    di_source_close(s);
}

static void config_alone(void **state)
{
    di_source *s = open_source(MODELS "gemma2/config.json");
    di_tokenizer *t = NULL;
    json_t *hashes = json_object();
    dial_error err = {0};
    di_weight w;
    int found = 7;
    (void)state;
    assert_string_equal(di_source_kind(s), "config");
    assert_int_equal(di_source_config(s)->layers, 4);
    assert_int_equal(di_source_count(s), 0);
    assert_ok(di_source_find(s, "model.norm.weight", &w, &found, &err), err);
    assert_int_equal(found, 0);
    assert_int_equal(di_source_tokenizer(s, &t, &err), DIAL_ERR_USAGE);
    assert_ok(di_source_hashes(s, hashes, &err), err);
    assert_int_equal(json_object_size(hashes), 1);
    json_decref(hashes);
    di_source_forget_pages(s);
    di_source_close(s);
}

/* The hash of each file is the one that the file itself has. */
static void hashes(void **state)
{
    static const struct {
        const char *path, *dir;
        size_t n;
    } row[] = {
        {GGUF "llama.gguf", GGUF, 1},
        {GGUF "gemma3-00001-of-00002.gguf", GGUF, 2},
        {MODELS "llama", MODELS "llama/", 2},
        {MODELS "qwen2", MODELS "qwen2/", 8},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        di_source *s = open_source(row[i].path);
        json_t *out = json_object(), *value;
        dial_error err = {0};
        const char *name;

        assert_ok(di_source_hashes(s, out, &err), err);
        assert_int_equal(json_object_size(out), row[i].n);
        json_object_foreach (out, name, value) {
            char path[500], hex[65];

            snprintf(path, sizeof path, "%s%s", row[i].dir, name);
            assert_ok(di_sha256_file(path, hex, &err), err);
            assert_string_equal(json_string_value(value), hex);
        }
        json_decref(out);
        di_source_close(s);
    }
}

/* ---- folders made here ---- */

/* A folder with config.json of the tiny llama and the tensors of its file, changed by edit. */
typedef struct folder {
    char dir[256], path[400];
    di_st st;
    di_st_entry *entry;
    char (*name)[96];
    size_t n;
} folder;

static const char *in_folder(folder *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    return f->path;
}

static void begin(folder *f)
{
    dial_error err = {0};
    char *json = NULL;
    size_t n = 0;

    memset(f, 0, sizeof *f);
    make_temp_dir(f->dir);
    assert_ok(di_read_file(di_alloc_default(), MODELS "llama/config.json", &json, &n, &err), err);
    write_file(in_folder(f, "config.json"), json, n);
    di_free(di_alloc_default(), json);
    assert_ok(di_st_open(di_alloc_default(), MODELS "llama/model.safetensors", &f->st, &err), err);
    f->n = f->st.n;
    f->entry = calloc(f->n + 4, sizeof *f->entry);
    f->name = calloc(f->n + 4, sizeof *f->name);
    assert_true(f->entry != NULL && f->name != NULL);
    for (size_t i = 0; i < f->n; i++) {
        const di_st_tensor *t = &f->st.tensor[i];

        snprintf(f->name[i], sizeof f->name[i], "%s", t->name);
        f->entry[i] = (di_st_entry){f->name[i], t->dtype_name, {t->dim[0], t->dim[1]},
                                    t->n_dims,  t->data,       t->bytes};
    }
}

static void save(folder *f, const char *name)
{
    dial_error err = {0};

    assert_ok(di_st_write(di_alloc_default(), in_folder(f, name), f->entry, f->n, NULL, &err), err);
}

static void end(folder *f)
{
    remove_temp_dir(f->dir);
    di_st_close(&f->st);
    free(f->entry);
    free(f->name);
}

static di_st_entry *entry_of(folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->name[i], name) == 0) return &f->entry[i];
    fail_msg("no entry %s", name);
    return NULL;
}

static void refused(folder *f, const char *part)
{
    dial_error err = {0};
    di_source *s = NULL;

    assert_input_error(di_source_open(di_alloc_default(), NULL, f->dir, &s, &err), err, part);
    assert_null(s);
}

/* Prefixes that other classes write; image tensors are left out. */
static void prefixes(void **state)
{
    static const struct {
        const char *prefix, *instead_of;
    } row[] = {
        {"model.language_model.", "model."}, {"language_model.model.", "model."}, {"", "model."}};
    static const float image[4] = {1, 2, 3, 4};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        folder f;
        dial_error err = {0};
        di_source *s;
        di_weight w;
        int found = 0;

        begin(&f);
        for (size_t k = 0; k < f.n; k++)
            snprintf(f.name[k], sizeof f.name[k], "%s%s", row[i].prefix,
                     f.st.tensor[k].name + strlen(row[i].instead_of));
        f.entry[f.n++] = (di_st_entry){"vision_tower.patch", "F32", {1, 1, 2, 2}, 4, image, 16};
        f.entry[f.n++] =
            (di_st_entry){"model.multi_modal_projector.norm", "F32", {4}, 1, image, 16};
        f.entry[f.n++] = (di_st_entry){"score.weight", "F32", {1, 4}, 2, image, 16};
        save(&f, "model.safetensors");
        s = open_source(f.dir);
        assert_ok(di_source_find(s, "model.layers.2.self_attn.k_proj.weight", &w, &found, &err),
                  err);
        assert_true(found && w.out == 16 && w.in == 32);
        assert_ok(di_source_find(s, "score.weight", &w, &found, &err), err);
        assert_true(found && w.out == 1 && w.in == 4);
        assert_ok(di_source_find(s, "vision_tower.patch", &w, &found, &err), err);
        assert_false(found);
        di_source_close(s);
        end(&f);
    }
}

static void shapes_types_and_names(void **state)
{
    static const float extra[32] = {0};
    folder f;
    di_st_entry *e;
    (void)state;
    begin(&f);
    entry_of(&f, "model.layers.1.mlp.up_proj.weight")->name = "model.layers.1.mlp.up.weight";
    save(&f, "model.safetensors");
    refused(&f, "'model.layers.1.mlp.up_proj.weight' is missing");
    end(&f);
    begin(&f);
    e = entry_of(&f, "model.layers.2.mlp.down_proj.weight");
    e->dim[0] = 44, e->dim[1] = 32;
    save(&f, "model.safetensors");
    refused(&f, "expected shape [32, 44], found [44, 32]");
    refused(&f, "model.layers.2.mlp.down_proj.weight");
    e->n_dims = 1, e->dim[0] = 44 * 32;
    save(&f, "model.safetensors");
    refused(&f, "found [1408]");
    e->dtype_name = "I32", e->n_dims = 2, e->dim[0] = 32, e->dim[1] = 44;
    save(&f, "model.safetensors");
    refused(&f, "type I32 is not read");
    e->dtype_name = "I8", e->dim[1] = 4 * 44;
    save(&f, "model.safetensors");
    refused(&f, "found [32, 176]");
    end(&f);
    begin(&f);
    f.entry[f.n++] = (di_st_entry){"norm.weight", "F32", {32}, 1, extra, sizeof extra};
    save(&f, "model.safetensors");
    refused(&f, "the same tensor");
    end(&f);
    begin(&f);
    f.entry[f.n++] = (di_st_entry){"lm_head.weight", "F32", {1, 32}, 2, extra, sizeof extra};
    save(&f, "model.safetensors");
    refused(&f, "lm_head.weight");
    end(&f);
}

static void write_text(folder *f, const char *name, const char *text)
{
    write_file(in_folder(f, name), text, strlen(text));
}

static void folders_that_are_no_models(void **state)
{
    dial_error err = {0};
    di_source *s = NULL;
    folder f;
    (void)state;
    begin(&f);
    refused(&f, "neither model.safetensors");
    write_text(&f, "pytorch_model.bin", "never opened");
    chmod(in_folder(&f, "pytorch_model.bin"), 0);
    refused(&f, "pickle");
    assert_int_equal(di_source_open(di_alloc_default(), NULL, f.dir, &s, &err), DIAL_ERR_INPUT);
    assert_non_null(strstr(err.hint, "save_pretrained"));
    unlink(in_folder(&f, "config.json"));
    refused(&f, "no config.json");
    write_text(&f, "adapter_config.json", "{}");
    refused(&f, "adapter");
    write_text(&f, "config.json", "{\"model_type\":\"t5\"}");
    refused(&f, "'t5'");
    save(&f, "model.safetensors");
    assert_input_error(
        di_source_open(di_alloc_default(), NULL, in_folder(&f, "model.safetensors"), &s, &err), err,
        "weights alone");
    assert_int_equal(di_source_open(di_alloc_default(), NULL, in_folder(&f, "none"), &s, &err),
                     DIAL_ERR_USAGE);
    assert_int_equal(di_source_open(di_alloc_default(), NULL, in_folder(&f, "none.gguf"), &s, &err),
                     DIAL_ERR_USAGE);
    assert_int_equal(di_source_open(di_alloc_default(), NULL, in_folder(&f, "none.json"), &s, &err),
                     DIAL_ERR_USAGE);
    write_text(&f, "text.txt", "hello");
    assert_input_error(
        di_source_open(di_alloc_default(), NULL, in_folder(&f, "text.txt"), &s, &err), err,
        "no model");
    write_text(&f, "empty.gguf", "");
    assert_input_error(
        di_source_open(di_alloc_default(), NULL, in_folder(&f, "empty.gguf"), &s, &err), err,
        "byte 0");
    end(&f);
}

static void indexes(void **state)
{
    static const char good[] = "{\"weight_map\":{\"model.norm.weight\":\"a.safetensors\"}}";
    static const struct {
        const char *index, *part;
    } row[] = {
        {"{}", "weight_map"},
        {"{\"weight_map\":{\"a\":\"../a.safetensors\"}}", "'../a.safetensors'"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "weight_map['a']"},
        {"{\"weight_map\":{\"a\":\".\"}}", "weight_map['a']"},
        {"{\"weight_map\":{\"a\":\"\"}}", "weight_map['a']"},
        {"{\"weight_map\":{\"a\":7}}", "no string"},
        {"{\"weight_map\":{\"a\":\"b.safetensors\"}}", "is missing"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"}}", "tensor 'a'"},
        {good, "'model.embed_tokens.weight' is missing"},
    };
    folder f;
    (void)state;
    begin(&f);
    save(&f, "a.safetensors");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        write_text(&f, "model.safetensors.index.json", row[i].index);
        refused(&f, row[i].part);
    }
    end(&f);
}

/* The fixture with the type of one needed tensor turned into one that is not read. */
static void unread_type_in_gguf(void **state)
{
    static const char name[] = "blk.1.ffn_up.weight";
    char *file = NULL, *at;
    size_t n = 0;
    const uint32_t type = 23;
    dial_error err = {0};
    di_source *s = NULL;
    folder f;
    (void)state;
    begin(&f);
    assert_ok(di_read_file(di_alloc_default(), GGUF "llama.gguf", &file, &n, &err), err);
    at = memmem(file, n, name, sizeof name - 1);
    assert_non_null(at);
    memcpy(at + sizeof name - 1 + 4 + 16, &type, 4); /* after n_dims and two dimensions */
    write_file(in_folder(&f, "x.gguf"), file, n);
    assert_input_error(di_source_open(di_alloc_default(), NULL, f.path, &s, &err), err, "IQ4_XS");
    assert_non_null(strstr(err.where, name));
    assert_non_null(strstr(err.where, "model.layers.1.mlp.up_proj.weight"));
    at = memmem(file, n, name, sizeof name - 1);
    memcpy(at, "blk.1.ffn_yp.weight", sizeof name - 1);
    write_file(in_folder(&f, "x.gguf"), file, n);
    assert_input_error(di_source_open(di_alloc_default(), NULL, f.path, &s, &err), err,
                       "'model.layers.1.mlp.up_proj.weight' is missing");
    di_free(di_alloc_default(), file);
    end(&f);
}

static void keep_message(void *ctx, dial_log_level level, const char *message)
{
    (void)level;
    snprintf(ctx, 300, "%s", message);
}

static void unused_tensors_are_logged(void **state)
{
    static const float x[2] = {1, 2};
    char log[300] = "";
    const dial_env env = {.log = keep_message, .ctx = log};
    dial_error err = {0};
    di_source *s = NULL;
    folder f;
    (void)state;
    begin(&f);
    save(&f, "model.safetensors");
    assert_ok(di_source_open(di_alloc_default(), &env, f.dir, &s, &err), err);
    assert_string_equal(log, "");
    di_source_close(s);
    f.entry[f.n++] = (di_st_entry){"other.a", "F32", {2}, 1, x, 8};
    f.entry[f.n++] = (di_st_entry){"other.b", "I64", {1}, 1, x, 8};
    save(&f, "model.safetensors");
    assert_ok(di_source_open(di_alloc_default(), &env, f.dir, &s, &err), err);
    assert_non_null(strstr(log, "2 tensors are not used: other.a, other.b"));
    di_source_close(s);
    end(&f);
}

/* general.quantization_version stands before its 4 bytes of type and 4 of value. */
static void old_blocks_are_warned_of(void **state)
{
    static const char key[] = "general.quantization_version";
    char log[300] = "", *file = NULL, *at;
    const dial_env env = {.log = keep_message, .ctx = log};
    size_t n = 0;
    dial_error err = {0};
    di_source *s = NULL;
    folder f;
    (void)state;

    begin(&f);
    assert_ok(di_read_file(di_alloc_default(), GGUF "llama.gguf", &file, &n, &err), err);
    write_file(in_folder(&f, "x.gguf"), file, n);
    assert_ok(di_source_open(di_alloc_default(), &env, f.path, &s, &err), err);
    assert_string_equal(log, "");
    di_source_close(s);
    at = memmem(file, n, key, sizeof key - 1);
    assert_non_null(at);
    at[sizeof key - 1 + 4] = 1;
    write_file(in_folder(&f, "x.gguf"), file, n);
    assert_ok(di_source_open(di_alloc_default(), &env, f.path, &s, &err), err);
    assert_non_null(strstr(log, "expected general.quantization_version 2, found 1"));
    di_source_close(s);
    di_free(di_alloc_default(), file);
    end(&f);
}

static dial_status open_once(void *arg, dial_error *err)
{
    di_source *s = NULL;
    json_t *out = NULL;
    dial_status st = di_source_open(&heap_alloc, NULL, arg, &s, err);

    if (st == DIAL_OK) out = json_object();
    if (st == DIAL_OK && out == NULL) st = DIAL_ERR_NOMEM;
    if (st == DIAL_OK) st = di_source_hashes(s, out, err);
    json_decref(out);
    di_source_close(s);
    return st;
}

static void memory_runs_out(void **state)
{
    static const char *const path[] = {GGUF "rope3.gguf", MODELS "llama", MODELS "qwen2",
                                       MODELS "gemma/config.json"};
    (void)state;
    for (size_t i = 0; i < sizeof path / sizeof *path; i++)
        fail_each_allocation(open_once, (void *)(uintptr_t)path[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_equals_hf),
        cmocka_unit_test(configs_agree),
        cmocka_unit_test(every_fixture_opens),
        cmocka_unit_test(stored_tensors),
        cmocka_unit_test(tokenizer_of_gguf),
        cmocka_unit_test(config_alone),
        cmocka_unit_test(hashes),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(shapes_types_and_names),
        cmocka_unit_test(folders_that_are_no_models),
        cmocka_unit_test(indexes),
        cmocka_unit_test(unread_type_in_gguf),
        cmocka_unit_test(old_blocks_are_warned_of),
        cmocka_unit_test(unused_tensors_are_logged),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
