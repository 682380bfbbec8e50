/*
 * Tokenizers of two released models, read from their GGUF files and from the tokenizer.json that we
 * write for them, against the ids of huggingface/tokenizers on all fixture strings. The files come
 * from the cache folder ($DIAL_CACHE, else $XDG_CACHE_HOME/dial, else ~/.cache/dial); a test whose
 * file is absent is skipped.
 */
#include "text/tokenizer_fixtures.h"

#include <time.h>

#include "model/gguf.h"

/* 0: the file is not there, which is said. */
static int cached_path(const char *name, char *path, size_t n)
{
    const char *cache = getenv("DIAL_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");

    if (cache != NULL && *cache != '\0')
        snprintf(path, n, "%s/models/%s", cache, name);
    else if (xdg != NULL && *xdg != '\0')
        snprintf(path, n, "%s/dial/models/%s", xdg, name);
    else
        snprintf(path, n, "%s/.cache/dial/models/%s", home != NULL ? home : "", name);
    if (di_exists(path)) return 1;
    print_message("skipped: %s is not there\n", path);
    return 0;
}

static void check(const di_tokenizer *t, const char *ids, const char *what, int sweep)
{
    fixture_strings s = fixture_strings_open();
    fixture_ids want = fixture_ids_open(ids);
    di_token_list list = {.al = di_alloc_default()};

    assert_int_equal(want.n, s.n + FIXTURE_SWEEP);
    assert_int_equal(fixture_compare(t, &s, 1, want.hash, what, &list), 0);
    if (sweep) assert_int_equal(fixture_sweep(t, 0, want.hash + s.n, what, &list), 0);
    di_token_list_deinit(&list);
    fixture_ids_close(&want);
    fixture_strings_close(&s);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void check_model(const char *file, const char *ids, const int32_t *known, size_t n,
                        const char *text)
{
    char path[1024];
    dial_error err = {0};
    di_gguf *g = NULL;
    di_tokenizer *t = NULL, *again = NULL;
    di_token_list list = {.al = di_alloc_default()};
    di_buf out;
    double start;

    if (!cached_path(file, path, sizeof path)) skip();
    assert_ok(di_gguf_open(di_alloc_default(), path, &g, &err), err);
    start = seconds();
    assert_ok(di_gguf_tokenizer(di_alloc_default(), g, &t, &err), err);
    print_message("%s: tokenizer from GGUF in %.2f s", file, seconds() - start);
    assert_ok(di_tokenizer_encode(t, text, strlen(text), &list, &err), err);
    assert_int_equal(list.n, n);
    assert_memory_equal(list.id, known, n * sizeof *known);
    check(t, ids, "GGUF", 1);
    di_buf_init(&out, di_alloc_default());
    assert_ok(di_tokenizer_write_hf(t, &out, &err), err);
    start = seconds();
    assert_ok(
        di_tokenizer_parse_hf(di_alloc_default(), out.data, out.size, "written", &again, &err),
        err);
    print_message(", from tokenizer.json in %.2f s\n", seconds() - start);
    check(again, ids, "written", 0);
    assert_int_equal(di_tokenizer_get_info(again)->adds_bos, di_tokenizer_get_info(t)->adds_bos);
    di_buf_deinit(&out);
    di_token_list_deinit(&list);
    di_tokenizer_close(again);
    di_tokenizer_close(t);
    di_gguf_close(g);
}

/* The vectors of interfaces.md 3.6 and 8. */
static void smollm2(void **state)
{
    static const int32_t known[] = {104, 256, 34, 32, 34,   36,    284, 216,
                                    35,  30,  33, 36, 1116, 11181, 39};
    (void)state;
    check_model("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2.ids", known,
                sizeof known / sizeof *known, "x  2024 and 3.14\n\n\n  7");
}

static void gemma3(void **state)
{
    static const int32_t known[] = {9259, 1902};
    (void)state;
    check_model("gemma-3-270m.Q4_K_M.gguf", "gemma3.ids", known, sizeof known / sizeof *known,
                "Hello world");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(smollm2), cmocka_unit_test(gemma3)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
