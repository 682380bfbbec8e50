#include "data/unpack.h"

#include <limits.h>
#ifdef DIAL_SNAPPY
#include <snappy-c.h>
#endif
#ifdef DIAL_ZLIB
#include <zlib.h>
#endif
#ifdef DIAL_ZSTD
#include <zstd.h>
#endif

const char *di_codec_name(di_codec c)
{
    static const char *const names[] = {"snappy", "gzip", "zstd"};

    return names[c];
}

int di_codec_built(di_codec c)
{
    switch (c) {
    case DI_CODEC_SNAPPY:
#ifdef DIAL_SNAPPY
        return 1;
#else
        return 0;
#endif
    case DI_CODEC_GZIP:
#ifdef DIAL_ZLIB
        return 1;
#else
        return 0;
#endif
    case DI_CODEC_ZSTD: break;
    }
#ifdef DIAL_ZSTD
    return 1;
#else
    return 0;
#endif
}

#ifdef DIAL_SNAPPY
static int unpack_snappy(const void *data, size_t n, void *out, size_t size)
{
    size_t found = 0, room = size;

    return snappy_uncompressed_length(data, n, &found) == SNAPPY_OK && found == size &&
           snappy_uncompress(data, n, out, &room) == SNAPPY_OK && room == size;
}
#endif

#ifdef DIAL_ZLIB
/* One gzip member (or zlib stream) a block. */
static int unpack_gzip(const void *data, size_t n, void *out, size_t size)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)n};
    int rc;

    if (n > UINT_MAX || size > UINT_MAX || inflateInit2(&z, 15 + 32) != Z_OK) return 0;
    z.next_out = out;
    z.avail_out = (uInt)size;
    rc = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return rc == Z_STREAM_END && z.avail_out == 0;
}
#endif

int di_unpack(di_codec c, const void *data, size_t n, void *out, size_t size)
{
    switch (c) {
    case DI_CODEC_SNAPPY:
#ifdef DIAL_SNAPPY
        return unpack_snappy(data, n, out, size);
#else
        break;
#endif
    case DI_CODEC_GZIP:
#ifdef DIAL_ZLIB
        return unpack_gzip(data, n, out, size);
#else
        break;
#endif
    case DI_CODEC_ZSTD:
#ifdef DIAL_ZSTD
        return ZSTD_decompress(out, size, data, n) == size;
#else
        break;
#endif
    }
    (void)data;
    (void)n;
    (void)out;
    (void)size;
    return 0;
}
