/*
 * The JSON reader. Values, their memory and the writer are jansson's; its reader is not used,
 * because the one of 2.14 (and 2.15.1) does not look whether the buffer of the string, number or
 * word in hand could grow: where memory runs out there it writes on, and an assertion ends the
 * process. Here that is a fault like any other.
 *
 * Strict RFC 8259 with these decisions: the text is UTF-8, a key stands once in its object and
 * holds no 0 character, brackets nest at most DI_JSON_MAX_DEPTH deep, half a surrogate pair is an
 * error, a real number is finite. An integer beyond 64 bits (model_max_length 1e30, written out,
 * in tokenizer_config.json) is read as a real number. The decimal sign is '.' in any locale.
 */
#ifndef DI_BASE_JSON_READ_H
#define DI_BASE_JSON_READ_H

#include <jansson.h>
#include <stdint.h>

enum { DI_JSON_MAX_DEPTH = 64 };

typedef enum di_json_kind_of_fault {
    DI_JSON_SYNTAX,
    DI_JSON_DUPLICATE_KEY,
    DI_JSON_BAD_UTF8,
    DI_JSON_NUMBER_RANGE,
    DI_JSON_TOO_DEEP,
    DI_JSON_NOMEM
} di_json_kind_of_fault;

typedef struct di_json_fault {
    di_json_kind_of_fault kind;
    size_t at;            /* its byte, from 0; n where the text ends too early */
    int64_t line, column; /* the same place, from 1, the column in bytes */
    char message[160];    /* what was expected, and what was found */
} di_json_fault;

enum {
    DI_JSON_INTEGERS_AS_REALS = 1 /* 3 and 3.0 become the same value */
};

/*
 * The value that n bytes of text hold; json_decref it. NULL: *fault says why. Memory comes from
 * jansson's allocator (json_set_alloc_funcs), the reader's own buffer too.
 */
json_t *di_json_load(const char *text, size_t n, unsigned flags, di_json_fault *fault);

/* The code unit of an escape \uHHHH (four hex digits) at text[at], at <= n; -1: there is none. */
int di_json_code_unit(const char *text, size_t n, size_t at);

#endif
