#include "model/device.h"

#include <stdio.h>
#include <string.h>

#include "base/cores.h"
#include "base/error.h"

/* A function added to the table but not to its list would silently stay that of ref. */
#define X(entry) +1
_Static_assert(sizeof(di_backend) ==
                   sizeof(const char *) + (0 DI_BACKEND_ENTRIES(X)) * sizeof(void (*)(void)),
               "DI_BACKEND_ENTRIES must name every function of di_backend");
#undef X

static const struct {
    const char *name;
    const di_backend *(*table)(void);
} backends[] = {
    {"cpu", di_cpu_backend}, /* the first is "auto" */
    {"ref", di_ref_backend},
};

static const di_backend *find(const char *name)
{
    if (strcmp(name, "auto") == 0) return backends[0].table();
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(name, backends[i].name) == 0) return backends[i].table();
    return NULL;
}

/* *t = ref's table with the entries of b that are not NULL laid over it. */
static void lay_over_ref(const di_backend *b, di_backend *t)
{
    *t = *di_ref_backend();
    t->name = b->name;
#define X(entry)                                                                                   \
    if (b->entry != NULL) t->entry = b->entry;
    DI_BACKEND_ENTRIES(X)
#undef X
}

static dial_status choose_dtype(di_device *dev, const char *dtype, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (strcmp(dtype, "auto") == 0)
        dev->act = dev->ops->supports(dev, DI_BF16) >= 2 ? DI_BF16 : DI_F32;
    else if (strcmp(dtype, "f32") == 0)
        dev->act = DI_F32;
    else if (strcmp(dtype, "bf16") == 0)
        dev->act = DI_BF16;
    else
        DI_FAIL(err, DIAL_ERR_USAGE, "unknown dtype '%s'; expected auto, f32 or bf16", dtype);
    if (dev->ops->supports(dev, dev->act) == 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "use --dtype auto",
                   "device '%s' does not compute in %s on this machine", dev->ops->name,
                   di_dtype_name(dev->act));
done:
    return st;
}

dial_status di_device_open(const di_alloc *al, const dial_env *env, const char *name,
                           const char *dtype, int threads, di_device *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_backend *b = find(name);
    di_device dev = {.al = al, .env = env, .threads = threads > 0 ? threads : di_cores_here()};

    if (b == NULL && strncmp(name, "cuda", 4) == 0 && (name[4] == '\0' || name[4] == ':'))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, NULL, "use --device cpu",
                   "device '%s': this build of dial has no CUDA backend", name);
    if (b == NULL)
        DI_FAIL(err, DIAL_ERR_USAGE, "unknown device '%s'; expected auto, cpu or ref", name);
    dev.table = di_new(al, sizeof *dev.table);
    if (dev.table == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for device '%s'", name);
    lay_over_ref(b, dev.table);
    dev.ops = dev.table;
    DI_TRY(choose_dtype(&dev, dtype, err));
    DI_TRY(dev.ops->open(&dev, err));
    *out = dev;
    dev.table = NULL;
done:
    di_free(al, dev.table);
    return st;
}

void di_device_close(di_device *dev)
{
    if (dev->ops == NULL) return;
    dev->ops->close(dev);
    di_free(dev->al, dev->table);
    *dev = (di_device){0};
}
