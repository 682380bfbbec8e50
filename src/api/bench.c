/*
 * dial_bench: throughput against the limit that the machine shows in the same run. gflops counts
 * what the mathematics needs (a shared prompt once, no recomputation); the limit is that of
 * prepacked products at this model's shapes, weighted by their share of the work.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "api/bench_parts.h"
#include "api/session.h"
#include "base/clock.h"
#include "base/error.h"
#include "eval/trunk_fill.h"
#include "train/split.h"
#include "train/trainer.h"

enum { PAIR_TOKENS = 170, PAIR_PROMPT = 24, WARM_STEPS = 2, PART_STEPS = 3, MAX_REPEAT = 1000 };

typedef struct bench_job {
    const dial_bench_options *opt;
    const di_alloc *al;
    di_session s;
    json_t *cases;
    int failed; /* a case found no memory */
} bench_job;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The dense products of a block: out, in. */
static int block_shapes(const di_config *c, int64_t shape[4][2])
{
    int64_t hd = c->heads * c->head_dim, kd = c->kv_heads * c->head_dim;
    int64_t all[4][2] = {
        {hd + 2 * kd, c->width}, {c->width, hd}, {2 * c->mlp, c->width}, {c->width, c->mlp}};

    memcpy(shape, all, sizeof all);
    return 4;
}

/*
 * Multiplications and additions of one pass of some token rows through n blocks, without attention.
 * Embeddings are read at the texts' ends: behind its keys and values the last block is wanted for
 * these alone.
 */
static double pass_flops(const di_config *c, int64_t n, int64_t rows, int64_t ends)
{
    int64_t shape[4][2];
    double sum = 0;
    int k = block_shapes(c, shape);

    for (int i = 0; i < k; i++)
        sum += 2.0 * (double)(shape[i][0] * shape[i][1]) *
               (double)(i == 0 ? n * rows : (n - 1) * rows + ends);
    return sum;
}

/*
 * 10^9 operations a second of y [rows, out] = x [rows, in] W^T, prepacked, x in act and y f32: the
 * best of `repeat` runs. NaN: no memory.
 */
static double product_rate(bench_job *j, int64_t rows, int64_t in, int64_t out, int repeat)
{
    di_device *dev = &j->s.dev;
    size_t n_w = (size_t)(in * out), n_x = (size_t)(rows * in), bytes = di_act_bytes(dev->act);
    float *w = di_new_array(j->al, n_w, sizeof *w);
    void *x = dev->ops->buffer_new(dev, n_x * bytes);
    void *y = dev->ops->buffer_new(dev, (size_t)(rows * out) * sizeof(float));
    double best = NAN;
    di_packed *packed = NULL;

    if (w == NULL || x == NULL || y == NULL) goto done;
    for (size_t i = 0; i < n_w; i++) w[i] = (float)(i % 509) / 256 - 1;
    for (size_t i = 0; i < n_x; i++) {
        float v = (float)(i % 251) / 128 - 1;
        uint16_t half = di_f32_to_bf16(v);

        memcpy((char *)x + i * bytes, dev->act == DI_BF16 ? (void *)&half : &v, bytes);
    }
    if (dev->ops->linear_pack(dev, &(di_weight){.data = w, .dtype = DI_F32, .out = out, .in = in},
                              1, NULL, DI_FORWARD | (j->s.int8 ? DI_INT8 : 0), &packed,
                              NULL) != DIAL_OK)
        goto done;
    for (int i = 0; i < repeat; i++) {
        di_mat from = {x, dev->act, rows, in, in}, to = {y, DI_F32, rows, out, out};
        double started = di_now(), rate;

        dev->ops->linear_forward(dev, packed, &from, &to, 0);
        rate = 2e-9 * (double)n_x * (double)out / (di_now() - started);
        if (!(rate <= best)) best = rate;
    }
done:
    dev->ops->linear_free(dev, packed);
    di_free(j->al, w);
    dev->ops->buffer_free(dev, x);
    dev->ops->buffer_free(dev, y);
    return best;
}

/* The same for a whole block; NaN in plain C, where it would take minutes. */
static double limit_of(bench_job *j, int64_t rows)
{
    const di_config *c = di_source_config(j->s.source);
    int64_t shape[4][2];
    int n = block_shapes(c, shape);
    double flops = 0, seconds = 0;

    if (strcmp(j->s.dev.ops->name, "cpu") != 0) return NAN;
    for (int i = 0; i < n; i++) {
        double work = (double)(shape[i][0] * shape[i][1]);

        flops += work;
        seconds += work / product_rate(j, rows, shape[i][1], shape[i][0], 10);
    }
    return flops / seconds;
}

/* The measured work: products run for the limit come afterwards and do not count. */
static json_int_t peak_memory(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (json_int_t)use.ru_maxrss * 1024;
}

/* What the frozen products are computed in. */
static const char *dtype_text(const bench_job *j)
{
    return j->s.int8 ? "int8" : j->s.dev.act == DI_BF16 ? "bf16" : "f32";
}

/* rows: of the products that the limit is measured with; 0: `limit` is known. */
static void add_case(bench_job *j, const char *name, int64_t tokens, double pairs, double *seconds,
                     int n, double flops, int64_t rows, double limit)
{
    json_int_t peak = peak_memory();
    double best, median;

    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    best = seconds[0];
    median = n % 2 == 1 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
    if (rows > 0) limit = limit_of(j, rows);
    di_json_add(j->cases,
                json_pack("{s:s, s:s, s:I, s:{s:o, s:o}, s:o, s:o, s:o, s:o, s:n, s:o, s:I}",
                          "name", name, "dtype", dtype_text(j), "tokens", (json_int_t)tokens,
                          "seconds", "best", di_json_stat(best), "median", di_json_stat(median),
                          "tokens_per_second", di_json_stat((double)tokens / median),
                          "pairs_per_second", di_json_stat(pairs > 0 ? pairs / median : NAN),
                          "gflops", di_json_stat(flops / median * 1e-9), "limit_gflops",
                          di_json_stat(limit), "gb_per_second", "peak_fraction",
                          di_json_stat(flops / median * 1e-9 / limit), "peak_memory_bytes", peak),
                &j->failed);
}

/* n texts of `length` ids each, drawn from the seed; texts 2i and 2i+1 share their first ones. */
static dial_status random_texts(bench_job *j, int64_t n, int64_t length, int64_t shared,
                                int32_t **ids, di_seq_view **text, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t vocab = di_source_config(j->s.source)->vocab;
    di_rng r = di_rng_make((uint64_t)j->opt->common.seed, DI_RNG_WEIGHTS, 1);

    *ids = di_new_array(j->al, (size_t)(n * length), sizeof **ids);
    *text = di_new_array(j->al, (size_t)n, sizeof **text);
    if (*ids == NULL || *text == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the texts");
    for (int64_t i = 0; i < n; i++) {
        int32_t *id = *ids + i * length;

        for (int64_t k = 0; k < length; k++) id[k] = (int32_t)di_rng_below(&r, (uint64_t)vocab);
        if (i % 2 == 1) memcpy(id, id - length, (size_t)shared * sizeof *id);
        (*text)[i] = (di_seq_view){id, length};
    }
done:
    return st;
}

static int repeats(const bench_job *j)
{
    return j->opt->repeat < 1 ? 1 : j->opt->repeat > MAX_REPEAT ? MAX_REPEAT : (int)j->opt->repeat;
}

static dial_status bench_forward(bench_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char *const usual[] = {"128", "512"};
    const char *const *list = j->opt->length.n > 0 ? j->opt->length.item : usual;
    int64_t n_lengths = j->opt->length.n > 0 ? j->opt->length.n : 2;
    const di_config *c = di_source_config(j->s.source);
    int32_t *ids = NULL;
    di_seq_view *text = NULL;
    float *e = NULL;
    double seconds[MAX_REPEAT];
    char name[64];

    DI_TRY(di_session_ready(&j->s, err));
    for (int64_t k = 0; k < n_lengths; k++) {
        int64_t length = strtoll(list[k], NULL, 10), n;

        if (length < 1 || length > j->s.policy.max_length)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--length", "raise --max-length",
                       "expected 1 to %lld, found '%s'", (long long)j->s.policy.max_length,
                       list[k]);
        n = 2048 / length > 0 ? 2048 / length : 1;
        DI_TRY(random_texts(j, n, length, 0, &ids, &text, err));
        e = di_new_array(j->al, (size_t)(n * c->width), sizeof *e);
        if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for embeddings");
        for (int i = -1; i < repeats(j); i++) {
            double started = di_now();

            DI_TRY(di_embed_texts(j->s.embedder, text, NULL, n, "bench", e, err));
            if (i >= 0) seconds[i] = di_now() - started;
        }
        snprintf(name, sizeof name, "forward, %lld texts of %lld tokens", (long long)n,
                 (long long)length);
        add_case(j, name, n * length, 0, seconds, repeats(j),
                 pass_flops(c, j->s.layers, n * length, n), n * length, NAN);
        di_free(j->al, e);
        di_free(j->al, ids);
        di_free(j->al, text);
        e = NULL;
        ids = NULL;
        text = NULL;
    }
done:
    di_free(j->al, e);
    di_free(j->al, ids);
    di_free(j->al, text);
    return st;
}

/*
 * Pairs whose two responses of 100 tokens share a prompt of 400, then the same without: 600 rows a
 * pair instead of 1,000, so 1.67 is the bound.
 */
static dial_status bench_prefix(bench_job *j, dial_error *err)
{
    enum { PAIRS = 4, PROMPT = 400, RESPONSE = 100 };
    dial_status st = DIAL_OK;
    const di_config *c = di_source_config(j->s.source);
    int64_t length = PROMPT + RESPONSE;
    uint64_t prompt[2 * PAIRS];
    int32_t *ids = NULL;
    di_seq_view *text = NULL;
    double seconds[MAX_REPEAT];
    float *e = di_new_array(j->al, (size_t)(2 * PAIRS * c->width), sizeof *e);

    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for embeddings");
    DI_TRY(di_session_ready(&j->s, err));
    DI_TRY(random_texts(j, 2 * PAIRS, length, PROMPT, &ids, &text, err));
    for (int i = 0; i < 2 * PAIRS; i++) prompt[i] = (uint64_t)(i / 2);
    for (int shared = 1; shared >= 0; shared--) {
        int64_t rows = PAIRS * (shared ? length + RESPONSE : 2 * length);

        for (int i = -1; i < repeats(j); i++) {
            double started = di_now();

            DI_TRY(di_embed_texts(j->s.embedder, text, shared ? prompt : NULL, 2 * PAIRS, "bench",
                                  e, err));
            if (i >= 0) seconds[i] = di_now() - started;
        }
        add_case(j,
                 shared ? "prompts of 400, two responses of 100, shared" : "the same, not shared",
                 2 * PAIRS * length, PAIRS, seconds, repeats(j),
                 pass_flops(c, j->s.layers, rows, 2 * PAIRS), rows, NAN);
    }
done:
    di_free(j->al, e);
    di_free(j->al, ids);
    di_free(j->al, text);
    return st;
}

/* Random pairs as a dataset in memory, for the trainer. */
typedef struct fake {
    int32_t *ids, *text_of;
    di_seq_view *text;
    di_seq *seq;
    di_example *example;
    di_dataset set, *list;
    di_examples examples;
} fake;

/* Tokens of each text of a pair; its prompt stands in both. */
static int64_t pair_length(const bench_job *j)
{
    return j->opt->length.n > 0 ? strtoll(j->opt->length.item[0], NULL, 10) : PAIR_TOKENS / 2;
}

static dial_status fake_pairs(bench_job *j, int64_t n, fake *f, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t length = pair_length(j);

    if (length <= PAIR_PROMPT)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--length", "give the tokens of a text, prompt included",
                   "expected more than the %d tokens of a pair's prompt", PAIR_PROMPT);
    DI_TRY(random_texts(j, 2 * n, length, PAIR_PROMPT, &f->ids, &f->text, err));
    f->seq = di_new_array(j->al, 2 * (size_t)n, sizeof *f->seq);
    f->text_of = di_new_array(j->al, 2 * (size_t)n, sizeof *f->text_of);
    f->example = di_new_array(j->al, (size_t)n, sizeof *f->example);
    if (!f->seq || !f->text_of || !f->example)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the pairs");
    for (int64_t i = 0; i < 2 * n; i++) {
        f->seq[i] = (di_seq){.id = f->text[i].id, .n = f->text[i].n};
        f->text_of[i] = (int32_t)i;
    }
    for (int64_t i = 0; i < n; i++)
        f->example[i] =
            (di_example){.kind = DI_ROW_PAIR, .first = (int32_t)(2 * i), .n_texts = 2, .weight = 1};
    f->set = (di_dataset){.al = j->al,
                          .example = f->example,
                          .n = n,
                          .text_of = f->text_of,
                          .seq = f->seq,
                          .n_seq = 2 * n};
    f->list = &f->set;
    DI_TRY(di_examples_all(j->al, &f->list, 1, &f->examples, err));
done:
    return st;
}

static void free_fake(const di_alloc *al, fake *f)
{
    di_examples_free(al, &f->examples);
    di_free(al, f->ids);
    di_free(al, f->text);
    di_free(al, f->seq);
    di_free(al, f->text_of);
    di_free(al, f->example);
}

typedef struct train_bench {
    fake source, target;
    di_params params;
    int has_params;
    di_decoder *decoder;
    di_alignment *align;
    di_trunk *trunk;
    di_trainer *trainer;
} train_bench;

static dial_status bench_lora(bench_job *j, di_lora_options *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *layers = j->opt->lora_layers;
    long long top = strncmp(layers, "top:", 4) == 0 ? strtoll(layers + 4, NULL, 10) : j->s.layers;

    *out = (di_lora_options){.r = j->opt->lora_r,
                             .alpha = (float)j->opt->lora_r,
                             .first_layer = j->s.layers - top,
                             .end_layer = j->s.layers};
    for (int l = 0; l < DI_LINEAR_COUNT; l++)
        if (strncmp(j->opt->lora_targets, "all", 3) == 0 ||
            strstr(j->opt->lora_targets, di_linear_name[l]) != NULL)
            out->targets |= 1u << l;
    if (top < 1 || top > j->s.layers || out->targets == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--lora-layers", "write all or top:8, q_proj,v_proj or all",
                   "expected layers of the model and names of linear layers");
done:
    return st;
}

/* What enters the lowest trained block, of all texts, in memory: as after a first epoch. */
static dial_status store_trunk(bench_job *j, train_bench *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t width = di_decoder_config(t->decoder)->width;
    di_trunk_shape shape = {(size_t)width * di_act_bytes(j->s.dev.act), 1};
    di_trunk_store nowhere = {.path = NULL};
    const fake *side[2] = {&t->source, &t->target};
    di_embedder *m = NULL;

    if (di_decoder_entry(t->decoder) == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--trunk", "add --lora-layers top:8",
                   "every block is trained: there is no trunk");
    DI_TRY(di_trunk_new(j->al, j->s.env, &shape, &t->trunk, err));
    DI_TRY(di_embedder_new(&j->s.dev, t->decoder, 1024, PAIR_TOKENS, &m, err));
    for (int k = 0; k < 2; k++)
        DI_TRY(di_trunk_fill(m, t->trunk, &nowhere, side[k]->text, NULL, side[k]->set.n_seq, err));
done:
    di_embedder_free(m);
    return st;
}

static dial_status open_train(bench_job *j, train_bench *t, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_bench_options *o = j->opt;
    di_lora_options lora;
    di_align *method;
    di_train_settings set = {.steps = MAX_REPEAT + WARM_STEPS + PART_STEPS,
                             .batch = {o->batch_source, o->batch_target},
                             .parts = 1,
                             .micro_texts = 1 << 20,
                             .lambda = 0.01,
                             .lr = 5e-5,
                             .head_lr = 5e-5,
                             .clip = 1,
                             .grad_checkpoint = strcmp(o->grad_checkpoint, "on") == 0};
    di_wasserstein_options critic = {.width = di_source_config(j->s.source)->width,
                                     .max_rows = 2 * (o->batch_source + o->batch_target),
                                     .hidden = {256, 128},
                                     .n_hidden = 2,
                                     .gp = 1,
                                     .iters = 3,
                                     .lr = 1e-4,
                                     .decay = 1e-3};
    di_decoder_options d = {
        .n_layers = j->s.layers, .pooling = j->s.pooling, .train = 1, .int8 = j->s.int8};

    DI_TRY(bench_lora(j, &lora, err));
    d.first_trained = lora.first_layer;
    DI_TRY(fake_pairs(j, 8 * o->batch_source, &t->source, err));
    DI_TRY(fake_pairs(j, 8 * o->batch_target, &t->target, err));
    DI_TRY(di_params_init(&t->params, j->al, di_source_config(j->s.source), &lora, err));
    t->has_params = 1;
    di_params_randomize(&t->params, 0);
    DI_TRY(di_decoder_new(&j->s.dev, j->s.source, &d, &t->decoder, err));
    di_decoder_set_lora(t->decoder, &t->params);
    if (o->trunk) DI_TRY(store_trunk(j, t, err));
    set.trunk = t->trunk;
    DI_TRY(di_wasserstein_new(&j->s.dev, &critic, &method, err));
    DI_TRY(di_alignment_new(
        &j->s.dev, &(di_alignment_options){.width = critic.width, .max_rows = critic.max_rows},
        method, NULL, &t->align, err));
    DI_TRY(di_trainer_new(&j->s.dev, t->decoder, &t->params, t->align, &set,
                          (const di_examples *[DI_SIDES]){&t->source.examples, &t->target.examples},
                          &t->trainer, err));
done:
    return st;
}

static dial_status bench_train(bench_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    train_bench t = {.has_params = 0};
    const di_config *c = di_source_config(j->s.source);
    int64_t pairs = j->opt->batch_source + j->opt->batch_target;
    int64_t rows =
        pairs * (2 * pair_length(j) - PAIR_PROMPT); /* a shared prompt is computed once */
    int64_t top;
    double seconds[MAX_REPEAT], flops;
    di_step_report r;
    di_parts parts;
    double started;
    char name[96];

    DI_TRY(open_train(j, &t, err));
    for (int i = -WARM_STEPS; i < repeats(j); i++) {
        started = di_now();
        DI_TRY(di_trainer_step(t.trainer, &r, err));
        if (i >= 0) seconds[i] = di_now() - started;
    }
    di_parts_start(&parts, &j->s.dev);
    started = di_now();
    for (int i = 0; i < PART_STEPS && st == DIAL_OK; i++) st = di_trainer_step(t.trainer, &r, err);
    di_parts_stop(&parts, &j->s.dev);
    if (st != DIAL_OK) goto done;
    for (int i = 0; i < DI_PART_COUNT; i++) parts.seconds[i] /= PART_STEPS;
    started = (di_now() - started) / PART_STEPS;
    top = t.params.lora.end_layer - t.params.lora.first_layer;
    flops = pass_flops(c, j->opt->trunk ? top : j->s.layers, rows, 2 * pairs) +
            pass_flops(c, top, rows, 2 * pairs);
    snprintf(name, sizeof name, "train, %lld + %lld pairs of %lld tokens, LoRA r %lld%s",
             (long long)j->opt->batch_source, (long long)j->opt->batch_target,
             (long long)(2 * pair_length(j)), (long long)j->opt->lora_r,
             j->opt->trunk ? DI_FMT(", top %lld over a stored trunk", (long long)top) : "");
    add_case(j, name, r.tokens, (double)pairs, seconds, repeats(j), flops, rows / 2, NAN);
    di_json_put(json_array_get(j->cases, json_array_size(j->cases) - 1), "parts",
                di_parts_json(&parts, started), &j->failed);
done:
    di_trainer_free(t.trainer);
    di_alignment_free(t.align);
    di_trunk_free(t.trunk);
    di_decoder_free(t.decoder);
    if (t.has_params) di_params_deinit(&t.params);
    free_fake(j->al, &t.source);
    free_fake(j->al, &t.target);
    return st;
}

/* The tokenizer on text made of its own tokens. */
static dial_status bench_tokenize(bench_job *j, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_token_list list = {.al = j->al};
    di_rng r = di_rng_make((uint64_t)j->opt->common.seed, DI_RNG_WEIGHTS, 2);
    double seconds[MAX_REPEAT];
    di_buf text;

    di_buf_init(&text, j->al);
    if (j->s.tok == NULL) DI_TRY(di_source_tokenizer(j->s.source, &j->s.tok, err));
    while (text.size < 1 << 20 && !text.failed)
        di_buf_printf(&text, "The %lld words of line %u are read again, ",
                      (long long)di_rng_below(&r, 100000), di_rng_u32(&r) % 1000);
    DI_TRY(di_buf_status(&text, err));
    for (int i = -1; i < repeats(j); i++) {
        double started = di_now();

        DI_TRY(di_tokenizer_encode(j->s.tok, text.data, text.size, &list, err));
        if (i >= 0) seconds[i] = di_now() - started;
    }
    add_case(j, "tokenize, 1 MiB of English", (int64_t)list.n, 0, seconds, repeats(j), NAN, 0, NAN);
done:
    di_token_list_deinit(&list);
    di_buf_deinit(&text);
    return st;
}

/* The limit of each dense product of a block. */
static dial_status bench_kernels(bench_job *j)
{
    const di_config *c = di_source_config(j->s.source);
    static const char *const names[4] = {"qkv", "o", "gate|up", "down"};
    int64_t shape[4][2];
    int n = block_shapes(c, shape);

    for (int i = 0; i < n; i++) {
        double rate = product_rate(j, 1024, shape[i][1], shape[i][0], repeats(j)), seconds;
        char name[96];

        seconds = 2.0 * 1024 * (double)(shape[i][0] * shape[i][1]) / rate * 1e-9;
        snprintf(name, sizeof name, "%s, 1024 x %lld x %lld", names[i], (long long)shape[i][1],
                 (long long)shape[i][0]);
        add_case(j, name, 1024, 0, &seconds, 1, 2.0 * 1024 * (double)(shape[i][0] * shape[i][1]), 0,
                 rate);
    }
    return DIAL_OK;
}

/* --check: embeddings of a few texts by this device against plain C. */
static dial_status check_against_ref(bench_job *j, json_t **out, int *ok, dial_error *err)
{
    dial_status st = DIAL_OK;
    dial_common_options plain = j->opt->common;
    di_session ref = {0};
    int32_t *ids = NULL;
    di_seq_view *text = NULL;
    int64_t width = di_source_config(j->s.source)->width;
    float *e = di_new_array(j->al, (size_t)(8 * width), sizeof *e);
    double worst = 0, norm = 0;

    plain.device = "ref";
    plain.dtype = "f32";
    plain.weights = "auto";
    if (e == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the check");
    if (j->s.decoder == NULL) DI_TRY(di_session_ready(&j->s, err));
    DI_TRY(di_session_open(&ref, j->opt->model, &plain, DI_NEED_SHAPE, NULL, NULL, j->s.env, err));
    DI_TRY(di_session_ready(&ref, err));
    DI_TRY(random_texts(j, 4, 24, 8, &ids, &text, err));
    DI_TRY(di_embed_texts(j->s.embedder, text, NULL, 4, "check", e, err));
    DI_TRY(di_embed_texts(ref.embedder, text, NULL, 4, "check", e + 4 * width, err));
    for (int64_t i = 0; i < 4 * width; i++) {
        worst = fmax(worst, fabs((double)e[i] - (double)e[4 * width + i]));
        norm = fmax(norm, fabs((double)e[4 * width + i]));
    }
    *ok = worst <= (j->s.int8 ? 0.25 : j->s.dev.act == DI_BF16 ? 0.1 : 1e-4) * norm;
    *out = json_pack("{s:b, s:o}", "ok", *ok, "max_abs_diff", di_json_stat(worst));
done:
    if (ref.al != NULL) di_session_close(&ref);
    di_free(j->al, ids);
    di_free(j->al, text);
    di_free(j->al, e);
    return st;
}

dial_status dial_bench(const dial_bench_options *o, const dial_env *env, char **json,
                       dial_error *err)
{
    dial_status st = DIAL_OK;
    bench_job j = {.opt = o, .al = di_env_alloc(env), .cases = json_array()};
    json_t *check = NULL, *doc;
    int ok = 1;

    if (o->model == NULL)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--model", "see dial bench --help", "the flag is required");
    DI_TRY(di_session_open(&j.s, o->model, &o->common, DI_NEED_SHAPE, NULL, NULL, env, err));
    DI_TRY(strcmp(o->what, "forward") == 0    ? bench_forward(&j, err)
           : strcmp(o->what, "prefix") == 0   ? bench_prefix(&j, err)
           : strcmp(o->what, "tokenize") == 0 ? bench_tokenize(&j, err)
           : strcmp(o->what, "kernels") == 0  ? bench_kernels(&j)
                                              : bench_train(&j, err));
    if (o->check) DI_TRY(check_against_ref(&j, &check, &ok, err));
    if (j.failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the result");
    doc = json_pack("{s:s, s:s, s:i, s:O, s:O?}", "schema", "dial.bench/1", "device", j.s.dev.isa,
                    "threads", j.s.dev.threads, "cases", j.cases, "check", check);
    DI_TRY(di_document(j.al, doc, json, err));
    if (!ok) DI_FAIL(err, DIAL_ERR_CHECK, "the device and plain C differ");
done:
    json_decref(j.cases);
    json_decref(check);
    if (j.s.al != NULL) di_session_close(&j.s);
    return st;
}
