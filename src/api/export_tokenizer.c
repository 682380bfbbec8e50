/*
 * Tokenizer files of an export. They are copies where the base has them, but for the padding token,
 * and for sentence-transformers, which knows no text policy, the tokens around a text.
 */
#include <string.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/file.h"

static int for_st(const di_export_job *job)
{
    return strcmp(job->opt->to, "st") == 0;
}

static json_t *token_json(const di_export_job *job, int32_t id)
{
    const di_str s = di_tokenizer_token(job->run.tok, id);

    return json_stringn(s.data, s.size);
}

/*
 * transformers pools the right-most token that is not padding, so no text may end in the padding
 * id: neither EOS, nor what the run's template closes a turn with (the last ids of the self-test).
 * The last resort is BOS, which stands in front of a text and nowhere else.
 */
static dial_status choose_padding(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_tokenizer_info *info = di_tokenizer_get_info(job->run.tok);
    const json_t *texts = json_object_get(json_object_get(job->run.run, "selftest"), "texts"), *row;
    int32_t *taken = di_new_array(job->al, json_array_size(texts) + 2, sizeof *taken);
    size_t n = 0, i;
    int bos_ends = 0;

    if (taken == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for token ids");
    taken[n++] = info->eos;
    json_array_foreach (texts, i, row) {
        const json_t *ids = json_object_get(row, "ids");

        if (json_array_size(ids) > 0)
            taken[n++] = (int32_t)json_integer_value(json_array_get(ids, json_array_size(ids) - 1));
    }
    for (size_t k = 0; k < n; k++) bos_ends |= taken[k] == info->bos;
    taken[n++] = info->bos;
    job->pad = di_tokenizer_padding(job->run.tok, taken, n);
    if (job->pad < 0 && !bos_ends) job->pad = info->bos;
    job->pad_changed = job->pad != info->pad;
done:
    di_free(job->al, taken);
    return st;
}

/* ---- tokenizer.json ---- */

static json_t *special_part(json_t *token)
{
    return json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", token, "type_id", 0);
}

/* A TemplateProcessing that puts the run's BOS and EOS around a text. */
static json_t *post_processor(const di_export_job *job)
{
    const di_text_policy *p = &job->run.policy;
    const int32_t id[2] = {p->adds_bos ? p->bos_id : -1, p->appends_eos ? p->eos_id : -1};
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    int failed = 0;

    for (int side = 0; side < 2; side++) {
        json_t *token = id[side] >= 0 ? token_json(job, id[side]) : NULL;

        if (side == 1) {
            di_json_add(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0),
                        &failed);
            di_json_add(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0),
                        &failed);
            di_json_add(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 0),
                        &failed);
        }
        if (id[side] < 0) continue;
        di_json_add(single, special_part(json_incref(token)), &failed);
        di_json_add(pair, special_part(json_incref(token)), &failed);
        di_json_put(
            special, json_string_value(token),
            json_pack("{s:O, s:[i], s:[O]}", "id", token, "ids", (int)id[side], "tokens", token),
            &failed);
        json_decref(token);
    }
    return di_json_whole(json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single",
                                   single, "pair", pair, "special_tokens", special),
                         failed);
}

/* The base's own text, or what its GGUF vocabulary amounts to. */
static dial_status tokenizer_text(const di_export_job *job, di_buf *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = NULL, *text = NULL;
    size_t n = 0;

    if (strcmp(di_source_kind(job->run.source), "hf") != 0) {
        DI_TRY(di_tokenizer_write_hf(job->run.tok, out, err));
        goto done;
    }
    path = di_path_join(job->al, di_source_path(job->run.source), "tokenizer.json");
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_read_file(job->al, path, &text, &n, err));
    di_buf_append(out, text, n);
    DI_TRY(di_buf_status(out, err));
done:
    di_free(job->al, path);
    di_free(job->al, text);
    return st;
}

static dial_status write_tokenizer(di_export_job *job, char sha[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *v = NULL;
    int failed = 0;
    di_buf b;

    di_buf_init(&b, job->al);
    DI_TRY(tokenizer_text(job, &b, err));
    if (for_st(job)) {
        DI_TRY(di_json_parse(b.data, b.size, "tokenizer.json", 1, &v, err));
        di_json_put(v, "post_processor", post_processor(job), &failed);
        if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for tokenizer.json");
        b.size = 0;
        DI_TRY(di_json_write(v, &b, err));
    }
    di_sha256(b.data, b.size, sha);
    DI_TRY(di_export_file(job, "tokenizer.json", b.data, b.size, err));
done:
    json_decref(v);
    di_buf_deinit(&b);
    return st;
}

/* ---- the files beside it ---- */

/* A JSON object of the base's folder; *out NULL: there is none. */
static dial_status read_beside(const di_export_job *job, const char *name, json_t **out,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, di_source_path(job->run.source), name);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (strcmp(di_source_kind(job->run.source), "hf") == 0 && di_exists(path))
        DI_TRY(di_json_read(job->al, path, out, err));
done:
    di_free(job->al, path);
    return st;
}

static void put_token(const di_export_job *job, json_t *config, const char *key, int32_t id,
                      int *failed)
{
    if (id >= 0 && json_object_get(config, key) == NULL)
        di_json_put(config, key, token_json(job, id), failed);
}

/*
 * tokenizer_config.json. Where there is none, and for sentence-transformers, the class is the one
 * that takes tokenizer.json as it is: those of the families write a post-processor of their own.
 */
static dial_status write_config(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_tokenizer_info *info = di_tokenizer_get_info(job->run.tok);
    json_t *config = NULL;
    int failed = 0, own;

    DI_TRY(read_beside(job, "tokenizer_config.json", &config, err));
    own = config == NULL || for_st(job);
    if (config == NULL) config = json_object();
    if (own) {
        di_json_put(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"), &failed);
        di_json_put(config, "clean_up_tokenization_spaces", json_false(), &failed);
        di_json_put(config, "model_max_length", json_integer(job->run.policy.max_length), &failed);
        json_object_del(config, "add_bos_token");
        json_object_del(config, "add_eos_token");
        put_token(job, config, "bos_token", info->bos, &failed);
        put_token(job, config, "eos_token", info->eos, &failed);
        put_token(job, config, "unk_token", info->unk, &failed);
    }
    if (job->pad >= 0) di_json_put(config, "pad_token", token_json(job, job->pad), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for tokenizer_config.json");
    DI_TRY(di_export_json(job, "tokenizer_config.json", config, err));
done:
    json_decref(config);
    return st;
}

static dial_status write_special_map(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *map = NULL;
    int failed = 0;

    DI_TRY(read_beside(job, "special_tokens_map.json", &map, err));
    if (map == NULL) goto done;
    if (job->pad >= 0) di_json_put(map, "pad_token", token_json(job, job->pad), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for special_tokens_map.json");
    DI_TRY(di_export_json(job, "special_tokens_map.json", map, err));
done:
    json_decref(map);
    return st;
}

/* The model's chat template: a file of its folder (it may also stand in the config), or a key. */
static dial_status write_template(di_export_job *job, dial_error *err)
{
    static const char name[] = "chat_template.jinja";
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, di_source_path(job->run.source), name), *text = NULL;
    di_str note;
    size_t n = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_source_note(job->run.source, "tokenizer.chat_template", &note)) {
        DI_TRY(di_export_file(job, name, note.data, note.size, err));
    } else if (di_exists(path)) {
        DI_TRY(di_read_file(job->al, path, &text, &n, err));
        DI_TRY(di_export_file(job, name, text, n, err));
    }
done:
    di_free(job->al, path);
    di_free(job->al, text);
    return st;
}

dial_status di_export_tokenizer(di_export_job *job, char sha[65], dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_TRY(choose_padding(job, err));
    DI_TRY(write_tokenizer(job, sha, err));
    DI_TRY(write_config(job, err));
    DI_TRY(write_special_map(job, err));
    DI_TRY(write_template(job, err));
done:
    return st;
}
