/* adapter_config.json: the first byte is the number of layers of the base, the rest is the file. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "model/lora.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/dial-fuzz-XXXXXX", path[64];

static void remove_folder(void)
{
    unlink(path);
    rmdir(folder);
}

static void make_folder(void)
{
    if (path[0] != '\0') return;
    if (mkdtemp(folder) == NULL) abort();
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    atexit(remove_folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    di_config c = {.width = 8};
    di_lora_options o;
    dial_error err = {0};
    FILE *f;

    if (size == 0) return 0;
    make_folder();
    unlink(path); /* a file that is cut and written again goes to the disk each time (ext4) */
    f = fopen(path, "wb");
    if (f == NULL || fwrite(data + 1, 1, size - 1, f) != size - 1 || fclose(f) != 0) abort();
    c.layers = 1 + data[0] % DI_MAX_LAYERS;
    if (di_adapter_read_config(di_alloc_default(), folder, &c, &o, &err) != DIAL_OK) {
        if (err.status != DIAL_ERR_INPUT || err.message[0] == '\0' || err.where[0] == '\0') abort();
        return 0;
    }
    /* what callers rely on */
    if (o.r < 0 || o.r > 65536 || !isfinite(o.alpha)) abort();
    if (o.r > 0 && (o.targets == 0 || o.targets >> DI_LINEAR_COUNT != 0)) abort();
    if (o.r > 0 && (o.first_layer < 0 || o.first_layer >= o.end_layer || o.end_layer > c.layers))
        abort();
    return 0;
}
