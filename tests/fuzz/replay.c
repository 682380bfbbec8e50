/*
 * Runs a fuzz target without a fuzzer: on each file of a corpus folder, on its beginnings, and on
 * copies with one byte changed. Which ones is fixed by the file, so a failure comes back.
 *
 *   fuzz_NAME CORPUS_DIR | FILE ...
 *
 * The work is bounded by bytes handed to the target (a small file is tried at every length and
 * every byte, a large one at evenly spread places). Each input lies in a block of its own size,
 * so that a sanitizer sees the first byte read behind it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_BYTES = 4 << 20, MOST_PLACES = 1024 };

static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL) exit(1);
    if (size > 0) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* The file itself, then `places` truncations and, for each place, three changed bytes. */
static size_t damage(uint8_t *data, size_t size)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    size_t places = size < MOST_PLACES ? size : MOST_PLACES, runs = 1;

    while (places > 16 && places * size * 4 > MOST_BYTES) places /= 2;
    run(data, size);
    for (size_t i = 0; i < places; i++) {
        size_t at = (size_t)((double)i * (double)size / (double)places);

        run(data, at);
        for (size_t f = 0; f < sizeof flips; f++) {
            data[at] ^= flips[f];
            run(data, size);
            data[at] ^= flips[f];
        }
        runs += 1 + sizeof flips;
    }
    return runs;
}

static size_t replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0, runs;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    size = (size_t)ftell(f);
    rewind(f);
    data = malloc(size + 1);
    if (data == NULL || fread(data, 1, size, f) != size) {
        perror(path);
        exit(1);
    }
    fclose(f);
    runs = damage(data, size);
    free(data);
    printf("%8zu bytes %6zu runs  %s\n", size, runs, path);
    fflush(stdout);
    return runs;
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static size_t replay_folder(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, visible, alphasort);
    size_t runs = 0;

    if (n < 0) {
        perror(path);
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        char file[4096];

        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        runs += replay_file(file);
        free(entries[i]);
    }
    free(entries);
    return runs;
}

int main(int argc, char **argv)
{
    size_t runs = 0;

    for (int i = 1; i < argc; i++) {
        struct stat s;

        runs += stat(argv[i], &s) == 0 && S_ISDIR(s.st_mode) ? replay_folder(argv[i])
                                                             : replay_file(argv[i]);
    }
    printf("%zu runs\n", runs);
    if (runs == 0) fprintf(stderr, "no corpus: add files to tests/fuzz/corpus/NAME\n");
    return runs > 0 ? 0 : 1;
}
