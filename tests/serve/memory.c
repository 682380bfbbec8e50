/*
 * Memory that runs out: in a request of each dialect the n-th allocation fails, for every n until
 * the request succeeds. Each failure must be told (500, 424 of TEI; where jansson is out of memory
 * in the middle of a string it calls that bad syntax: 400), and every block must have been given
 * back.
 */
#include "test.h"

#include <jansson.h>

#include "fake.h"

static long calls, fail_at, blocks; /* fail_at 0: never */

static void *limited(void *ctx, void *ptr, size_t old_size, size_t new_size)
{
    void *p = NULL;

    (void)ctx;
    (void)old_size;
    if (new_size == 0) {
        blocks -= ptr != NULL;
        free(ptr);
    } else if (ptr == NULL) {
        calls++;
        if (fail_at == 0 || calls != fail_at) p = malloc(new_size);
        blocks += p != NULL;
    }
    return p;
}

static void *json_new(size_t n)
{
    return limited(NULL, NULL, 0, n > 0 ? n : 1);
}

static void json_give(void *p)
{
    limited(NULL, p, 0, 0);
}

static const di_alloc allocator = {limited, NULL};
static const di_serve_settings plain = {.max_inputs = 64, .batch_tokens = 64};
static di_models *models;

/*
 * Bodies of short words: jansson 2.14 drops bytes of a word of over 15 when its buffer cannot grow,
 * and does not tell.
 */
static const struct {
    const char *path, *body;
} rows[] = {
    {"/get_reward", "{\"query\":[\"a\",\"b c\",\"d\"],\"prompts\":[\"a\",\"b\",\"\"]}"},
    {"/classify", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
                  "\"assistant\",\"content\":\"b\"}]}"},
    {"/classify", "{\"text\":[\"a\",\"b\"]}"},
    {"/pooling", "{\"input\":[[5,6],[7]]}"},
    {"/score", "{\"text_1\":\"a\",\"text_2\":[\"b\",\"c\"]}"},
    {"/rerank", "{\"query\":\"a\",\"documents\":[\"b\",\"c\"]}"},
    {"/rerank", "{\"query\":\"a\",\"texts\":[\"b\",\"c\"]}"},
    {"/predict", "{\"inputs\":[[\"a\"],[\"a\",\"b\"]]}"},
    {"/embed", "{\"inputs\":[\"a\",\"b\"]}"},
    {"/v1/embeddings", "{\"input\":\"a\"}"},
    {"/v1/score/evaluation", "{\"messages\":[\"a\"]}"},
    {"/v1/reward", "{\"inputs\":[{\"prompt\":\"a\",\"response\":\"b\"}]}"},
    {"/tokenize", "{\"inputs\":[{\"text\":\"a b\"}]}"},
};

/* The HTTP status of a request; *failed: there was no memory for the answer itself. */
static int request(const char *path, const char *body, int *failed)
{
    const di_route *r = di_route_find(path);
    di_answer a;
    di_buf out;
    di_call c;
    int status;

    di_buf_init(&out, &allocator);
    di_call_init(&c, &allocator, &plain, models);
    a = di_route_parse(r, &c, body, strlen(body));
    if (a == DI_ANSWER_OK) a = di_call_prepare(&c);
    if (a == DI_ANSWER_OK) {
        fake_results(&c);
        a = di_call_finish(&c);
    }
    status = di_answer_status(a, c.tei);
    if (a == DI_ANSWER_OK)
        c.write(&c, &out);
    else if (c.fault.message[0] == '\0')
        fail_msg("%s: refused without a word", path);
    *failed = out.failed;
    di_call_deinit(&c);
    di_buf_deinit(&out);
    return status;
}

static void each_allocation(void **state)
{
    long tried = 0;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int failed = 0, status;
        long all;

        calls = fail_at = 0;
        status = request(rows[i].path, rows[i].body, &failed);
        assert_int_equal(status, 200);
        assert_int_equal(failed, 0);
        assert_int_equal(blocks, 0);
        all = calls;
        for (long n = 1; n <= all; n++, tried++) {
            calls = 0;
            fail_at = n;
            status = request(rows[i].path, rows[i].body, &failed);
            if (blocks != 0)
                fail_msg("%s, allocation %ld: %ld blocks leaked", rows[i].path, n, blocks);
            if (!failed && status < 400)
                fail_msg("%s, allocation %ld of %ld failed: answered %d", rows[i].path, n, all,
                         status);
        }
    }
    printf("%ld allocations failed in turn\n", tried);
}

static int set_up(void **state)
{
    (void)state;
    models = fake_models(1);
    json_object_seed(1); /* what jansson keeps for good it takes now */
    json_set_alloc_funcs(json_new, json_give);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    di_models_free(models);
    di_tokenizer_close(fake_tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
