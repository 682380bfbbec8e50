/*
 * Pieces of JSON answers. They are written straight into the buffer that goes to the socket: a
 * batch of embeddings as a tree of values would take ten times its memory.
 */
#ifndef DI_SERVE_WRITE_H
#define DI_SERVE_WRITE_H

#include "base/buf.h"

/* A JSON string of n bytes; bytes that are no UTF-8 become U+FFFD, one each. */
void di_write_string(di_buf *out, const char *text, size_t n);
void di_write_text(di_buf *out, const char *text); /* 0-terminated */

/* A finite number with 9 significant digits: a float32 reads back as itself. Always a real. */
void di_write_f32(di_buf *out, float x);

/* [x, x, ...] and the base64 of n little-endian float32. */
void di_write_vector(di_buf *out, const float *x, int64_t n);
void di_write_base64(di_buf *out, const float *x, int64_t n);

#endif
