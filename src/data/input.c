#include "data/input.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef DIAL_ZLIB
#include <zlib.h>
#endif
#ifdef DIAL_ZSTD
#include <zstd.h>
#endif

#include "base/error.h"
#include "base/file.h"

enum { BLOCK = 1 << 16, MAGIC = 8 };

struct di_input {
    const di_alloc *al;
    char *name;
    int fd; /* -1: memory */
    const char *memory;
    size_t memory_left;
    EVP_MD_CTX *hash; /* of all bytes that read_raw has handed out */
    di_window w;
    const char *whole; /* of memory: its beginning */
    size_t whole_size;
    di_map map; /* di_input_whole */
    /* packed files only */
    void *gz;   /* z_stream */
    void *zstd; /* ZSTD_DStream */
    char *raw;  /* compressed bytes [raw_begin, raw_end) wait to be unpacked */
    size_t raw_begin, raw_end;
    int between_members; /* the last member or frame is complete; another may follow */
};

/* Contents that no container of ours fits, told from their first bytes. */
static const struct {
    const char *magic;
    size_t n;
    dial_status status;
    const char *what, *hint;
} refused[] = {
    {"ARROW1", 6, DIAL_ERR_INPUT, "an Arrow file",
     "convert it: python -c \"import datasets; "
     "datasets.Dataset.from_file('FILE').to_json('FILE.jsonl')\""},
    {"PK\x03\x04", 4, DIAL_ERR_INPUT, "a ZIP archive or a spreadsheet",
     "unpack it, or save the sheet as CSV in UTF-8"},
    {"\xff\xfe", 2, DIAL_ERR_INPUT, "UTF-16 text",
     "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"},
    {"\xfe\xff", 2, DIAL_ERR_INPUT, "UTF-16 text",
     "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"},
    {"\x80\x02", 2, DIAL_ERR_USAGE, "a Python pickle", "write the rows as JSON Lines instead"},
    {"\x80\x03", 2, DIAL_ERR_USAGE, "a Python pickle", "write the rows as JSON Lines instead"},
    {"\x80\x04", 2, DIAL_ERR_USAGE, "a Python pickle", "write the rows as JSON Lines instead"},
    {"\x80\x05", 2, DIAL_ERR_USAGE, "a Python pickle", "write the rows as JSON Lines instead"},
};

/* Up to cap stored bytes; *n is 0 at the end of the file alone. */
static dial_status read_raw(di_input *in, char *to, size_t cap, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    ssize_t got;

    if (in->fd < 0) {
        got = (ssize_t)(in->memory_left < cap ? in->memory_left : cap);
        if (got > 0) memcpy(to, in->memory, (size_t)got);
        in->memory += got;
        in->memory_left -= (size_t)got;
    } else {
        do got = read(in->fd, to, cap);
        while (got < 0 && errno == EINTR);
    }
    if (got < 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, in->name, NULL, "cannot read the file: %s", strerror(errno));
    if (!EVP_DigestUpdate(in->hash, to, (size_t)got))
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "cannot hash the file");
    *n = (size_t)got;
done:
    return st;
}

/* The bytes in the window turn out to be packed: they become the first ones to be unpacked. */
static dial_status start_packed(di_input *in, dial_error *err)
{
    dial_status st = DIAL_OK;

    in->raw = di_new(in->al, BLOCK);
    if (in->raw == NULL) DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "no memory to unpack it");
    memcpy(in->raw, in->w.data, in->w.end);
    in->raw_end = in->w.end;
    in->w.end = 0;
    in->w.at_end = 0;
done:
    return st;
}

/* At least one byte to unpack in raw, or *end: the file is over, where it may be. */
static dial_status more_packed(di_input *in, const char *what, int *end, dial_error *err)
{
    dial_status st = DIAL_OK;

    *end = 0;
    if (in->raw_begin < in->raw_end) goto done;
    in->raw_begin = 0;
    DI_TRY(read_raw(in, in->raw, BLOCK, &in->raw_end, err));
    if (in->raw_end == 0 && !in->between_members)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, in->name, "fetch the file again",
                   "%s: the file ends inside its compressed data", what);
    *end = in->raw_end == 0;
done:
    return st;
}

#ifdef DIAL_ZLIB

static void *zlib_new(void *al, uInt n, uInt size)
{
    return di_new_array(al, n, size);
}

static void zlib_free(void *al, void *p)
{
    di_free(al, p);
}

static dial_status start_gzip(di_input *in, dial_error *err)
{
    dial_status st = DIAL_OK;
    z_stream *z = di_zalloc(in->al, sizeof *z);

    if (z == NULL) DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "no memory to unpack gzip");
    z->zalloc = zlib_new;
    z->zfree = zlib_free;
    z->opaque = (void *)(uintptr_t)in->al;
    if (inflateInit2(z, 15 + 16) != Z_OK) /* 16: a gzip header, not a zlib one */
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "no memory to unpack gzip");
    in->gz = z;
    z = NULL;
    DI_TRY(start_packed(in, err));
done:
    di_free(in->al, z);
    return st;
}

/*
 * Inflates into to[0..cap). A file may hold several members one after the other (what `cat a.gz
 * b.gz` and bgzip write); what follows the last one is padding and ignored, as gzip does.
 */
static dial_status read_gzip(di_input *in, char *to, size_t cap, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    z_stream *z = in->gz;
    int rc, end = 0;

    z->next_out = (Bytef *)to;
    z->avail_out = (uInt)cap;
    while (z->avail_out == cap) {
        DI_TRY(more_packed(in, "gzip", &end, err));
        if (end) break;
        if (in->between_members) {
            if (in->raw[in->raw_begin] != '\x1f') break;
            inflateReset(z);
            in->between_members = 0;
        }
        z->next_in = (Bytef *)in->raw + in->raw_begin;
        z->avail_in = (uInt)(in->raw_end - in->raw_begin);
        rc = inflate(z, Z_NO_FLUSH);
        in->raw_begin = in->raw_end - z->avail_in;
        if (rc == Z_STREAM_END)
            in->between_members = 1;
        else if (rc == Z_MEM_ERROR)
            DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "no memory to unpack gzip");
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, in->name, "fetch the file again",
                       "gzip: damaged data (%s)", z->msg != NULL ? z->msg : "no detail");
    }
    *n = cap - z->avail_out;
done:
    return st;
}

static void stop_gzip(di_input *in)
{
    if (in->gz != NULL) inflateEnd(in->gz);
    di_free(in->al, in->gz);
}

#else

static dial_status start_gzip(di_input *in, dial_error *err)
{
    return di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__, in->name,
                        "unpack it first: gzip -d FILE",
                        "expected plain text, found gzip; this build has no zlib (DIAL_ZLIB)");
}

static dial_status read_gzip(di_input *in, char *to, size_t cap, size_t *n, dial_error *err)
{
    return read_raw(in, to, cap, n, err); /* never called: start_gzip refuses */
}

static void stop_gzip(di_input *in)
{
    (void)in;
}

#endif

#ifdef DIAL_ZSTD

static dial_status start_zstd(di_input *in, dial_error *err)
{
    dial_status st = DIAL_OK;

    in->zstd = ZSTD_createDStream();
    if (in->zstd == NULL)
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "no memory to unpack zstd");
    DI_TRY(start_packed(in, err));
done:
    return st;
}

/* Unpacks into to[0..cap); a file may hold several frames one after the other. */
static dial_status read_zstd(di_input *in, char *to, size_t cap, size_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    ZSTD_outBuffer out = {to, cap, 0};
    int end = 0;

    while (out.pos == 0) {
        ZSTD_inBuffer raw;
        size_t rc;

        DI_TRY(more_packed(in, "zstd", &end, err));
        if (end) break;
        raw = (ZSTD_inBuffer){in->raw + in->raw_begin, in->raw_end - in->raw_begin, 0};
        rc = ZSTD_decompressStream(in->zstd, &out, &raw);
        if (ZSTD_isError(rc))
            DI_FAIL_AT(err, DIAL_ERR_INPUT, in->name, "fetch the file again",
                       "zstd: damaged data (%s)", ZSTD_getErrorName(rc));
        in->raw_begin += raw.pos;
        in->between_members = rc == 0;
    }
    *n = out.pos;
done:
    return st;
}

static void stop_zstd(di_input *in)
{
    ZSTD_freeDStream(in->zstd);
}

#else

static dial_status start_zstd(di_input *in, dial_error *err)
{
    return di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__, in->name,
                        "unpack it first: zstd -d FILE",
                        "expected plain text, found zstd; this build has no libzstd (DIAL_ZSTD)");
}

static dial_status read_zstd(di_input *in, char *to, size_t cap, size_t *n, dial_error *err)
{
    return read_raw(in, to, cap, n, err); /* never called: start_zstd refuses */
}

static void stop_zstd(di_input *in)
{
    (void)in;
}

#endif

dial_status di_input_more(di_input *in, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_window *w = &in->w;
    size_t n = 0;

    if (w->begin > 0) {
        memmove(w->data, w->data + w->begin, w->end - w->begin);
        w->end -= w->begin;
        w->begin = 0;
    }
    if (w->cap - w->end < BLOCK / 2) { /* a long row: doubling keeps the total work linear */
        char *more = di_resize(in->al, w->data, w->cap < BLOCK ? BLOCK : 2 * w->cap);

        if (more == NULL)
            DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "no memory for a row of %zu bytes",
                       w->end);
        w->data = more;
        w->cap = w->cap < BLOCK ? BLOCK : 2 * w->cap;
    }
    if (in->zstd != NULL)
        DI_TRY(read_zstd(in, w->data + w->end, w->cap - w->end, &n, err));
    else if (in->gz != NULL)
        DI_TRY(read_gzip(in, w->data + w->end, w->cap - w->end, &n, err));
    else
        DI_TRY(read_raw(in, w->data + w->end, w->cap - w->end, &n, err));
    w->end += n;
    if (n == 0) w->at_end = 1;
done:
    return st;
}

/* Fills the window up to n bytes, or to the end of the file. */
static dial_status want(di_input *in, size_t n, dial_error *err)
{
    dial_status st = DIAL_OK;

    while (!in->w.at_end && in->w.end - in->w.begin < n) DI_TRY(di_input_more(in, err));
done:
    return st;
}

/* Looks at the first bytes: unwraps gzip and zstd, refuses what no container fits, skips the BOM.
 */
static dial_status recognise(di_input *in, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_window *w = &in->w;

    DI_TRY(want(in, MAGIC, err));
    if (w->end >= 2 && memcmp(w->data, "\x1f\x8b", 2) == 0) {
        DI_TRY(start_gzip(in, err));
        DI_TRY(want(in, MAGIC, err));
    } else if (w->end >= 4 && memcmp(w->data, "\x28\xb5\x2f\xfd", 4) == 0) {
        DI_TRY(start_zstd(in, err));
        DI_TRY(want(in, MAGIC, err));
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (w->end >= refused[i].n && memcmp(w->data, refused[i].magic, refused[i].n) == 0)
            DI_FAIL_AT(err, refused[i].status, in->name, refused[i].hint,
                       "expected JSON Lines, a JSON array, CSV or TSV, found %s", refused[i].what);
    if (w->end >= 3 && memcmp(w->data, "\xef\xbb\xbf", 3) == 0) in->w.begin = 3;
done:
    return st;
}

static dial_status create(const di_alloc *al, const char *name, di_input **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_input *in = di_zalloc(al, sizeof *in);

    if (in == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", name);
    in->al = al;
    in->fd = -1;
    in->name = di_strdup(al, name);
    in->hash = EVP_MD_CTX_new();
    if (in->name == NULL || in->hash == NULL || !EVP_DigestInit_ex(in->hash, EVP_sha256(), NULL))
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", name);
    *out = in;
    in = NULL;
done:
    di_input_close(in);
    return st;
}

dial_status di_input_open(const di_alloc *al, const char *path, di_input **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int is_stdin = strcmp(path, "-") == 0;
    di_input *in = NULL;
    struct stat info;

    DI_TRY(create(al, is_stdin ? "stdin" : path, &in, err));
    in->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        DI_FAIL_AT(err, errno == ENOENT ? DIAL_ERR_USAGE : DIAL_ERR_IO, path, "check the path",
                   "cannot open the file: %s", strerror(errno));
    if (fstat(in->fd, &info) == 0 && S_ISDIR(info.st_mode))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path,
                   "name a file in it; a saved data set is converted by: python -c \"import "
                   "datasets; datasets.load_from_disk('FOLDER').to_json('FILE.jsonl')\"",
                   "expected a file, found a folder");
    DI_TRY(recognise(in, err));
    *out = in;
    in = NULL;
done:
    di_input_close(in);
    return st;
}

dial_status di_input_open_memory(const di_alloc *al, const char *name, const void *data, size_t n,
                                 di_input **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_input *in = NULL;

    DI_TRY(create(al, name, &in, err));
    in->memory = in->whole = data;
    in->memory_left = in->whole_size = n;
    DI_TRY(recognise(in, err));
    *out = in;
    in = NULL;
done:
    di_input_close(in);
    return st;
}

void di_input_close(di_input *in)
{
    if (in == NULL) return;
    if (in->fd >= 0 && in->fd != STDIN_FILENO) close(in->fd);
    stop_gzip(in);
    stop_zstd(in);
    di_unmap(&in->map);
    di_free(in->al, in->raw);
    EVP_MD_CTX_free(in->hash);
    di_free(in->al, in->w.data);
    di_free(in->al, in->name);
    di_free(in->al, in);
}

di_window *di_input_window(di_input *in)
{
    return &in->w;
}

const char *di_input_name(const di_input *in)
{
    return in->name;
}

dial_status di_input_whole(di_input *in, const void **data, size_t *size, dial_error *err)
{
    dial_status st = DIAL_OK;
    struct stat info;

    if (in->raw == NULL && in->whole != NULL) {
        *data = in->whole;
        *size = in->whole_size;
    } else if (in->raw == NULL && in->fd != STDIN_FILENO && fstat(in->fd, &info) == 0 &&
               S_ISREG(info.st_mode)) {
        DI_TRY(di_map_file(in->name, &in->map, err));
        *data = in->map.data;
        *size = in->map.size;
    } else {
        while (!in->w.at_end) DI_TRY(di_input_more(in, err));
        *data = in->w.data + in->w.begin;
        *size = in->w.end - in->w.begin;
    }
done:
    return st;
}

dial_status di_input_sha256(di_input *in, char hex[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    unsigned char digest[32] = {0};
    size_t n = 1;

    if (in->w.cap == 0) DI_TRY(di_input_more(in, err));
    while (n > 0) DI_TRY(read_raw(in, in->w.data, in->w.cap, &n, err));
    in->w.begin = in->w.end = 0;
    in->w.at_end = 1;
    if (!EVP_DigestFinal_ex(in->hash, digest, NULL))
        DI_FAIL_AT(err, DIAL_ERR_NOMEM, in->name, NULL, "cannot hash the file");
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
done:
    return st;
}
