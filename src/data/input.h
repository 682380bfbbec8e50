/*
 * The bytes of a data file behind a window: from a path, from stdin or from memory, hashed as they
 * are stored, unwrapped where they are gzip or zstd. A container (records.h) cuts rows off the
 * front of the window, so memory is the row in hand and one block of the file, however long the
 * file is.
 */
#ifndef DI_DATA_INPUT_H
#define DI_DATA_INPUT_H

#include "base/alloc.h"

typedef struct di_input di_input;

/* The unread bytes are data[begin .. end); the reader moves begin. Set by di_input_more alone: the
 * rest. Offsets from begin survive a call of di_input_more, pointers do not. */
typedef struct di_window {
    char *data;
    size_t begin, end, cap;
    int at_end; /* nothing follows data[end) */
} di_window;

/*
 * Opens path ("-": stdin) or n bytes at data (borrowed until close; `name` stands in messages).
 * Skips a UTF-8 byte order mark. ERR_USAGE: missing file, folder, pickle. ERR_INPUT: a container
 * that is recognised but not read (Arrow, ZIP, UTF-16), with the command that
 * converts it as the hint.
 */
dial_status di_input_open(const di_alloc *al, const char *path, di_input **out, dial_error *err);
dial_status di_input_open_memory(const di_alloc *al, const char *name, const void *data, size_t n,
                                 di_input **out, dial_error *err);
void di_input_close(di_input *in);

di_window *di_input_window(di_input *in);
const char *di_input_name(const di_input *in); /* the path, "stdin", or the name of the memory */

/* Appends at least one byte to the window, or sets at_end. begin becomes 0. */
dial_status di_input_more(di_input *in, dial_error *err);

/*
 * All bytes, unwrapped, from the first on: mapped where they lie in a file as they are, else in the
 * window. Valid until close; call it before anything is taken from the window, and nothing after.
 */
dial_status di_input_whole(di_input *in, const void **data, size_t *size, dial_error *err);

/*
 * SHA-256 of the bytes as stored (a .gz: of the compressed file), in hex. Reads what is left of the
 * file and empties the window: call it last.
 */
dial_status di_input_sha256(di_input *in, char hex[65], dial_error *err);

#endif
