/*
 * Views: one pass kept at several depths and poolings has the bits of a truncated decoder, which is
 * what --layer and --pooling train and export.
 */
#include "decoder_fixture.h"

static const char *const path = TEST_DIR "/fixtures/models/gemma3_text";

static void truncated(const char *backend, di_view view, const packed *p, float *e)
{
    model m;
    di_workspace *w;
    dial_error err = {0};

    open_model(&m, path, NULL, backend, "f32",
               (di_decoder_options){.n_layers = view.layer, .pooling = view.pooling});
    w = workspace_for(&m, &p->b, 0);
    assert_ok(di_decoder_forward(m.decoder, w, &p->b, e, &err), err);
    di_workspace_free(w);
    close_model(&m);
}

static void views_are_truncated_models(void **state)
{
    enum { TEXTS = 3 };
    static const int32_t ids[] = {5, 9, 11, 3, 5, 9, 60, 7, 2, 8};
    static const di_view view[] = {
        {1, DI_POOL_LAST}, {6, DI_POOL_MEAN}, {3, DI_POOL_MEAN}, {6, DI_POOL_LAST}};
    enum { VIEWS = sizeof view / sizeof *view };
    const di_seq_view text[TEXTS] = {{ids, 4}, {ids + 4, 3}, {ids + 7, 3}};
    const int32_t group[TEXTS] = {0, 0, 1};
    dial_error err = {0};
    (void)state;
    for (size_t b = 0; b < sizeof BACKENDS / sizeof *BACKENDS; b++) {
        model m;
        packed p = pack_texts(text, group, TEXTS);
        di_workspace *w;
        int64_t width;
        float *e, *one;

        open_model(&m, path, NULL, BACKENDS[b], "f32", (di_decoder_options){0});
        width = di_decoder_config(m.decoder)->width;
        e = malloc((size_t)(VIEWS * TEXTS * width) * sizeof *e);
        one = malloc((size_t)(TEXTS * width) * sizeof *one);
        w = workspace_for(&m, &p.b, 0);
        assert_ok(di_decoder_forward_views(m.decoder, w, &p.b, view, VIEWS, e, &err), err);
        for (int v = 0; v < VIEWS; v++) {
            truncated(BACKENDS[b], view[v], &p, one);
            assert_same_bits(BACKENDS[b], e + v * TEXTS * width, one, TEXTS * width);
        }
        assert_int_equal(
            di_decoder_forward_views(m.decoder, w, &p.b, &(di_view){7, DI_POOL_LAST}, 1, e, &err),
            DIAL_ERR_USAGE);
        di_workspace_free(w);
        close_model(&m);
        free(p.memory);
        free(e);
        free(one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(views_are_truncated_models)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
