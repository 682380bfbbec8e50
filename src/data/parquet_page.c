/* A column's pages, one after the other: headers, unpacking, levels beside values. */
#include <string.h>

#include "data/parquet_impl.h"
#include "data/unpack.h"

enum { DATA_PAGE = 0, INDEX_PAGE = 1, DICTIONARY_PAGE = 2, DATA_PAGE_2 = 3, MOST_PAGE = 256 << 20 };

/* PageHeader, with what the header of its kind says. */
typedef struct header {
    int kind, encoding, packed; /* packed: the values of a page of version 2 */
    int64_t unpacked_size, size, values;
    int64_t rep_size, def_size; /* of version 2: bytes of the levels, which are never packed */
} header;

static void read_kind(di_bytes *b, header *h, int kind)
{
    int id = 0, type = 0;

    while (di_thrift_field(b, &id, &type)) {
        int64_t x = 0;
        int is_flag = type == 1 || type == 2, is_int = type == 5;

        if (is_int)
            x = di_zigzag(b);
        else if (!is_flag)
            di_thrift_skip(b, type);
        if (id == 1 && is_int) h->values = x;
        if (id == (kind == DATA_PAGE_2 ? 4 : 2) && is_int) h->encoding = (int)x;
        if (kind == DATA_PAGE_2 && id == 5 && is_int) h->def_size = x;
        if (kind == DATA_PAGE_2 && id == 6 && is_int) h->rep_size = x;
        if (kind == DATA_PAGE_2 && id == 7 && is_flag) h->packed = type == 1;
    }
}

static header read_header(di_bytes *b)
{
    header h = {.kind = -1, .encoding = -1, .packed = 1, .size = -1, .unpacked_size = -1};
    int id = 0, type = 0;

    h.values = -1;
    while (di_thrift_field(b, &id, &type)) {
        if (type == 5 && id == 1)
            h.kind = (int)di_zigzag(b);
        else if (type == 5 && id == 2)
            h.unpacked_size = di_zigzag(b);
        else if (type == 5 && id == 3)
            h.size = di_zigzag(b);
        else if (type == 12 && id == 5)
            read_kind(b, &h, DATA_PAGE);
        else if (type == 12 && id == 7)
            read_kind(b, &h, DICTIONARY_PAGE);
        else if (type == 12 && id == 8)
            read_kind(b, &h, DATA_PAGE_2);
        else
            di_thrift_skip(b, type);
    }
    return h;
}

static dial_status damaged(const di_pq_column *c, const char *what, dial_error *err)
{
    dial_status st = DIAL_OK;

    DI_FAIL_AT(err, DIAL_ERR_INPUT, DI_FMT("%s: column '%s'", c->file, c->leaf->name),
               "fetch the file again", "Parquet: damaged data (%s)", what);
done:
    return st;
}

/* Bytes of a page, unpacked into a new block *own where they are packed. */
static dial_status unpack(const di_pq_column *c, const unsigned char *data, size_t n, size_t size,
                          unsigned char **own, di_bytes *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_codec codec = c->codec == DI_PQ_SNAPPY ? DI_CODEC_SNAPPY
                     : c->codec == DI_PQ_GZIP ? DI_CODEC_GZIP
                                              : DI_CODEC_ZSTD;

    *out = (di_bytes){data, data + n, 0};
    if (c->codec == DI_PQ_PLAIN_CODEC) goto done;
    if (c->codec != DI_PQ_SNAPPY && c->codec != DI_PQ_GZIP && c->codec != DI_PQ_ZSTD)
        DI_PQ_FAIL(c->file, c->leaf->name,
                   "Parquet: expected snappy, gzip, zstd or no compression, found codec %d",
                   c->codec);
    if (!di_codec_built(codec))
        DI_PQ_FAIL(c->file, c->leaf->name, "Parquet: this build has no library for %s",
                   di_codec_name(codec));
    *own = di_new(c->al, size);
    if (*own == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a page of %zu bytes", size);
    *out = (di_bytes){*own, *own + size, 0};
    if (size == 0 && n == 0) goto done;
    if (!di_unpack(codec, data, n, *own, size)) DI_TRY(damaged(c, di_codec_name(codec), err));
done:
    return st;
}

/* --- dictionary --------------------------------------------------------------------------------
 */

static dial_status read_dictionary(di_pq_column *c, const header *h, const unsigned char *data,
                                   dial_error *err)
{
    dial_status st = DIAL_OK;
    di_pq_values v = {.al = c->al};
    di_bytes in;

    if (c->dictionary != NULL) DI_TRY(damaged(c, "two dictionaries", err));
    if (h->encoding != DI_PQ_PLAIN && h->encoding != DI_PQ_PLAIN_DICTIONARY)
        DI_PQ_FAIL(c->file, c->leaf->name, "Parquet: a dictionary in encoding %s is not read",
                   di_pq_encoding_name(h->encoding));
    DI_TRY(
        unpack(c, data, (size_t)h->size, (size_t)h->unpacked_size, &c->dictionary_page, &in, err));
    /* a value takes a bit at least */
    if (h->values < 0 || (uint64_t)h->values > 8 * (uint64_t)(in.end - in.at))
        DI_TRY(damaged(c, "size of a dictionary", err));
    c->dictionary = di_new_array(c->al, (size_t)h->values + 1, sizeof *c->dictionary);
    if (c->dictionary == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a dictionary of %zu", (size_t)h->values);
    (void)di_pq_values_start(&v, c->leaf->type, DI_PQ_PLAIN, in);
    for (int64_t i = 0; i < h->values; i++) DI_TRY(di_pq_values_next(&v, &c->dictionary[i], err));
    if (v.in.bad) DI_TRY(damaged(c, "dictionary", err));
    c->n_dictionary = (size_t)h->values;
done:
    return st;
}

/* --- data pages --------------------------------------------------------------------------------
 */

static int bit_width(int most)
{
    int n = 0;

    while (most >> n != 0) n++;
    return n;
}

/* Levels of version 1: a length, then runs. */
static dial_status levels_1(di_pq_column *c, di_bytes *in, int most, di_pq_rle *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t n = 0;

    if (most == 0) goto done;
    if (in->end - in->at >= 4)
        n = (size_t)in->at[0] | (size_t)in->at[1] << 8 | (size_t)in->at[2] << 16 |
            (size_t)in->at[3] << 24;
    if (in->end - in->at < 4 || n > (size_t)(in->end - in->at) - 4)
        DI_TRY(damaged(c, "levels", err));
    di_pq_rle_start(r, (di_bytes){in->at + 4, in->at + 4 + n, 0}, bit_width(most));
    in->at += 4 + n;
done:
    return st;
}

static dial_status start_values(di_pq_column *c, const header *h, di_bytes in, dial_error *err)
{
    dial_status st = DIAL_OK;

    c->values.dictionary = c->dictionary;
    c->values.n_dictionary = c->n_dictionary;
    if (!di_pq_values_start(&c->values, c->leaf->type, h->encoding, in))
        DI_PQ_FAIL(c->file, c->leaf->name, "Parquet: values in encoding %s are not read",
                   di_pq_encoding_name(h->encoding));
    c->left = h->values;
done:
    return st;
}

static dial_status data_page(di_pq_column *c, const header *h, const unsigned char *data,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t levels = 0;
    di_bytes in;

    if (h->values < 0 || h->values > c->values_left) DI_TRY(damaged(c, "size of a page", err));
    c->values_left -= h->values;
    di_free(c->al, c->page);
    c->page = NULL;
    if (h->kind == DATA_PAGE_2) {
        if (h->rep_size < 0 || h->def_size < 0 || h->rep_size > h->size ||
            h->def_size > h->size - h->rep_size || h->rep_size + h->def_size > h->unpacked_size)
            DI_TRY(damaged(c, "levels", err));
        levels = (size_t)(h->rep_size + h->def_size);
        di_pq_rle_start(&c->rep, (di_bytes){data, data + h->rep_size, 0},
                        bit_width(c->leaf->max_rep));
        di_pq_rle_start(&c->def, (di_bytes){data + h->rep_size, data + levels, 0},
                        bit_width(c->leaf->max_def));
    }
    if (h->kind == DATA_PAGE_2 && !h->packed)
        in = (di_bytes){data + levels, data + h->size, 0};
    else
        DI_TRY(unpack(c, data + levels, (size_t)h->size - levels, (size_t)h->unpacked_size - levels,
                      &c->page, &in, err));
    if (h->kind == DATA_PAGE) {
        DI_TRY(levels_1(c, &in, c->leaf->max_rep, &c->rep, err));
        DI_TRY(levels_1(c, &in, c->leaf->max_def, &c->def, err));
    }
    DI_TRY(start_values(c, h, in, err));
done:
    return st;
}

/* The next page of the chunk, whatever it is. */
static dial_status next_page(di_pq_column *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_bytes b = {c->data + c->at, c->data + c->end, 0};
    header h = read_header(&b);
    const unsigned char *data = b.at;

    if (b.bad || h.size < 0 || h.unpacked_size < 0 || h.size > b.end - b.at)
        DI_TRY(damaged(c, "header of a page", err));
    if (h.unpacked_size > MOST_PAGE)
        DI_PQ_FAIL(c->file, c->leaf->name, "Parquet: expected pages of at most %d MiB, found %lld",
                   MOST_PAGE >> 20, (long long)h.unpacked_size >> 20);
    c->at = (size_t)(data - c->data) + (size_t)h.size;
    if (h.kind == DICTIONARY_PAGE)
        DI_TRY(read_dictionary(c, &h, data, err));
    else if (h.kind == DATA_PAGE || h.kind == DATA_PAGE_2)
        DI_TRY(data_page(c, &h, data, err));
    else if (h.kind != INDEX_PAGE)
        DI_TRY(damaged(c, "kind of a page", err));
done:
    return st;
}

/* --- a column ----------------------------------------------------------------------------------
 */

void di_pq_column_start(di_pq_column *c, const di_pq_chunk *chunk)
{
    di_free(c->al, c->page);
    di_free(c->al, c->dictionary_page);
    di_free(c->al, c->dictionary);
    c->page = c->dictionary_page = NULL;
    c->dictionary = NULL;
    c->n_dictionary = 0;
    c->at = (size_t)chunk->at;
    c->end = (size_t)chunk->at + (size_t)chunk->size;
    c->values_left = chunk->values;
    c->codec = chunk->codec;
    c->left = 0;
    c->have = 0;
}

void di_pq_column_deinit(di_pq_column *c)
{
    if (c->al == NULL) return;
    di_free(c->al, c->page);
    di_free(c->al, c->dictionary_page);
    di_free(c->al, c->dictionary);
    di_free(c->al, c->values.last);
    *c = (di_pq_column){0};
}

dial_status di_pq_column_peek(di_pq_column *c, int *got, dial_error *err)
{
    dial_status st = DIAL_OK;

    *got = 1;
    if (c->have) goto done;
    while (c->left == 0 && c->at < c->end && c->values_left > 0) DI_TRY(next_page(c, err));
    if (c->left == 0) {
        *got = 0;
        goto done;
    }
    c->left--;
    c->rep_level = c->leaf->max_rep > 0 ? (int)di_pq_rle_next(&c->rep) : 0;
    c->def_level = c->leaf->max_def > 0 ? (int)di_pq_rle_next(&c->def) : 0;
    if ((c->leaf->max_rep > 0 && c->rep.in.bad) || (c->leaf->max_def > 0 && c->def.in.bad) ||
        c->rep_level > c->leaf->max_rep || c->def_level > c->leaf->max_def)
        DI_TRY(damaged(c, "levels", err));
    if (c->def_level == c->leaf->max_def) {
        DI_TRY(di_pq_values_next(&c->values, &c->value, err));
        if (c->values.in.bad) DI_TRY(damaged(c, "values", err));
    }
    c->have = 1;
done:
    return st;
}
