#include "data/trunk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"

enum { ALIGN = 16, FORMAT = 1 };
static const uint64_t MAGIC = 0x314b4e5552544944; /* "DITRUNK1" on a little-endian machine */

typedef struct header {
    uint64_t magic, format, row_bytes, per_token;
    char key[72]; /* 64 hex digits and zeros */
    uint64_t sum; /* of all above */
} header;

typedef struct entry {
    uint64_t at, n, sum; /* of a block: its place, tokens, checksum of ids and rows */
} entry;

typedef struct footer {
    uint64_t n, index_at, index_sum, size, magic;
} footer;

/*
 * Four chains of (h ^ word) * odd number. Each step is a bijection of h and of the word, so one
 * changed word always changes the sum; as fast as memory. n is a multiple of 8.
 */
static uint64_t sum_of(uint64_t h, const void *data, size_t n)
{
    static const uint64_t prime = 0x9e3779b97f4a7c15u;
    uint64_t lane[4] = {h, h + 1, h + 2, h + 3}, word[4];
    const char *p = data;
    size_t i = 0;

    for (; i + sizeof word <= n; i += sizeof word) {
        memcpy(word, p + i, sizeof word);
        for (int k = 0; k < 4; k++) lane[k] = (lane[k] ^ word[k]) * prime;
    }
    for (; i < n; i += sizeof *word) {
        memcpy(word, p + i, sizeof *word);
        lane[0] = (lane[0] ^ word[0]) * prime;
    }
    for (int k = 1; k < 4; k++) lane[0] = (lane[0] ^ lane[k]) * prime;
    return lane[0] ^ lane[0] >> 32;
}

static size_t padded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t ids_bytes(const di_seq_view *text)
{
    return (size_t)text->n * sizeof *text->id;
}

static size_t rows_bytes(const di_trunk_shape *s, int64_t tokens)
{
    return (size_t)di_trunk_rows_of(s, tokens) * s->row_bytes;
}

static header header_of(const di_trunk_shape *shape, const char *key)
{
    header h = {.magic = MAGIC,
                .format = FORMAT,
                .row_bytes = shape->row_bytes,
                .per_token = shape->per_token != 0};

    strncpy(h.key, key, sizeof h.key - 1);
    h.sum = sum_of(0, &h, offsetof(header, sum));
    return h;
}

/* --- reading ---------------------------------------------------------------------------------- */

dial_status di_trunk_file_open(const char *path, const char *key, const di_trunk_shape *shape,
                               di_trunk_file *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_map map = {0};
    header h, want = header_of(shape, key);
    footer f;

    DI_TRY(di_map_file(path, &map, err));
    if (map.size < padded(sizeof h) + sizeof f || map.size % 8 != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, NULL, "cut short to %zu bytes", map.size);
    memcpy(&h, map.data, sizeof h);
    memcpy(&f, map.data + map.size - sizeof f, sizeof f);
    if (memcmp(&h, &want, sizeof h) != 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, NULL, "the header is not that of this trunk");
    if (f.magic != MAGIC || f.size != map.size || f.index_at > map.size - sizeof f ||
        f.index_at % ALIGN != 0 || f.n != (map.size - sizeof f - f.index_at) / sizeof(entry) ||
        f.n * sizeof(entry) != map.size - sizeof f - f.index_at)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, NULL, "not written to its end");
    if (f.index_sum != sum_of(f.n, map.data + f.index_at, f.n * sizeof(entry)))
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, NULL, "the checksum of its index does not fit");
    *out = (di_trunk_file){map, *shape, (int64_t)f.n, map.data + f.index_at};
    map = (di_map){0};
done:
    di_unmap(&map);
    return st;
}

void di_trunk_file_close(di_trunk_file *f)
{
    di_unmap(&f->map);
    *f = (di_trunk_file){.n = 0};
}

int di_trunk_file_block(const di_trunk_file *f, int64_t i, di_seq_view *text, const void **rows)
{
    size_t end = (size_t)((const unsigned char *)f->index - f->map.data), ids, n_rows;
    entry e;

    memcpy(&e, (const char *)f->index + (size_t)i * sizeof e, sizeof e);
    if (e.n < 1 || e.n > end / sizeof(int32_t) || e.at < sizeof(header) || e.at % ALIGN != 0 ||
        !di_mul_size((size_t)di_trunk_rows_of(&f->shape, (int64_t)e.n), f->shape.row_bytes,
                     &n_rows) ||
        n_rows > end)
        return 0;
    ids = padded((size_t)e.n * sizeof(int32_t));
    if (e.at > end || ids + padded(n_rows) > end - e.at ||
        sum_of(e.n, f->map.data + e.at, ids + padded(n_rows)) != e.sum)
        return 0;
    *text = (di_seq_view){(const int32_t *)(const void *)(f->map.data + e.at), (int64_t)e.n};
    *rows = f->map.data + e.at + ids;
    return 1;
}

/* --- writing ---------------------------------------------------------------------------------- */

size_t di_trunk_file_bytes(const di_trunk_shape *shape, const di_seq_view *text, int64_t n)
{
    size_t bytes = padded(sizeof(header)) + sizeof(footer);

    for (int64_t i = 0; i < n; i++)
        bytes += padded(ids_bytes(&text[i])) + padded(rows_bytes(shape, text[i].n)) + sizeof(entry);
    return bytes;
}

/* n bytes and zeros up to the next multiple of ALIGN. */
static dial_status put(di_trunk_writer *w, const void *data, size_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char zeros[ALIGN];

    DI_TRY(di_write(&w->file, data, n, err));
    DI_TRY(di_write(&w->file, zeros, padded(n) - n, err));
    w->at += padded(n);
done:
    return st;
}

dial_status di_trunk_write_begin(const di_alloc *al, const char *path, const char *key,
                                 const di_trunk_shape *shape, di_trunk_writer *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    header h = header_of(shape, key);

    *w = (di_trunk_writer){.shape = *shape};
    di_buf_init(&w->index, al);
    DI_TRY(di_write_begin(al, path, &w->file, err));
    flock(fileno(w->file.f), LOCK_EX | LOCK_NB); /* on a file system without: cleaned too early */
    DI_TRY(put(w, &h, sizeof h, err));
done:
    if (st != DIAL_OK) di_trunk_write_abort(w);
    return st;
}

dial_status di_trunk_write_put(di_trunk_writer *w, const di_seq_view *text, const void *rows,
                               dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t ids = padded(ids_bytes(text)), n_rows = rows_bytes(&w->shape, text->n);
    entry e = {.at = w->at, .n = (uint64_t)text->n};
    char *block = di_zalloc(w->index.al, ids + padded(n_rows)); /* the sum runs over zeros too */

    if (block == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a text of a trunk");
    memcpy(block, text->id, ids_bytes(text));
    memcpy(block + ids, rows, n_rows);
    e.sum = sum_of(e.n, block, ids + padded(n_rows));
    DI_TRY(put(w, block, ids + padded(n_rows), err));
    di_buf_append(&w->index, &e, sizeof e);
    w->n++;
done:
    di_free(w->index.al, block);
    return st;
}

dial_status di_trunk_write_commit(di_trunk_writer *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    footer f = {.n = (uint64_t)w->n, .index_at = w->at, .magic = MAGIC};

    DI_TRY(di_buf_status(&w->index, err));
    f.index_sum = sum_of(f.n, w->index.data, w->index.size);
    f.size = w->at + w->index.size + sizeof f;
    DI_TRY(di_write(&w->file, w->index.data, w->index.size, err));
    DI_TRY(di_write(&w->file, &f, sizeof f, err));
    DI_TRY(di_write_commit(&w->file, err));
done:
    di_trunk_write_abort(w);
    return st;
}

void di_trunk_write_abort(di_trunk_writer *w)
{
    di_write_abort(&w->file);
    di_buf_deinit(&w->index);
}

/* --- the folder ------------------------------------------------------------------------------- */

dial_status di_trunk_dir_clean(const di_alloc *al, const char *dir, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL, *path = NULL;
    size_t n = 0;

    if (!di_is_dir(dir)) return DIAL_OK;
    DI_TRY(di_list_dir(al, dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        int fd;

        if (strstr(names[i], ".tmp-") == NULL) continue;
        path = di_path_join(al, dir, names[i]);
        if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (flock(fd, LOCK_EX | LOCK_NB) == 0) unlink(path);
            close(fd);
        }
        di_free(al, path);
        path = NULL;
    }
done:
    di_free(al, path);
    di_free_names(al, names, n);
    return st;
}

typedef struct used_file {
    char *path;
    struct timespec used;
    size_t size;
} used_file;

static int by_use(const void *a, const void *b)
{
    const used_file *x = a, *y = b;

    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

dial_status di_trunk_dir_make_room(const di_alloc *al, const char *dir, const char *path,
                                   size_t need, size_t max, int *fits, dial_error *err)
{
    dial_status st = DIAL_OK;
    char **names = NULL;
    size_t n = 0, count = 0, held = 0, room = 0;
    used_file *file = NULL;
    struct statvfs disk;

    *fits = 0;
    DI_TRY(di_list_dir(al, dir, &names, &n, err));
    file = di_new_array(al, n, sizeof *file);
    if (file == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the files of '%s'", dir);
    for (size_t i = 0; i < n; i++) {
        struct stat info;
        char *each = di_path_join(al, dir, names[i]);

        if (each == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        if (strcmp(each, path) == 0 || strstr(names[i], ".tmp-") != NULL ||
            stat(each, &info) != 0 || !S_ISREG(info.st_mode)) {
            di_free(al, each);
            continue;
        }
        file[count++] = (used_file){each, info.st_mtim, (size_t)info.st_size};
        held += (size_t)info.st_size;
    }
    if (count > 0) qsort(file, count, sizeof *file, by_use);
    if (statvfs(dir, &disk) == 0) room = (size_t)disk.f_bavail * disk.f_frsize;
    for (size_t i = 0; need <= max && i < count && (need > max - (held < max ? held : max)); i++) {
        if (unlink(file[i].path) != 0 && errno != ENOENT) break;
        held -= file[i].size;
        room += file[i].size;
    }
    *fits = need <= max && held <= max - need && need <= room;
done:
    for (size_t i = 0; i < count; i++) di_free(al, file[i].path);
    di_free(al, file);
    di_free_names(al, names, n);
    return st;
}
