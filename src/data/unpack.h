/* Whole blocks unpacked: what Parquet's pages are packed with. */
#ifndef DI_DATA_UNPACK_H
#define DI_DATA_UNPACK_H

#include <stddef.h>

#include "dial/status.h"

typedef enum di_codec { DI_CODEC_SNAPPY, DI_CODEC_GZIP, DI_CODEC_ZSTD } di_codec;

/* "snappy" where this build can unpack it, NULL where its library is missing. */
const char *di_codec_name(di_codec c);
int di_codec_built(di_codec c);

/* 1 if the n bytes at data unpack to exactly `size` bytes, which are then at out. */
int di_unpack(di_codec c, const void *data, size_t n, void *out, size_t size);

#endif
