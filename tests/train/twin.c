/*
 * Ten steps of the whole DIAL update against a PyTorch twin (tests/fixtures/make_twin.py): joint,
 * alternate, joint with the linear critic, and joint with sharpness-aware steps on the source loss.
 * Initial values, texts, interpolation weights and pairings come from the fixture; loss, gap,
 * penalty and embeddings must follow at every step.
 *
 * Limit 1e-4 relative, as the twin's own f32 run keeps 1.4e-5 of its f64 one; final parameters
 * 1e-4 of the tensor's norm.
 */
#include "test.h"

#include <math.h>

#include "model/device.h"
#include "model/safetensors.h"
#include "train/trainer.h"

enum { STEPS = 10, M = 2, TEXTS = 8, ITERS = 3 };
static const double limit = 1e-4;

typedef struct twin {
    di_st f;
    di_device dev;
    di_source *source;
    di_decoder *decoder;
    di_params params;
    di_align *method;
    di_alignment *align;
    int32_t ids[1024], offsets[STEPS * TEXTS + 1];
    /* the texts as two data sets whose shuffled order is that of the fixture */
    di_seq seq[2][2 * STEPS * M];
    int32_t text_of[2][2 * STEPS * M];
    di_example example[2][STEPS * M];
    di_example_ref ref[2][STEPS * M];
    di_dataset set[2], *list[2];
    di_examples side[2];
    int draws;
} twin;

static float series(twin *t, const char *name, int step)
{
    const di_st_tensor *x = di_st_find(&t->f, name);
    float v;

    assert_non_null(x);
    memcpy(&v, (const char *)x->data + (size_t)step * sizeof v, sizeof v);
    return v;
}

static void assert_near(const char *what, int step, double got, double want)
{
    if (!(fabs(got - want) <= limit * fmax(fabs(want), 1e-3)))
        fail_msg("step %d: %s is %.9g, the twin has %.9g", step, what, got, want);
}

/* The draws of fit number `draws`: alphas [10, 3, 8] and perm [10, 3, 4] in order. */
static void draw(void *ctx, float *alpha, int64_t *perm, int64_t n2, int64_t n_t)
{
    twin *t = ctx;
    int32_t p;

    assert_int_equal(n2, TEXTS);
    assert_int_equal(n_t, TEXTS / 2);
    memcpy(alpha,
           (const char *)di_st_find(&t->f, "alphas")->data +
               (size_t)(t->draws * TEXTS) * sizeof *alpha,
           TEXTS * sizeof *alpha);
    for (int i = 0; i < n_t; i++) {
        memcpy(&p, (const char *)di_st_find(&t->f, "perm")->data + (t->draws * n_t + i) * 4, 4);
        perm[i] = p;
    }
    t->draws++;
}

/* Example i of side k stands where the sampler finds it at draw i. */
static void lay_out_texts(twin *t)
{
    for (int k = 0; k < 2; k++) {
        di_sampler s;
        dial_error err;

        assert_ok(di_sampler_init(&s, di_alloc_default(), STEPS * M, 0,
                                  k == 0 ? DI_RNG_SOURCE_ORDER : DI_RNG_TARGET_ORDER, &err),
                  err);
        for (int i = 0; i < STEPS * M; i++) {
            int step = i / M, j = i % M, at = (int)di_sampler_next(&s);

            for (int side = 0; side < 2; side++) {
                int text = step * TEXTS + k * 2 * M + side * M + j;

                t->seq[k][2 * at + side] = (di_seq){.id = t->ids + t->offsets[text],
                                                    .n = t->offsets[text + 1] - t->offsets[text]};
                t->text_of[k][2 * at + side] = 2 * at + side;
            }
            t->example[k][at] =
                (di_example){.kind = DI_ROW_PAIR, .first = 2 * at, .n_texts = 2, .weight = 1};
            t->ref[k][i] = (di_example_ref){0, i};
        }
        di_sampler_deinit(&s);
        t->set[k] = (di_dataset){.example = t->example[k],
                                 .n = STEPS * M,
                                 .text_of = t->text_of[k],
                                 .seq = t->seq[k],
                                 .n_seq = 2 * STEPS * M};
        t->list[k] = &t->set[k];
        t->side[k] = (di_examples){&t->list[k], t->ref[k], STEPS * M};
    }
}

static void read_critic(twin *t, const char *prefix, double *worst)
{
    di_align_tensor tensor[16];
    int n = t->method->method->tensors(t->method, tensor, 16);
    char name[96];
    dial_error err;

    for (int i = 0; i < n; i++) {
        int64_t count = tensor[i].rows * (tensor[i].cols > 0 ? tensor[i].cols : 1);
        float *want = malloc((size_t)count * sizeof *want);
        double diff = 0, norm = 0;

        snprintf(name, sizeof name, "%s%.63s", prefix, tensor[i].name);
        assert_ok(di_st_read_f32(&t->f, "twin", name, worst != NULL ? want : tensor[i].theta, count,
                                 &err),
                  err);
        for (int64_t k = 0; worst != NULL && k < count; k++) {
            diff += pow((double)tensor[i].theta[k] - (double)want[k], 2);
            norm += pow((double)want[k], 2);
        }
        if (worst != NULL) *worst = fmax(*worst, sqrt(diff / fmax(norm, 1e-12)));
        free(want);
    }
}

static void read_params(twin *t, const char *prefix, double *worst)
{
    char name[192];
    dial_error err;

    for (int i = 0; i < t->params.n; i++) {
        const di_param *p = &t->params.param[i];
        int64_t count = p->rows * p->cols;
        float *want = malloc((size_t)count * sizeof *want);
        double diff = 0, norm = 0;

        snprintf(name, sizeof name, "%s%s", prefix, p->name);
        assert_ok(di_st_read_f32(&t->f, "twin", name,
                                 worst != NULL ? want : t->params.theta + p->at, count, &err),
                  err);
        for (int64_t k = 0; worst != NULL && k < count; k++) {
            diff += pow((double)t->params.theta[p->at + k] - (double)want[k], 2);
            norm += pow((double)want[k], 2);
        }
        if (worst != NULL) *worst = fmax(*worst, sqrt(diff / fmax(norm, 1e-12)));
        free(want);
    }
}

static void open_twin(twin *t, const char *backend, const char *name)
{
    char path[512];
    dial_error err;
    di_decoder_options d = {.pooling = DI_POOL_LAST, .train = 1};
    di_lora_options lora = {
        .r = 4, .alpha = 8, .end_layer = 3, .targets = 1u << DI_Q_PROJ | 1u << DI_V_PROJ};
    di_wasserstein_options c = {.width = 32,
                                .max_rows = TEXTS,
                                .hidden = {16, 8},
                                .n_hidden = 2,
                                .gp = 1,
                                .iters = ITERS,
                                .lr = 1e-3,
                                .decay = 1e-3,
                                .act = strcmp(name, "linear") == 0 ? DI_CRITIC_LINEAR
                                                                   : DI_CRITIC_GELU};

    snprintf(path, sizeof path, TEST_DIR "/fixtures/twin/%s.safetensors", name);
    assert_ok(di_st_open(di_alloc_default(), path, &t->f, &err), err);
    memcpy(t->ids, di_st_find(&t->f, "ids")->data, di_st_find(&t->f, "ids")->bytes);
    memcpy(t->offsets, di_st_find(&t->f, "offsets")->data, sizeof t->offsets);
    assert_ok(di_device_open(di_alloc_default(), NULL, backend, "f32", 2, &t->dev, &err), err);
    assert_ok(di_source_open(di_alloc_default(), NULL, TEST_DIR "/fixtures/models/llama",
                             &t->source, &err),
              err);
    assert_ok(di_decoder_new(&t->dev, t->source, &d, &t->decoder, &err), err);
    assert_ok(
        di_params_init(&t->params, di_alloc_default(), di_source_config(t->source), &lora, &err),
        err);
    read_params(t, "init.", NULL);
    di_decoder_set_lora(t->decoder, &t->params);
    assert_ok(di_wasserstein_new(&t->dev, &c, &t->method, &err), err);
    read_critic(t, "init.", NULL);
    di_wasserstein_set_draw(t->method, draw, t);
    assert_ok(di_alignment_new(&t->dev, &(di_alignment_options){.width = 32, .max_rows = TEXTS},
                               t->method, NULL, &t->align, &err),
              err);
    lay_out_texts(t);
}

static void close_twin(twin *t)
{
    di_alignment_free(t->align);
    di_params_deinit(&t->params);
    di_decoder_free(t->decoder);
    di_source_close(t->source);
    di_device_close(&t->dev);
    di_st_close(&t->f);
}

/* Embeddings of the step's texts before the step, against the fixture's. */
static void check_embeddings(twin *t, di_workspace *w, int step)
{
    static int32_t memory[1 << 16];
    di_seq_view text[TEXTS];
    di_batch b;
    float e[TEXTS * 32], want[TEXTS * 32];
    dial_error err;

    assert_true(di_batch_bytes(256, TEXTS) <= sizeof memory);
    di_batch_init(&b, memory, 256, TEXTS);
    for (int i = 0; i < TEXTS; i++)
        text[i] = (di_seq_view){t->ids + t->offsets[step * TEXTS + i],
                                t->offsets[step * TEXTS + i + 1] - t->offsets[step * TEXTS + i]};
    assert_true(di_batch_pack(&b, text, NULL, TEXTS) > 0);
    assert_ok(di_decoder_forward(t->decoder, w, &b, e, &err), err);
    memcpy(want, (const char *)di_st_find(&t->f, "embeddings")->data + (size_t)step * sizeof want,
           sizeof want);
    for (int i = 0; i < TEXTS; i++) {
        double diff = 0, norm = 0;

        for (int k = 0; k < 32; k++) {
            diff += pow((double)e[i * 32 + k] - (double)want[i * 32 + k], 2);
            norm += pow((double)want[i * 32 + k], 2);
        }
        assert_true(sqrt(diff / norm) <= limit);
    }
}

static void follow(const char *backend, const char *name, int64_t micro_texts)
{
    twin *t = calloc(1, sizeof *t);
    di_trainer *trainer = NULL;
    di_workspace *w = NULL;
    di_workspace_options o = {.max_rows = 256, .max_texts = TEXTS, .max_length = 64};
    di_train_settings set = {.steps = STEPS,
                             .batch = {M, M},
                             .parts = 1,
                             .micro_texts = micro_texts,
                             .alternate = strcmp(name, "alternate") == 0,
                             .lambda = 0.5,
                             .lr = 1e-2,
                             .head_lr = 1e-2,
                             .weight_decay = 0.01,
                             .clip = 1,
                             .sam = strcmp(name, "sam") == 0 ? 0.3 : 0};
    di_step_report r;
    dial_error err;
    double worst = 0;

    open_twin(t, backend, name);
    assert_ok(di_workspace_new(t->decoder, &o, &w, &err), err);
    assert_ok(di_trainer_new(&t->dev, t->decoder, &t->params, t->align, &set,
                             (const di_examples *[DI_SIDES]){&t->side[0], &t->side[1]}, &trainer,
                             &err),
              err);
    for (int step = 0; step < STEPS; step++) {
        check_embeddings(t, w, step);
        assert_ok(di_trainer_step(trainer, &r, &err), err);
        assert_near("loss_source", step, r.loss_source, (double)series(t, "loss_source", step));
        assert_near("gap", step, r.w1, (double)series(t, "gap", step));
        assert_near("gp", step, r.gp, (double)series(t, "gp", step));
        assert_near("critic_loss", step, r.critic_loss, (double)series(t, "critic_loss", step));
        assert_near("grad_norm", step, r.grad_norm, (double)series(t, "grad_norm", step));
    }
    assert_int_equal(t->draws, STEPS * ITERS);
    read_params(t, "final.", &worst);
    read_critic(t, "final.", &worst);
    assert_true(worst <= limit);
    di_trainer_free(trainer);
    di_workspace_free(w);
    close_twin(t);
    free(t);
}

static void joint_ref(void **state)
{
    (void)state;
    follow("ref", "joint", 8);
}
static void alternate_ref(void **state)
{
    (void)state;
    follow("ref", "alternate", 8);
}
static void linear_ref(void **state)
{
    (void)state;
    follow("ref", "linear", 8);
}
static void joint_cpu(void **state)
{
    (void)state;
    follow("cpu", "joint", 8);
}
static void alternate_cpu(void **state)
{
    (void)state;
    follow("cpu", "alternate", 8);
}
static void linear_cpu(void **state)
{
    (void)state;
    follow("cpu", "linear", 8);
}
static void sam_ref(void **state)
{
    (void)state;
    follow("ref", "sam", 8);
}
static void sam_cpu(void **state)
{
    (void)state;
    follow("cpu", "sam", 8);
}
/* two texts a pass: the step goes through gradient caching and must come to the same */
static void joint_in_parts(void **state)
{
    (void)state;
    follow("cpu", "joint", 2);
}
static void alternate_in_parts(void **state)
{
    (void)state;
    follow("cpu", "alternate", 2);
}
static void sam_in_parts(void **state)
{
    (void)state;
    follow("cpu", "sam", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joint_ref),      cmocka_unit_test(alternate_ref),
        cmocka_unit_test(linear_ref),     cmocka_unit_test(joint_cpu),
        cmocka_unit_test(alternate_cpu),  cmocka_unit_test(linear_cpu),
        cmocka_unit_test(joint_in_parts), cmocka_unit_test(alternate_in_parts),
        cmocka_unit_test(sam_ref),        cmocka_unit_test(sam_cpu),
        cmocka_unit_test(sam_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
