/*
 * Speed of a tokenizer: bench_tokenize MODEL FILE [RUNS]
 *
 * MODEL is a folder with tokenizer.json or a .gguf file. FILE is encoded line by line, one thread,
 * RUNS times (default 5); the best run counts, in processor time, which other work on the machine
 * disturbs least. bench/peers/hf_tokenize.py does the same with huggingface/tokenizers, so the sums
 * of ids that both print must agree.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "model/gguf.h"
#include "text/tokenizer.h"

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static dial_status open_tokenizer(const char *path, di_tokenizer **t, dial_error *err)
{
    const size_t n = strlen(path);
    di_gguf *g = NULL;
    dial_status st;

    if (n < 5 || strcmp(path + n - 5, ".gguf") != 0)
        return di_tokenizer_open_hf(di_alloc_default(), path, t, err);
    st = di_gguf_open(di_alloc_default(), path, &g, err);
    if (st == DIAL_OK) st = di_gguf_tokenizer(di_alloc_default(), g, t, err);
    di_gguf_close(g);
    return st;
}

/* Seconds for all lines of the text; *tokens and *sum over them. */
static double encode_lines(const di_tokenizer *t, const char *text, size_t n, di_token_list *list,
                           size_t *tokens, uint64_t *sum)
{
    const double start = seconds();

    *tokens = 0;
    *sum = 0;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t size = end != NULL ? (size_t)(end - text) - at : n - at;
        dial_error err = {0};

        if (di_tokenizer_encode(t, text + at, size, list, &err) != DIAL_OK) {
            fprintf(stderr, "%s\n", err.message);
            exit(1);
        }
        *tokens += list->n;
        for (size_t i = 0; i < list->n; i++) *sum += (uint64_t)list->id[i];
        at += size + 1;
    }
    return seconds() - start;
}

int main(int argc, char **argv)
{
    di_token_list list = {.al = di_alloc_default()};
    di_tokenizer *t = NULL;
    dial_error err = {0};
    char *text = NULL;
    size_t n = 0, tokens = 0;
    uint64_t sum = 0;
    double start = seconds(), load, best = 1e30;

    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenize MODEL FILE [RUNS]\n");
        return 2;
    }
    if (open_tokenizer(argv[1], &t, &err) != DIAL_OK ||
        di_read_file(di_alloc_default(), argv[2], &text, &n, &err) != DIAL_OK) {
        fprintf(stderr, "%s (%s)\n", err.message, err.where);
        return 1;
    }
    load = seconds() - start;
    for (int runs = argc > 3 ? atoi(argv[3]) : 5; runs > 0; runs--) {
        const double s = encode_lines(t, text, n, &list, &tokens, &sum);

        if (s < best) best = s;
    }
    printf("dial: load %.3f s; %zu bytes, %zu tokens (sum %llu), %.2f MB/s, %.2f M tokens/s\n",
           load, n, tokens, (unsigned long long)sum, (double)n / best * 1e-6,
           (double)tokens / best * 1e-6);
    di_free(di_alloc_default(), text);
    di_token_list_deinit(&list);
    di_tokenizer_close(t);
    return 0;
}
