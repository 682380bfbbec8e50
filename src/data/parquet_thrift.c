/* Thrift's compact protocol, as far as Parquet's headers use it. */
#include "data/parquet_impl.h"

enum {
    T_STOP,
    T_TRUE,
    T_FALSE,
    T_BYTE,
    T_I16,
    T_I32,
    T_I64,
    T_DOUBLE,
    T_BINARY,
    T_LIST,
    T_SET,
    T_MAP,
    T_STRUCT
};
enum { MOST_DEPTH = 16 };

static unsigned take(di_bytes *b)
{
    if (b->bad || b->at == b->end) {
        b->bad = 1;
        return 0;
    }
    return *b->at++;
}

uint64_t di_varint(di_bytes *b)
{
    uint64_t x = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned c = take(b);

        x |= (uint64_t)(c & 0x7f) << shift;
        if ((c & 0x80) == 0) return b->bad ? 0 : x;
    }
    b->bad = 1;
    return 0;
}

int64_t di_zigzag(di_bytes *b)
{
    uint64_t x = di_varint(b);

    return (int64_t)(x >> 1 ^ (0 - (x & 1)));
}

int di_thrift_field(di_bytes *b, int *id, int *type)
{
    unsigned c = take(b);

    if (b->bad || c == T_STOP) return 0;
    *type = (int)(c & 15);
    if (c >> 4 != 0)
        *id += (int)(c >> 4);
    else
        *id = (int)(int16_t)di_zigzag(b);
    return !b->bad;
}

size_t di_thrift_list(di_bytes *b, int *type)
{
    unsigned c = take(b);
    uint64_t n = c >> 4;

    *type = (int)(c & 15);
    if (n == 15) n = di_varint(b);
    if (n > (uint64_t)(b->end - b->at)) b->bad = 1; /* an item takes a byte at least */
    return b->bad ? 0 : (size_t)n;
}

di_str di_thrift_string(di_bytes *b)
{
    uint64_t n = di_varint(b);
    di_str s = {(const char *)b->at, 0};

    if (n > (uint64_t)(b->end - b->at)) b->bad = 1;
    if (b->bad) return s;
    s.size = (size_t)n;
    b->at += n;
    return s;
}

static void pass(di_bytes *b, uint64_t n)
{
    if (n > (uint64_t)(b->end - b->at)) b->bad = 1;
    if (!b->bad) b->at += n;
}

static void skip(di_bytes *b, int type, int depth)
{
    int id = 0, inner = 0;
    size_t n;

    if (depth > MOST_DEPTH) b->bad = 1;
    if (b->bad) return;
    switch (type) {
    case T_TRUE:
    case T_FALSE: break;
    case T_BYTE: pass(b, 1); break;
    case T_I16:
    case T_I32:
    case T_I64: (void)di_varint(b); break;
    case T_DOUBLE: pass(b, 8); break;
    case T_BINARY: (void)di_thrift_string(b); break;
    case T_LIST:
    case T_SET:
        n = di_thrift_list(b, &inner);
        for (size_t i = 0; i < n && !b->bad; i++) /* a boolean in a list is a byte */
            skip(b, inner == T_TRUE || inner == T_FALSE ? T_BYTE : inner, depth + 1);
        break;
    case T_STRUCT:
        while (di_thrift_field(b, &id, &inner)) skip(b, inner, depth + 1);
        break;
    default: b->bad = 1; /* no map stands in Parquet's headers */
    }
}

void di_thrift_skip(di_bytes *b, int type)
{
    skip(b, type, 0);
}
