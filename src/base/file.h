/*
 * Files: read-only maps, whole reads, atomic writes, hashes, folders.
 *
 * Atomic write: NAME.tmp-PID in the same folder, fsync, rename, fsync of the folder. Killing the
 * process at any instant leaves the old file or the new one, never a part.
 */
#ifndef DI_BASE_FILE_H
#define DI_BASE_FILE_H

#include <stdio.h>

#include "base/buf.h"

/* A file mapped read-only. data is NULL for an empty file. Unmap with di_unmap. */
typedef struct di_map {
    const unsigned char *data;
    size_t size;
} di_map;

/* ERR_USAGE if the file is missing, ERR_IO otherwise. */
dial_status di_map_file(const char *path, di_map *out, dial_error *err);
void di_unmap(di_map *m);

/* The whole file, followed by a 0 byte that *size does not count. "-" reads stdin. di_free it. */
dial_status di_read_file(const di_alloc *al, const char *path, char **out, size_t *size,
                         dial_error *err);

/*
 * A file being written: di_write_begin, any number of di_write, then di_write_commit or _abort. Or
 * one that is gone on with in place, whose content stays whatever happens: di_write_resume.
 */
typedef struct di_writer {
    const di_alloc *al;
    char *path, *tmp;
    FILE *f;
    int direct; /* a pipe, device or resumed file: written as it is, nothing to rename */
} di_writer;

dial_status di_write_begin(const di_alloc *al, const char *path, di_writer *w, dial_error *err);
/* Cuts the file (made if it is missing) to `keep` bytes; what is written follows them. */
dial_status di_write_resume(const di_alloc *al, const char *path, size_t keep, di_writer *w,
                            dial_error *err);
dial_status di_write(di_writer *w, const void *data, size_t n, dial_error *err);
dial_status di_write_flush(di_writer *w, dial_error *err); /* a killed process has written it */
dial_status di_write_commit(di_writer *w, dial_error *err);
void di_write_abort(di_writer *w); /* also after a failed commit; harmless after a good one */

/* All three in one. */
dial_status di_write_file(const di_alloc *al, const char *path, const void *data, size_t n,
                          dial_error *err);

/* SHA-256 as 64 lower-case hex digits and a 0. */
dial_status di_sha256_file(const char *path, char hex[65], dial_error *err);
void di_sha256(const void *data, size_t n, char hex[65]);

/* FNV-1a, 64 bit. */
uint64_t di_fnv1a(const void *data, size_t n);

int di_exists(const char *path);
int di_is_dir(const char *path);

/* The folder and its parents; an existing folder is fine. */
dial_status di_make_dirs(const char *path, dial_error *err);

/* fsync of a folder, so that renames in it are on the disk. */
dial_status di_sync_dir(const char *path, dial_error *err);

/* Renames from over to (also folders; `to` must not exist or be replaceable), then syncs. */
dial_status di_rename(const char *from, const char *to, dial_error *err);

/* Gives each of two folders the place of the other, in one step, then syncs. ERR_IO also where the
 * file system cannot do that. */
dial_status di_exchange(const char *a, const char *b, dial_error *err);

/* Removes a file or a folder with all it holds; missing is fine. */
dial_status di_remove_tree(const char *path, dial_error *err);

/* Names in a folder, sorted, without "." and "..". Free each and the array with di_free. */
dial_status di_list_dir(const di_alloc *al, const char *path, char ***names, size_t *n,
                        dial_error *err);
void di_free_names(const di_alloc *al, char **names, size_t n);

/* a/b in a new string (b alone if it is absolute); NULL: no memory. */
char *di_path_join(const di_alloc *al, const char *a, const char *b);

#endif
