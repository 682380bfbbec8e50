/*
 * JSON at the border of dial: jansson's values, read by json_read.h. What is written keeps the
 * order of insertion; floats have 9 significant digits, so a float32 reads back as itself.
 */
#ifndef DI_BASE_JSON_H
#define DI_BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "base/json_read.h"

/*
 * Parses n bytes. `where` names the input in errors; line is the number of its first line (1 for a
 * file), so that a row of a JSON Lines file reports FILE:LINE:COL. json_decref the result.
 */
dial_status di_json_parse(const char *text, size_t n, const char *where, int64_t line, json_t **out,
                          dial_error *err);
dial_status di_json_read(const di_alloc *al, const char *path, json_t **out, dial_error *err);

/* One line without spaces, appended without a newline. */
dial_status di_json_write(const json_t *value, di_buf *out, dial_error *err);

/* "a string", "a list", ...: what a message says was found. */
const char *di_json_kind(const json_t *v);

/*
 * Building a document: *failed is set to 1 where the member is not in it afterwards, because
 * memory ran out for the value (NULL) or for its place; else it stays as it was, so that one look
 * at the end covers all of them. The value is the document's, or freed.
 */
void di_json_put(json_t *object, const char *key, json_t *value, int *failed);
void di_json_add(json_t *array, json_t *value, int *failed);

/* The value, or, if anything failed, NULL and the value is freed. */
json_t *di_json_whole(json_t *value, int failed);

/* A number with 6 significant digits (statistics) or 9 (float32); NaN and infinity become null. */
json_t *di_json_stat(double x);
json_t *di_json_f32(float x);

#endif
