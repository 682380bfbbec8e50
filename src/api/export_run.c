/* What an export carries of its run: dial.json, the card, and the list of its files. */
#include <string.h>
#include <sys/stat.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/file.h"

dial_status di_export_list(di_export_job *job, const char *name, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path =
        name != NULL ? di_path_join(job->al, job->tmp, name) : di_strdup(job->al, job->tmp);
    const char *slash = strrchr(job->opt->out, '/');
    struct stat info = {0};
    int failed = 0;

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    stat(path, &info);
    if (name == NULL) name = slash != NULL ? slash + 1 : job->opt->out;
    di_json_add(job->files,
                json_pack("{s:s, s:I}", "path", name, "bytes", (json_int_t)info.st_size), &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the list of files");
done:
    di_free(job->al, path);
    return st;
}

dial_status di_export_file(di_export_job *job, const char *name, const void *data, size_t n,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, job->tmp, name);

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    DI_TRY(di_write_file(job->al, path, data, n, err));
    DI_TRY(di_export_list(job, name, err));
done:
    di_free(job->al, path);
    return st;
}

dial_status di_export_json(di_export_job *job, const char *name, const json_t *value,
                           dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, job->al);
    if (value == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %s", name);
    DI_TRY(di_json_write(value, &b, err));
    di_buf_append(&b, "\n", 1);
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_export_file(job, name, b.data, b.size, err));
done:
    di_buf_deinit(&b);
    return st;
}

/* ---- dial.json ---- */

static json_t *base_json(const di_export_job *job, json_t *hashes)
{
    const di_config *c = di_source_config(job->run.source);

    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "path", ".", "kind", "hf", "arch", c->arch,
                     "hidden_size", (json_int_t)c->width, "num_layers", (json_int_t)job->run.layers,
                     "sha256", hashes);
}

json_t *di_export_run_json(const di_export_job *job, json_t *hashes, const char *tokenizer_sha)
{
    const di_session *s = &job->run;
    int failed = 0;
    json_t *o = s->run != NULL ? json_deep_copy(s->run) : json_object();

    di_json_put(o, "schema", json_string("dial.run/1"), &failed);
    di_json_put(o, "dial_version", json_string(DIAL_VERSION), &failed);
    di_json_put(o, "export", json_string(job->opt->to), &failed);
    if (hashes != NULL) di_json_put(o, "base", base_json(job, hashes), &failed);
    di_json_put(o, "layer", json_integer(s->layers), &failed);
    di_json_put(o, "pooling", json_string(s->pooling == DI_POOL_MEAN ? "mean" : "last"), &failed);
    di_json_put(o, "head",
                json_pack("{s:s, s:b, s:f, s:f, s:b}", "name", "score", "bias", 0, "shift",
                          s->shift, "scale", s->applied ? 1.0 : s->scale, "applied", s->applied),
                &failed);
    di_json_put(o, "lora", json_null(), &failed); /* it is in the weights */
    di_json_put(o, "text", di_text_policy_to_json(&s->policy, tokenizer_sha), &failed);
    if (job->selftest != NULL) di_json_put(o, "selftest", json_incref(job->selftest), &failed);
    return di_json_whole(o, failed);
}

/* ---- README.md ---- */

dial_status di_export_card(di_export_job *job, const char *library, dial_error *err)
{
    static const char peft[] = "library_name: peft";
    dial_status st = DIAL_OK;
    char *path = di_path_join(job->al, job->run.path, "README.md"), *card = NULL, *at;
    size_t n = 0;
    di_buf b;

    di_buf_init(&b, job->al);
    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (di_is_dir(job->run.path) && di_exists(path))
        DI_TRY(di_read_file(job->al, path, &card, &n, err));
    at = card != NULL ? strstr(card, peft) : NULL;
    if (at != NULL) {
        di_buf_append(&b, card, (size_t)(at - card));
        di_buf_printf(&b, "library_name: %s", library);
        di_buf_append(&b, at + sizeof peft - 1, n - (size_t)(at - card) - (sizeof peft - 1));
    } else if (card != NULL) {
        di_buf_append(&b, card, n);
    } else {
        di_buf_printf(&b,
                      "---\nlibrary_name: %s\ntags: [reward-model, dial]\n---\n\n# Reward model\n",
                      library);
    }
    di_buf_printf(&b,
                  "\n## This copy\n\nWritten by `dial export --to %s`, dial %s: the first %lld "
                  "blocks of the model, weights in %s, adapter and head folded in.\n",
                  job->opt->to, DIAL_VERSION, (long long)job->run.layers, job->opt->weights);
    if (job->pad_changed)
        di_buf_printf(&b,
                      "\nThe padding token is id %d, which differs from the base model's: "
                      "transformers pools the last token that is not padding.\n",
                      (int)job->pad);
    DI_TRY(di_buf_status(&b, err));
    DI_TRY(di_export_file(job, "README.md", b.data, b.size, err));
done:
    di_buf_deinit(&b);
    di_free(job->al, path);
    di_free(job->al, card);
    return st;
}
