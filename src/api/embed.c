/* dial_embed: pooled hidden states of the texts of a file, as .npy, .safetensors or .jsonl. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/session.h"
#include "base/error.h"
#include "base/file.h"
#include "base/npy.h"
#include "dist/dist.h"
#include "eval/classes.h"
#include "model/head.h"
#include "model/safetensors.h"

/* Rows in file order: one vector a text, two (chosen, rejected) for pairs. */
typedef struct vectors {
    float *e, *score;          /* [n, C], [n] or [n, classes]; score NULL without a head */
    int64_t n, width, classes; /* classes: of a head that tells some apart; else 0 */
} vectors;

static dial_status write_safetensors(const di_alloc *al, const char *path, const vectors *v,
                                     dial_error *err)
{
    di_st_entry entry[2] = {
        {"embeddings", "F32", {v->n, v->width}, 2, v->e, (size_t)(v->n * v->width) * sizeof *v->e},
        {v->classes > 0 ? "logits" : "score",
         "F32",
         {v->n, v->classes},
         v->classes > 0 ? 2 : 1,
         v->score,
         (size_t)(v->n * (v->classes > 0 ? v->classes : 1)) * sizeof *v->score},
    };

    return di_st_write(al, path, entry, v->score != NULL ? 2 : 1, NULL, err);
}

static dial_status write_jsonl(const di_alloc *al, const char *path, const vectors *v,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    di_writer w = {0};
    di_buf line;

    di_buf_init(&line, al);
    DI_TRY(di_write_begin(al, path, &w, err));
    for (int64_t i = 0; i < v->n; i++) {
        line.size = 0;
        di_buf_printf(&line, "{\"i\":%lld,\"embedding\":[", (long long)i);
        for (int64_t k = 0; k < v->width; k++)
            di_buf_printf(&line, "%s%.9g", k > 0 ? "," : "", (double)v->e[i * v->width + k]);
        di_buf_printf(&line, "]}\n");
        DI_TRY(di_buf_status(&line, err));
        DI_TRY(di_write(&w, line.data, line.size, err));
    }
    DI_TRY(di_write_commit(&w, err));
done:
    di_write_abort(&w);
    di_buf_deinit(&line);
    return st;
}

static int ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);

    return n >= m && strcmp(s + n - m, tail) == 0;
}

static void normalise(vectors *v)
{
    for (int64_t i = 0; i < v->n; i++) {
        float *e = v->e + i * v->width;
        double sum = 0;

        for (int64_t k = 0; k < v->width; k++) sum += (double)e[k] * (double)e[k];
        if (sum > 0)
            for (int64_t k = 0; k < v->width; k++) e[k] = (float)((double)e[k] / sqrt(sum));
    }
}

/* Spreads the embeddings of distinct texts over the rows. */
static dial_status spread(const di_session *s, const di_dataset *d, const float *e,
                          const float *reward, vectors *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t n = 0, rows = s->has_params ? di_head_rows(&s->params) : 0;

    for (int64_t i = 0; i < d->n; i++) n += d->example[i].n_texts;
    v->classes = rows > 1 ? rows : 0;
    v->width = di_source_config(s->source)->width;
    v->e = di_new_array(s->al, (size_t)(n * v->width), sizeof *v->e);
    if (s->has_params) v->score = di_new_array(s->al, (size_t)(n * rows), sizeof *v->score);
    if (v->e == NULL || (s->has_params && v->score == NULL))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld embeddings", (long long)n);
    for (int64_t i = 0; i < d->n; i++)
        for (int k = 0; k < d->example[i].n_texts; k++, v->n++) {
            int32_t text = d->text_of[d->example[i].first + k];

            memcpy(v->e + v->n * v->width, e + text * v->width, (size_t)v->width * sizeof *e);
            if (v->classes > 0)
                di_class_logits(di_head_at(&s->params, s->params.theta), rows,
                                v->e + v->n * v->width, 1, v->width, v->score + v->n * rows);
            else if (v->score != NULL)
                v->score[v->n] = reward[text];
        }
done:
    return st;
}

dial_status dial_embed(const dial_embed_options *o, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    di_session s = {0};
    di_dataset_options d_opt = {.drop_identical = 0};
    di_dataset *d = NULL;
    float *e = NULL, *reward = NULL, *none = NULL;
    vectors v = {0};
    json_t *doc;

    if (o->model == NULL || o->data == NULL || o->out == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE,
                   o->model == NULL  ? "--model"
                   : o->data == NULL ? "--data"
                                     : "--out",
                   "see dial embed --help", "the flag is required");
    if (!ends_in(o->out, ".npy") && !ends_in(o->out, ".safetensors") && !ends_in(o->out, ".jsonl"))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--out", "end the name in one of them",
                   "expected .npy, .safetensors or .jsonl, found '%s'", o->out);
    DI_TRY(di_session_open(&s, o->model, &o->common, DI_NEED_MODEL_OR_CLASSES, o->layer, o->pooling,
                           env, err));
    DI_TRY(di_session_ready(&s, err));
    DI_TRY(di_rows_options_from(&o->common, &d_opt.rows, err));
    DI_TRY(di_dataset_load(al, o->data, &d_opt, &s.policy, s.tok, env, &d, err));
    di_show_tokens(&s, d, o->common.show_tokens);
    v.width = di_source_config(s.source)->width;
    e = di_new_array(al, (size_t)(d->n_seq * v.width), sizeof *e);
    reward = di_new_array(al, (size_t)d->n_seq, sizeof *reward);
    none = di_new_array(al, (size_t)v.width, sizeof *none); /* a base has no head: zeros */
    if (e == NULL || reward == NULL || none == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld embeddings", (long long)d->n_seq);
    DI_TRY(di_score_dataset(s.embedder, s.has_params ? di_head_at(&s.params, s.params.theta) : none,
                            d, "embed", reward, e, NULL, NULL, err));
    if (di_dist_of(env)->rank > 0) goto done;
    DI_TRY(spread(&s, d, e, reward, &v, err));
    if (strcmp(o->embed_norm, "l2") == 0) normalise(&v);
    DI_TRY(ends_in(o->out, ".npy")     ? di_npy_write(al, o->out, v.e, v.n, v.width, err)
           : ends_in(o->out, ".jsonl") ? write_jsonl(al, o->out, &v, err)
                                       : write_safetensors(al, o->out, &v, err));
    doc =
        json_pack("{s:s, s:s, s:I, s:I, s:i, s:s, s:o}", "schema", "dial.embed/1", "out", o->out,
                  "n", (json_int_t)v.n, "dim", (json_int_t)v.width, "texts_per_row",
                  d->example[0].n_texts, "dtype", "f32", "rows", di_row_counts_to_json(&d->counts));
    DI_TRY(di_document(al, doc, json, err));
done:
    st = di_dist_leave(di_dist_of(env), st, err);
    di_free(al, e);
    di_free(al, reward);
    di_free(al, none);
    di_free(al, v.e);
    di_free(al, v.score);
    di_dataset_free(d);
    if (s.al != NULL) di_session_close(&s);
    return st;
}
