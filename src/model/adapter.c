/*
 * PEFT adapters in and out: adapter_config.json and adapter_model.safetensors (interfaces.md 4.1).
 * Reading is strict about what changes the result and deaf to the rest: peft adds keys with every
 * release, nearly all of them null.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/adaptor.h"
#include "model/safetensors.h"

static const char *const CONFIG_FILE = "adapter_config.json";
static const char *const TENSOR_FILE = "adapter_model.safetensors";

/* --- reading the settings --------------------------------------------------------------------- */

/* "nothing said": absent, null, false, 0, "", [] or {}. */
static int is_unset(const json_t *v)
{
    if (v == NULL || json_is_null(v) || json_is_false(v)) return 1;
    if (json_is_number(v)) return json_number_value(v) == 0;
    if (json_is_string(v)) return json_string_length(v) == 0;
    if (json_is_array(v)) return json_array_size(v) == 0;
    return json_is_object(v) && json_object_size(v) == 0;
}

/* Settings that change what the adapter computes and that dial does not build. */
static dial_status refuse_unsupported(const json_t *cfg, const char *path, dial_error *err)
{
    static const struct {
        const char *key, *what;
    } refused[] = {
        {"use_dora", "DoRA"},
        {"lora_bias", "a bias on lora_B"},
        {"rank_pattern", "ranks that differ between layers"},
        {"alpha_pattern", "alphas that differ between layers"},
        {"fan_in_fan_out", "transposed weights"},
        {"exclude_modules", "a list of excluded modules"},
        {"layer_replication", "replicated layers"},
        {"trainable_token_indices", "trained token embeddings"},
        {"target_parameters", "LoRA on bare parameters"},
        {"use_qalora", "QALoRA"},
        {"use_bdlora", "block-diagonal LoRA"},
        {"alora_invocation_tokens", "activated LoRA"},
        {"arrow_config", "Arrow routing"},
        {"kasa_config", "KaSA"},
        {"velora_config", "VeLoRA"},
        {"monteclora_config", "MonteCLoRA"},
    };
    /* these subtract the adapter's first value from the base weights, which the file does not say
     */
    static const char *const changes_base[] = {"pissa", "olora", "loftq", "corda", "lora_ga"};
    dial_status st = DIAL_OK;
    const char *s;

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (!is_unset(json_object_get(cfg, refused[i].key)))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the adapter without it",
                       "\"%s\": %s is not supported", refused[i].key, refused[i].what);
    s = json_string_value(json_object_get(cfg, "bias"));
    if (s != NULL && strcmp(s, "none") != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the adapter with bias=\"none\"",
                   "\"bias\": expected \"none\", found \"%s\"", s);
    s = json_string_value(json_object_get(cfg, "init_lora_weights"));
    for (size_t i = 0; s != NULL && i < sizeof changes_base / sizeof changes_base[0]; i++)
        if (strncmp(s, changes_base[i], strlen(changes_base[i])) == 0)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, path,
                       "convert it with save_pretrained(path_initial_model_for_weight_conversion)",
                       "\"init_lora_weights\": \"%s\" goes with changed base weights", s);
done:
    return st;
}

/* The linear layer that `name` ("q_proj", "self_attn.q_proj") means; DI_LINEAR_COUNT: none. */
static di_linear linear_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    int l = 0;

    if (dot != NULL) name = dot + 1;
    while (l < DI_LINEAR_COUNT && strcmp(name, di_linear_name[l]) != 0) l++;
    return (di_linear)l;
}

static dial_status read_targets(const json_t *cfg, const char *path, unsigned *out, dial_error *err)
{
    static const char *const hint =
        "expected names from q_proj k_proj v_proj o_proj gate_proj up_proj down_proj, or "
        "\"all-linear\"";
    const json_t *v = json_object_get(cfg, "target_modules"), *item;
    dial_status st = DIAL_OK;
    unsigned targets = 0;
    size_t i;

    if (json_is_string(v) && strcmp(json_string_value(v), "all-linear") == 0) {
        targets = (1U << DI_LINEAR_COUNT) - 1;
    } else if (json_is_string(v)) {
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, hint,
                   "\"target_modules\": the pattern \"%s\" is not supported", json_string_value(v));
    } else if (!json_is_array(v) || json_array_size(v) == 0) {
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, hint, "\"target_modules\": expected a list of names");
    }
    json_array_foreach (v, i, item) {
        const char *name = json_string_value(item);
        di_linear l = name != NULL ? linear_of(name) : DI_LINEAR_COUNT;

        if (l == DI_LINEAR_COUNT)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, path, hint,
                       "\"target_modules\": %s is not a linear layer of a decoder block",
                       name != NULL ? name : "an entry that is no string");
        targets |= 1U << l;
    }
    *out = targets;
done:
    return st;
}

/* layers_to_transform: null (all), a number or a list; the list must be a range, in any order. */
static dial_status read_layers(const json_t *cfg, const char *path, int64_t n_layers,
                               di_lora_options *out, dial_error *err)
{
    const json_t *v = json_object_get(cfg, "layers_to_transform");
    const json_t *pattern = json_object_get(cfg, "layers_pattern");
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_integer(v) ? 1 : 0;
    int64_t first = n_layers, last = -1;
    uint8_t seen[DI_MAX_LAYERS] = {0};
    dial_status st = DIAL_OK;
    int64_t distinct = 0;

    if (is_unset(v) && !json_is_integer(v)) {
        out->first_layer = 0;
        out->end_layer = n_layers;
        goto done;
    }
    if (n == 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "expected null, a number or a list of numbers",
                   "\"layers_to_transform\" is neither");
    if (json_is_array(pattern)) pattern = json_array_get(pattern, 0);
    if (!is_unset(pattern) &&
        (!json_is_string(pattern) || strcmp(json_string_value(pattern), "layers") != 0))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "expected \"layers\" or null",
                   "\"layers_pattern\" names blocks that a decoder does not have");
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        json_int_t l = json_integer_value(item);

        if (!json_is_integer(item) || l < 0 || l >= n_layers)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "is this adapter made for this base model?",
                       "\"layers_to_transform\": entry %zu is not a layer of 0 .. %lld", i,
                       (long long)n_layers - 1);
        distinct += !seen[l];
        seen[l] = 1;
        if (l < first) first = l;
        if (l > last) last = l;
    }
    if (distinct != last + 1 - first)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the adapter on neighbouring layers",
                   "\"layers_to_transform\": layers %lld .. %lld with gaps are not supported",
                   (long long)first, (long long)last);
    out->first_layer = first;
    out->end_layer = last + 1;
done:
    return st;
}

dial_status di_adapter_read_config(const di_alloc *al, const char *dir, const di_config *c,
                                   di_lora_options *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_lora_options o = {0};
    json_t *cfg = NULL;
    const json_t *v;
    char *path = di_path_join(al, dir, CONFIG_FILE);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read the adapter '%s'", dir);
    DI_TRY(di_json_read(al, path, &cfg, err));
    v = json_object_get(cfg, "peft_type");
    if (!json_is_string(v) || strcmp(json_string_value(v), "LORA") != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "only LoRA adapters are supported",
                   "\"peft_type\": expected \"LORA\", found %s",
                   json_is_string(v) ? json_string_value(v) : "none");
    DI_TRY(refuse_unsupported(cfg, path, err));
    v = json_object_get(cfg, "r");
    o.r = json_integer_value(v);
    if (!json_is_integer(v) || o.r < 0 || o.r > 65536)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "is the file whole?",
                   "\"r\": expected a number from 0 to 65536");
    v = json_object_get(cfg, "lora_alpha");
    o.alpha = v == NULL ? 8 : (float)json_number_value(v); /* peft's own default */
    if (v != NULL && (!json_is_number(v) || !isfinite(o.alpha)))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "is the file whole?",
                   "\"lora_alpha\": expected a number");
    o.rslora = json_is_true(json_object_get(cfg, "use_rslora"));
    if (o.r > 0) {
        DI_TRY(read_targets(cfg, path, &o.targets, err));
        DI_TRY(read_layers(cfg, path, c->layers, &o, err));
    }
    DI_TRY(di_adaptor_read_config(al, dir, c->width, &o, err));
    *out = o;
done:
    json_decref(cfg);
    di_free(al, path);
    return st;
}

/* --- reading the tensors ---------------------------------------------------------------------- */

static const char *shape_text(const di_st_tensor *t, char *text, size_t room)
{
    size_t at = (size_t)snprintf(text, room, "[");

    for (int i = 0; i < t->n_dims && at + 24 < room; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld", i > 0 ? ", " : "",
                               (long long)t->dim[i]);
    snprintf(text + at, room - at, "]");
    return text;
}

static dial_status load_param(const di_st *s, const char *path, const di_params *p,
                              const di_param *t, dial_error *err)
{
    const di_st_tensor *found = di_st_find(s, t->name);
    dial_status st = DIAL_OK;

    if (found == NULL && t->layer == DI_HEAD)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path,
                   "save it with modules_to_save=[\"score\"] and task_type=\"SEQ_CLS\", or train "
                   "again: a new head would give random rewards",
                   "no tensor '%s': the reward head was not saved with the adapter (trl#1379)",
                   t->name);
    if (found == NULL)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "does adapter_config.json belong to this file?",
                   "no tensor '%s', which adapter_config.json asks for", t->name);
    if (found->n_dims != 2 || found->dim[0] != t->rows || found->dim[1] != t->cols)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "is this adapter made for this base model?",
                   "'%s': expected shape [%lld, %lld], found %s", t->name, (long long)t->rows,
                   (long long)t->cols, shape_text(found, (char[96]){0}, 96));
    DI_TRY(di_st_read_f32(s, path, t->name, p->theta + t->at, t->rows * t->cols, err));
done:
    return st;
}

static int has_param(const di_params *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (strcmp(p->param[i].name, name) == 0) return 1;
    return 0;
}

dial_status di_adapter_load(const di_alloc *al, const char *dir, di_params *p, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(al, dir, TENSOR_FILE);
    di_st s = {0};
    int opened = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read the adapter '%s'", dir);
    DI_TRY(di_st_open(al, path, &s, err));
    opened = 1;
    DI_TRY(load_param(&s, path, p, &p->param[p->n - 1], err)); /* a lost head is the common fault */
    for (int i = 0; i < p->n - 1; i++)
        if (p->param[i].layer != DI_ADAPTOR) DI_TRY(load_param(&s, path, p, &p->param[i], err));
    if (di_has_adaptor(p)) DI_TRY(di_adaptor_load(al, dir, p, err));
    /* a tensor left over would be training that silently does not count */
    for (size_t i = 0; i < s.n; i++)
        if (!has_param(p, s.tensor[i].name))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "train the adapter without it",
                       "tensor '%s' has no place in a LoRA reward model with these settings",
                       s.tensor[i].name);
done:
    if (opened) di_st_close(&s);
    di_free(al, path);
    return st;
}

/* --- writing ---------------------------------------------------------------------------------- */

dial_status di_adapter_save_tensors(const di_params *p, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *meta = json_pack("{s:s}", "format", "pt");
    di_st_entry *e = di_new_array(p->al, (size_t)p->n, sizeof *e);
    float *head = di_new_array(p->al, (size_t)p->width, sizeof *head);
    size_t n = 0;

    if (meta == NULL || e == NULL || head == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to write '%s'", path);
    for (int i = 0; i < p->n; i++) {
        const di_param *t = &p->param[i];

        if (t->layer == DI_ADAPTOR) continue;
        e[n] = (di_st_entry){.name = t->name,
                             .dtype_name = "F32",
                             .dim = {t->rows, t->cols},
                             .n_dims = 2,
                             .data = p->theta + t->at,
                             .bytes = (size_t)(t->rows * t->cols) * sizeof(float)};
        if (t->layer == DI_HEAD && di_has_adaptor(p) && !p->lora.adaptor_tanh) {
            DI_TRY(di_adaptor_fold(p, head, err));
            e[n].data = head;
        }
        n++;
    }
    DI_TRY(di_st_write(p->al, path, e, n, meta, err));
done:
    json_decref(meta);
    di_free(p->al, e);
    di_free(p->al, head);
    return st;
}

/* Appends item; a list that ran out of memory is dropped, so that none is written short. */
static json_t *with(json_t *list, json_t *item)
{
    if (json_array_append_new(list, item) == 0) return list;
    json_decref(list);
    return NULL;
}

static json_t *target_list(unsigned targets)
{
    static const di_linear sorted[] = {DI_DOWN_PROJ, DI_GATE_PROJ, DI_K_PROJ, DI_O_PROJ,
                                       DI_Q_PROJ,    DI_UP_PROJ,   DI_V_PROJ};
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof sorted / sizeof *sorted; i++)
        if (targets >> sorted[i] & 1) list = with(list, json_string(di_linear_name[sorted[i]]));
    return list;
}

static json_t *layer_list(const di_params *p)
{
    const di_lora_options *o = &p->lora;
    json_t *list;

    if (o->r == 0 || (o->first_layer == 0 && o->end_layer == p->n_layers)) return json_null();
    list = json_array();
    for (int64_t l = o->first_layer; l < o->end_layer; l++) list = with(list, json_integer(l));
    return list;
}

static json_t *number(float x)
{
    /* peft writes alpha as it was given, nearly always a whole number */
    return x == floorf(x) && fabsf(x) < 1e9F ? json_integer((json_int_t)x) : di_json_f32(x);
}

static json_t *config_json(const di_params *p, const char *base_name)
{
    const di_lora_options *o = &p->lora;
    json_t *layers = layer_list(p);
    int some = json_is_array(layers);

    /* clang-format off */
    /* "s?": null if there is no name; "o" hands the reference over */
    return json_pack("{s:o,s:s?,s:s,s:b,s:b,s:b,s:s?,s:o,s:o,s:f,s:[s,s],s:s,s:I,s:o,s:o,s:s,s:b,s:b}",
                     "alpha_pattern", json_object(),
                     "base_model_name_or_path", base_name,
                     "bias", "none",
                     "fan_in_fan_out", 0,
                     "inference_mode", 1,
                     "init_lora_weights", 1,
                     "layers_pattern", some ? "layers" : NULL,
                     "layers_to_transform", layers,
                     "lora_alpha", number(o->alpha),
                     "lora_dropout", 0.0,
                     "modules_to_save", "classifier", "score",
                     "peft_type", "LORA",
                     "r", (json_int_t)o->r,
                     "rank_pattern", json_object(),
                     "target_modules", target_list(o->targets),
                     "task_type", "SEQ_CLS",
                     "use_dora", 0,
                     "use_rslora", o->rslora != 0);
    /* clang-format on */
}

dial_status di_adapter_save(const di_params *p, const char *dir, const char *base_name,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    char *config = di_path_join(p->al, dir, CONFIG_FILE);
    char *tensors = di_path_join(p->al, dir, TENSOR_FILE);
    json_t *cfg = config_json(p, base_name);
    di_buf text;

    di_buf_init(&text, p->al);
    if (config == NULL || tensors == NULL || cfg == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to write the adapter '%s'", dir);
    DI_TRY(di_make_dirs(dir, err));
    DI_TRY(di_adapter_save_tensors(p, tensors, err));
    if (di_has_adaptor(p)) DI_TRY(di_adaptor_save(p, dir, err));
    DI_TRY(di_json_write(cfg, &text, err));
    di_buf_append(&text, "\n", 1);
    DI_TRY(di_buf_status(&text, err));
    DI_TRY(di_write_file(p->al, config, text.data, text.size, err));
done:
    di_buf_deinit(&text);
    json_decref(cfg);
    di_free(p->al, config);
    di_free(p->al, tensors);
    return st;
}
