/*
 * The folders of transformers and sentence-transformers: merged weights in shards, config.json,
 * tokenizer, and dial.json, by which dial itself reads them back (interfaces.md 4.3).
 */
#include <string.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/file.h"
#include "model/config_write.h"
#include "model/safetensors.h"

enum { CHUNK = 1 << 18 }; /* floats converted at a time */

typedef struct hf_writer {
    di_export_job *job;
    di_st_entry *entry; /* all tensors: those of the fold, then the head */
    int *shard;         /* [n] */
    int n, n_shards;
    const di_st_entry *first; /* of the shard being written, laid out like `of` */
    int *of;                  /* [n] entry of the shard -> tensor of the fold; fold.n: the head */
    float *rows;
    void *packed;
    float norm_shift; /* added to norms: what the family's files hold, less what the base's do */
} hf_writer;

static int for_st(const di_export_job *job)
{
    return strcmp(job->opt->to, "st") == 0;
}

/* ---- weights ---- */

static dial_status fill(void *ctx, const di_st_entry *e, di_writer *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    hf_writer *h = ctx;
    di_fold *f = &h->job->fold;
    const int at = h->of[e - h->first];
    const di_fold_tensor *t = &f->tensor[at < f->n ? at : 0];
    const int64_t most = t->cols < CHUNK ? CHUNK / t->cols : 1;

    if (at == f->n) {
        const int64_t c = h->job->run.params.width;

        di_quantize(h->job->dtype, h->job->head, h->packed, c);
        DI_TRY(di_write(w, h->packed, di_dtype_row_bytes(h->job->dtype, c), err));
        goto done;
    }
    for (int64_t row = 0, n; row < t->rows; row += n) {
        n = t->rows - row < most ? t->rows - row : most;
        DI_TRY(di_fold_rows(f, t, row, n, h->rows, err));
        for (int64_t i = 0; t->is_norm && i < t->cols; i++) h->rows[i] += h->norm_shift;
        di_quantize(h->job->dtype, h->rows, h->packed, n * t->cols);
        DI_TRY(di_write(w, h->packed, (size_t)n * di_dtype_row_bytes(h->job->dtype, t->cols), err));
    }
done:
    return st;
}

static dial_status plan(hf_writer *h, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_export_job *job = h->job;
    const di_fold *f = &job->fold;
    const di_config *c = di_source_config(job->run.source);
    const char *dtype = di_dtype_name(job->dtype);
    size_t size = 0, most = (size_t)(job->opt->shard_size > 0 ? job->opt->shard_size : 1);
    int64_t widest = CHUNK > c->width ? CHUNK : c->width;

    h->entry = di_new_array(job->al, (size_t)f->n + 1, sizeof *h->entry);
    h->shard = di_new_array(job->al, (size_t)f->n + 1, sizeof *h->shard);
    h->of = di_new_array(job->al, (size_t)f->n + 1, sizeof *h->of);
    for (int i = 0; i < f->n; i++)
        if (f->tensor[i].cols > widest) widest = f->tensor[i].cols;
    h->rows = di_new_array(job->al, (size_t)widest, sizeof *h->rows);
    h->packed = di_new_array(job->al, (size_t)widest, sizeof *h->rows);
    if (!h->entry || !h->shard || !h->of || !h->rows || !h->packed)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the list of tensors");
    for (int i = 0; i < f->n; i++) {
        const di_fold_tensor *t = &f->tensor[i];

        /* an AutoModel is the part below "model." of the class with a head */
        h->entry[i] =
            (di_st_entry){.name = t->name + (for_st(job) ? strlen("model.") : 0),
                          .dtype_name = dtype,
                          .dim = {t->rows, t->cols},
                          .n_dims = 2,
                          .bytes = (size_t)t->rows * di_dtype_row_bytes(job->dtype, t->cols)};
        if (t->n_dims == 1) {
            h->entry[i].dim[0] = t->cols;
            h->entry[i].n_dims = 1;
        }
    }
    h->n = f->n;
    if (!for_st(job))
        h->entry[h->n++] = (di_st_entry){.name = "score.weight",
                                         .dtype_name = dtype,
                                         .dim = {1, c->width},
                                         .n_dims = 2,
                                         .bytes = di_dtype_row_bytes(job->dtype, c->width)};
    for (int i = 0; i < h->n; i++) {
        if (size > 0 && size + h->entry[i].bytes > most) {
            h->n_shards++;
            size = 0;
        }
        h->shard[i] = h->n_shards;
        size += h->entry[i].bytes;
    }
    h->n_shards++;
    h->norm_shift = c->act != DI_GELU_TANH || c->norm_plus_one ? 0 : -1;
done:
    return st;
}

static void shard_name(const hf_writer *h, int k, char name[64])
{
    if (h->n_shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05d-of-%05d.safetensors", k + 1, h->n_shards);
}

static dial_status write_shard(hf_writer *h, int k, json_t *map, json_t *metadata, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_export_job *job = h->job;
    di_st_entry *part = di_new_array(job->al, (size_t)h->n, sizeof *part);
    char name[64], *path = NULL;
    size_t n = 0;
    int failed = 0;

    shard_name(h, k, name);
    path = di_path_join(job->al, job->tmp, name);
    if (part == NULL || path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for '%s'", name);
    for (int i = 0; i < h->n; i++) {
        if (h->shard[i] != k) continue;
        h->of[n] = i;
        part[n++] = h->entry[i];
        di_json_put(map, h->entry[i].name, json_string(name), &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the index of shards");
    h->first = part;
    DI_TRY(di_st_write_from(job->al, path, part, n, metadata, fill, h, err));
    DI_TRY(di_export_list(job, name, err));
done:
    di_free(job->al, part);
    di_free(job->al, path);
    return st;
}

static dial_status write_weights(hf_writer *h, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *map = json_object(), *metadata = json_pack("{s:s}", "format", "pt"), *index = NULL;
    size_t total = 0;

    if (map == NULL || metadata == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the weights");
    DI_TRY(plan(h, err));
    for (int k = 0; k < h->n_shards; k++) DI_TRY(write_shard(h, k, map, metadata, err));
    if (h->n_shards == 1) goto done;
    for (int i = 0; i < h->n; i++) total += h->entry[i].bytes;
    index =
        json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    DI_TRY(di_export_json(h->job, "model.safetensors.index.json", index, err));
done:
    json_decref(map);
    json_decref(metadata);
    json_decref(index);
    return st;
}

/* ---- config.json ---- */

static dial_status write_config(di_export_job *job, dial_error *err)
{
    static const char *const dtypes[] = {"dtype", "torch_dtype"};
    dial_status st = DIAL_OK;
    json_t *c = NULL;
    const char *family = NULL;
    int failed = 0;

    DI_TRY(di_config_to_json(job->al, job->run.source, job->run.layers, &c, &family, err));
    di_json_put(c, "architectures",
                json_pack("[s]", DI_FMT("%s%s", family,
                                        for_st(job) ? "Model" : "ForSequenceClassification")),
                &failed);
    for (int i = 0; i < 2; i++)
        di_json_put(c, dtypes[i],
                    json_string(job->dtype == DI_F32   ? "float32"
                                : job->dtype == DI_F16 ? "float16"
                                                       : "bfloat16"),
                    &failed);
    di_json_put(c, "pad_token_id", job->pad >= 0 ? json_integer(job->pad) : json_null(), &failed);
    if (!for_st(job)) {
        di_json_put(c, "num_labels", json_integer(1), &failed);
        di_json_put(c, "id2label", json_pack("{s:s}", "0", "LABEL_0"), &failed);
        di_json_put(c, "label2id", json_pack("{s:i}", "LABEL_0", 0), &failed);
        di_json_put(c, "problem_type", json_string("regression"), &failed);
    }
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for config.json");
    DI_TRY(di_export_json(job, "config.json", c, err));
done:
    json_decref(c);
    return st;
}

/* ---- the modules of sentence-transformers ---- */

static dial_status make_folder(di_export_job *job, const char *name, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, job->tmp, name);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_make_dirs(path, err));
done:
    di_free(job->al, path);
    return st;
}

/* json: handed over. */
static dial_status put_json(di_export_job *job, const char *name, json_t *json, dial_error *err)
{
    dial_status st = di_export_json(job, name, json, err);

    json_decref(json);
    return st;
}

static json_t *pooling_json(const di_export_job *job)
{
    static const char *const off[] = {"pooling_mode_cls_token", "pooling_mode_max_tokens",
                                      "pooling_mode_mean_sqrt_len_tokens",
                                      "pooling_mode_weightedmean_tokens"};
    const int mean = job->run.pooling == DI_POOL_MEAN;
    json_t *o =
        json_pack("{s:I, s:b, s:b}", "word_embedding_dimension", (json_int_t)job->run.params.width,
                  "pooling_mode_mean_tokens", mean, "pooling_mode_lasttoken", !mean);
    int failed = 0;

    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        di_json_put(o, off[i], json_false(), &failed);
    di_json_put(o, "include_prompt", json_true(), &failed);
    return di_json_whole(o, failed);
}

static json_t *modules_json(void)
{
    static const struct {
        const char *path, *name;
    } module[] = {{"", "Transformer"}, {"1_Pooling", "Pooling"}, {"2_Dense", "Dense"}};
    json_t *list = json_array();
    int failed = 0;

    for (int i = 0; i < 3; i++)
        di_json_add(list,
                    json_pack("{s:i, s:s, s:s, s:s}", "idx", i, "name", DI_FMT("%d", i), "path",
                              module[i].path, "type",
                              DI_FMT("sentence_transformers.models.%s", module[i].name)),
                    &failed);
    return di_json_whole(list, failed);
}

static dial_status write_modules(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const int64_t c = job->run.params.width;
    const float shift = (float)job->shift;
    char *dense = di_path_join(job->al, job->tmp, "2_Dense/model.safetensors");
    const di_st_entry entry[2] = {
        {"linear.weight", "F32", {1, c}, 2, job->head, (size_t)c * sizeof(float)},
        {"linear.bias", "F32", {1}, 1, &shift, sizeof shift},
    };
    json_t *metadata = json_pack("{s:s}", "format", "pt");

    if (dense == NULL || metadata == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the head");
    DI_TRY(make_folder(job, "1_Pooling", err));
    DI_TRY(make_folder(job, "2_Dense", err));
    DI_TRY(put_json(job, "modules.json", modules_json(), err));
    DI_TRY(put_json(job, "sentence_bert_config.json",
                    json_pack("{s:I, s:b}", "max_seq_length",
                              (json_int_t)job->run.policy.max_length, "do_lower_case", 0),
                    err));
    DI_TRY(put_json(job, "1_Pooling/config.json", pooling_json(job), err));
    DI_TRY(put_json(job, "2_Dense/config.json",
                    json_pack("{s:I, s:i, s:b, s:s}", "in_features", (json_int_t)c, "out_features",
                              1, "bias", job->shift != 0, "activation_function",
                              "torch.nn.modules.linear.Identity"),
                    err));
    DI_TRY(di_st_write(job->al, dense, entry, job->shift != 0 ? 2 : 1, metadata, err));
    DI_TRY(di_export_list(job, "2_Dense/model.safetensors", err));
done:
    json_decref(metadata);
    di_free(job->al, dense);
    return st;
}

/* ---- all of it ---- */

/* dial.json last: the hashes are those of the files as they lie there. */
static dial_status write_run(di_export_job *job, const char *tokenizer_sha, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_source *s = NULL;
    json_t *hashes = json_object(), *run = NULL;

    if (hashes == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for hashes");
    DI_TRY(di_source_open(job->al, NULL, job->tmp, &s, err));
    DI_TRY(di_source_hashes(s, hashes, err));
    run = di_export_run_json(job, hashes, tokenizer_sha);
    hashes = NULL;
    DI_TRY(di_export_json(job, "dial.json", run, err));
done:
    di_source_close(s);
    json_decref(hashes);
    json_decref(run);
    return st;
}

dial_status di_export_hf(di_export_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    hf_writer h = {.job = job};
    char sha[65];

    DI_TRY(di_make_dirs(job->tmp, err));
    DI_TRY(write_weights(&h, err));
    DI_TRY(di_export_tokenizer(job, sha, err));
    DI_TRY(write_config(job, err));
    if (for_st(job)) DI_TRY(write_modules(job, err));
    DI_TRY(di_export_card(job, for_st(job) ? "sentence-transformers" : "transformers", err));
    DI_TRY(write_run(job, sha, err));
done:
    di_free(job->al, h.entry);
    di_free(job->al, h.shard);
    di_free(job->al, h.of);
    di_free(job->al, h.rows);
    di_free(job->al, h.packed);
    return st;
}
