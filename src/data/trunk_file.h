/*
 * A stored trunk on the disk, for later runs over the same texts. Written whole under a temporary
 * name and renamed; read by mapping it. Numbers are those of the machine: the key names all that
 * decides the bits.
 *
 *     header   magic, shape, key, checksum of these
 *     block    ids of a text, its rows; each padded to 16 bytes      (any number)
 *     index    place, tokens and checksum of every block
 *     footer   count, place and checksum of the index, size of the file, magic
 *
 * The footer is written last, so that a file cut short is not taken for a whole one.
 */
#ifndef DI_DATA_TRUNK_FILE_H
#define DI_DATA_TRUNK_FILE_H

#include "base/file.h"
#include "data/trunk.h"

/* A file that is mapped. */
typedef struct di_trunk_file {
    di_map map;
    di_trunk_shape shape;
    int64_t n;         /* blocks */
    const void *index; /* into the map */
} di_trunk_file;

/*
 * ERR_INPUT, saying what is wrong: header, index or footer are not those of a whole file of this
 * shape and key. ERR_USAGE: no such file. Blocks are looked at by di_trunk_file_block.
 */
dial_status di_trunk_file_open(const char *path, const char *key, const di_trunk_shape *shape,
                               di_trunk_file *out, dial_error *err);
void di_trunk_file_close(di_trunk_file *f);

/* Block i, into the map. 0: its place or its checksum is wrong. */
int di_trunk_file_block(const di_trunk_file *f, int64_t i, di_seq_view *text, const void **rows);

/* Bytes of a file with these texts. */
size_t di_trunk_file_bytes(const di_trunk_shape *shape, const di_seq_view *text, int64_t n);

typedef struct di_trunk_writer {
    di_writer file;
    di_trunk_shape shape;
    di_buf index;
    size_t at;
    int64_t n;
} di_trunk_writer;

/* The temporary file is locked while it is written: di_trunk_dir_clean takes others for dead. */
dial_status di_trunk_write_begin(const di_alloc *al, const char *path, const char *key,
                                 const di_trunk_shape *shape, di_trunk_writer *w, dial_error *err);
dial_status di_trunk_write_put(di_trunk_writer *w, const di_seq_view *text, const void *rows,
                               dial_error *err);
dial_status di_trunk_write_commit(di_trunk_writer *w, dial_error *err);
void di_trunk_write_abort(di_trunk_writer *w); /* harmless after a commit */

/* Removes temporary files of writers that no longer live. */
dial_status di_trunk_dir_clean(const di_alloc *al, const char *dir, dial_error *err);

/*
 * Removes the files of a folder that were not used for longest until `need` more bytes stay within
 * max and the disk has them free; the file at path does not count (it will be replaced). *fits: 0
 * if they cannot.
 */
dial_status di_trunk_dir_make_room(const di_alloc *al, const char *dir, const char *path,
                                   size_t need, size_t max, int *fits, dial_error *err);

#endif
