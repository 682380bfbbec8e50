/* Encodings of levels and values, each a cursor that gives one value at a time. */
#include <string.h>

#include "data/parquet_impl.h"

/* `width` <= 64 bits from bit `at` of b, least significant first; past the end: bad. */
static uint64_t bits(di_bytes *b, uint64_t at, int width)
{
    uint64_t x = 0;
    size_t byte = (size_t)(at >> 3), n = (size_t)(b->end - b->at);
    int shift = (int)(at & 7), got = 0;

    if (width == 0) return 0;
    if (byte >= n || ((uint64_t)(n - byte) << 3) - (uint64_t)shift < (uint64_t)width) {
        b->bad = 1;
        return 0;
    }
    while (got < width) {
        uint64_t part = (uint64_t)b->at[byte++] >> shift;

        x |= part << got;
        got += 8 - shift;
        shift = 0;
    }
    return width == 64 ? x : x & ((1ULL << width) - 1);
}

/* --- RLE / bit-packed hybrid -------------------------------------------------------------------
 */

void di_pq_rle_start(di_pq_rle *r, di_bytes in, int width)
{
    *r = (di_pq_rle){.in = in, .width = width};
}

static void next_run(di_pq_rle *r)
{
    uint64_t head;

    if (r->packed) { /* what is left of the run's last byte is padding */
        r->in.at += (r->bit + 7) / 8;
        r->packed = 0;
    }
    if (r->in.at >= r->in.end) r->in.bad = 1;
    head = di_varint(&r->in);
    if (r->in.bad) return;
    if (head & 1) {
        r->packed = 1;
        r->bit = 0;
        r->left = (head >> 1) * 8;
        if (head >> 1 > (uint64_t)INT32_MAX) r->in.bad = 1;
    } else {
        r->left = head >> 1;
        r->value = 0;
        for (int i = 0; i < (r->width + 7) / 8; i++) {
            if (r->in.at == r->in.end) {
                r->in.bad = 1;
                return;
            }
            r->value |= (uint32_t)*r->in.at++ << 8 * i;
        }
    }
}

uint32_t di_pq_rle_next(di_pq_rle *r)
{
    uint32_t x;

    while (r->left == 0 && !r->in.bad) next_run(r);
    if (r->in.bad) return 0;
    r->left--;
    if (!r->packed) return r->value;
    x = (uint32_t)bits(&r->in, r->bit, r->width);
    r->bit += (unsigned)r->width;
    if (r->bit >= 1U << 20) { /* keep the offset small: whole bytes move on */
        r->in.at += r->bit / 8;
        r->bit %= 8;
    }
    return x;
}

/* --- DELTA_BINARY_PACKED ------------------------------------------------------------------------
 */

void di_pq_delta_start(di_pq_delta *d, di_bytes in)
{
    *d = (di_pq_delta){.in = in, .first = 1};
    d->block = di_varint(&d->in);
    d->minis = di_varint(&d->in);
    d->left = di_varint(&d->in);
    d->last = di_zigzag(&d->in);
    if (d->minis == 0 || d->minis > 512 || d->block > 1 << 20 || d->block % d->minis != 0 ||
        d->block / d->minis % 8 != 0 || d->block == 0)
        d->in.bad = 1;
    d->in_block = 0;
    d->in_mini = 0;
}

/* The header of a block, then of the next miniblock in it. */
static void next_mini(di_pq_delta *d)
{
    if (d->in_block == 0) {
        d->least = di_zigzag(&d->in);
        d->widths = d->in.at;
        if (d->minis > (uint64_t)(d->in.end - d->in.at)) d->in.bad = 1;
        if (d->in.bad) return;
        d->in.at += d->minis;
        d->in_block = d->block;
    }
    d->width = d->widths[(d->block - d->in_block) / (d->block / d->minis)];
    d->in_mini = d->block / d->minis;
    d->bit = 0;
    if (d->width > 64) d->in.bad = 1;
}

/* All of the miniblock's bytes are there, its padding too. */
static void end_mini(di_pq_delta *d)
{
    uint64_t n = d->block / d->minis * (uint64_t)d->width / 8;

    if (n > (uint64_t)(d->in.end - d->in.at)) d->in.bad = 1;
    if (!d->in.bad) d->in.at += n;
}

int64_t di_pq_delta_next(di_pq_delta *d)
{
    if (d->left == 0) d->in.bad = 1;
    if (d->in.bad) return 0;
    d->left--;
    if (d->first) {
        d->first = 0;
        return d->last;
    }
    if (d->in_mini == 0) next_mini(d);
    if (d->in.bad) return 0;
    d->last = (int64_t)((uint64_t)d->last + (uint64_t)d->least + bits(&d->in, d->bit, d->width));
    d->bit += (unsigned)d->width;
    d->in_mini--;
    d->in_block--;
    if (d->in_mini == 0 || d->left == 0) end_mini(d);
    return d->last;
}

/* The bytes behind the numbers: a copy runs to their end. */
static di_bytes behind(di_pq_delta d)
{
    while (d.left > 0 && !d.in.bad) (void)di_pq_delta_next(&d);
    return d.in;
}

/* --- values ----------------------------------------------------------------------------------- */

const char *di_pq_encoding_name(int encoding)
{
    static const char *const names[] = {"PLAIN",
                                        "1",
                                        "PLAIN_DICTIONARY",
                                        "RLE",
                                        "BIT_PACKED",
                                        "DELTA_BINARY_PACKED",
                                        "DELTA_LENGTH_BYTE_ARRAY",
                                        "DELTA_BYTE_ARRAY",
                                        "RLE_DICTIONARY",
                                        "BYTE_STREAM_SPLIT"};

    return encoding >= 0 && encoding < (int)(sizeof names / sizeof *names) ? names[encoding]
                                                                           : "unknown";
}

static int is_integer(int type)
{
    return type == DI_PQ_INT32 || type == DI_PQ_INT64;
}

int di_pq_values_start(di_pq_values *v, int type, int encoding, di_bytes in)
{
    uint32_t size;

    v->type = type;
    v->encoding = encoding;
    v->in = in;
    v->last_size = 0;
    switch (encoding) {
    case DI_PQ_PLAIN:
        v->rle.bit = 0; /* of booleans */
        return 1;
    case DI_PQ_PLAIN_DICTIONARY:
    case DI_PQ_RLE_DICTIONARY:
        if (in.at == in.end) return 1; /* a page of nulls alone */
        di_pq_rle_start(&v->rle, (di_bytes){in.at + 1, in.end, in.at[0] > 32}, in.at[0]);
        return 1;
    case DI_PQ_RLE:
        if (type != DI_PQ_BOOLEAN) return 0;
        size = in.end - in.at >= 4 ? (uint32_t)in.at[0] | (uint32_t)in.at[1] << 8 |
                                         (uint32_t)in.at[2] << 16 | (uint32_t)in.at[3] << 24
                                   : UINT32_MAX;
        v->in.bad = size > (uint64_t)(in.end - in.at) - 4;
        if (!v->in.bad) di_pq_rle_start(&v->rle, (di_bytes){in.at + 4, in.at + 4 + size, 0}, 1);
        return 1;
    case DI_PQ_DELTA_BINARY:
        if (!is_integer(type)) return 0;
        di_pq_delta_start(&v->number, in);
        return 1;
    case DI_PQ_DELTA_LENGTH:
    case DI_PQ_DELTA_BYTES:
        if (type != DI_PQ_BYTES) return 0;
        if (encoding == DI_PQ_DELTA_BYTES) {
            di_pq_delta_start(&v->number, in);
            in = behind(v->number);
        }
        di_pq_delta_start(&v->length, in);
        v->in = behind(v->length);
        return 1;
    default: return 0;
    }
}

/* n bytes, little-endian. */
static uint64_t fixed(di_bytes *b, int n)
{
    uint64_t x = 0;

    if (b->end - b->at < n) b->bad = 1;
    if (b->bad) return 0;
    for (int i = 0; i < n; i++) x |= (uint64_t)*b->at++ << 8 * i;
    return x;
}

static di_str bytes(di_bytes *b, int64_t n)
{
    di_str s = {(const char *)b->at, 0};

    if (n < 0 || n > b->end - b->at) b->bad = 1;
    if (b->bad) return s;
    s.size = (size_t)n;
    b->at += n;
    return s;
}

static void plain(di_pq_values *v, di_pq_value *out)
{
    uint64_t x;
    float f;

    switch (v->type) {
    case DI_PQ_BOOLEAN:
        out->number = (int64_t)bits(&v->in, v->rle.bit, 1);
        if (++v->rle.bit == 8) {
            v->in.at += !v->in.bad;
            v->rle.bit = 0;
        }
        break;
    case DI_PQ_INT32: out->number = (int32_t)(uint32_t)fixed(&v->in, 4); break;
    case DI_PQ_INT64: out->number = (int64_t)fixed(&v->in, 8); break;
    case DI_PQ_FLOAT:
        x = fixed(&v->in, 4);
        memcpy(&f, &(uint32_t){(uint32_t)x}, 4);
        out->real = (double)f;
        break;
    case DI_PQ_DOUBLE:
        x = fixed(&v->in, 8);
        memcpy(&out->real, &x, 8);
        break;
    default: out->text = bytes(&v->in, (int64_t)fixed(&v->in, 4));
    }
}

/* A prefix of the value before, and a suffix. */
static dial_status with_prefix(di_pq_values *v, di_pq_value *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int64_t prefix = di_pq_delta_next(&v->number);
    di_str suffix = bytes(&v->in, di_pq_delta_next(&v->length));
    size_t n;

    v->in.bad |= v->number.in.bad | v->length.in.bad;
    if (v->in.bad || prefix < 0 || (uint64_t)prefix > v->last_size) {
        v->in.bad = 1;
        goto done;
    }
    n = (size_t)prefix + suffix.size;
    if (n > v->last_cap) {
        char *more = di_resize(v->al, v->last, 2 * n);

        if (more == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a text of %zu bytes", n);
        v->last = more;
        v->last_cap = 2 * n;
    }
    if (suffix.size > 0) memcpy(v->last + prefix, suffix.data, suffix.size);
    v->last_size = n;
    out->text = (di_str){v->last != NULL ? v->last : "", n};
done:
    return st;
}

dial_status di_pq_values_next(di_pq_values *v, di_pq_value *out, dial_error *err)
{
    uint32_t i;

    *out = (di_pq_value){.text = {"", 0}};
    switch (v->encoding) {
    case DI_PQ_PLAIN: plain(v, out); break;
    case DI_PQ_PLAIN_DICTIONARY:
    case DI_PQ_RLE_DICTIONARY:
        i = v->in.at < v->in.end ? di_pq_rle_next(&v->rle) : 0;
        v->in.bad |= v->rle.in.bad || v->in.at == v->in.end || i >= v->n_dictionary;
        if (!v->in.bad) *out = v->dictionary[i];
        break;
    case DI_PQ_RLE:
        out->number = (int64_t)di_pq_rle_next(&v->rle);
        v->in.bad |= v->rle.in.bad;
        break;
    case DI_PQ_DELTA_BINARY:
        out->number = di_pq_delta_next(&v->number);
        if (v->type == DI_PQ_INT32) out->number = (int32_t)(uint32_t)out->number;
        v->in.bad |= v->number.in.bad;
        break;
    case DI_PQ_DELTA_LENGTH:
        out->text = bytes(&v->in, di_pq_delta_next(&v->length));
        v->in.bad |= v->length.in.bad;
        break;
    default: return with_prefix(v, out, err);
    }
    return DIAL_OK;
}
