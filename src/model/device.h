/* The list of backends, and opening one: the only place that knows them all. */
#ifndef DI_MODEL_DEVICE_H
#define DI_MODEL_DEVICE_H

#include "tensor/ops.h"

/*
 * name: "auto", "ref" or "cpu" ("cuda[:N]" is ERR_USAGE until that backend is built). dtype:
 * "auto" (bf16 where the machine has bf16 products, else f32), "f32", "bf16". threads <= 0: the
 * number of physical cores that this process may use. Lays the backend's table over that of ref.
 */
dial_status di_device_open(const di_alloc *al, const dial_env *env, const char *name,
                           const char *dtype, int threads, di_device *out, dial_error *err);
void di_device_close(di_device *dev);

#endif
