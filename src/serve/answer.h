/*
 * How a request ends: one list makes the code, the HTTP status and both error forms, that of most
 * APIs and that of TEI (docs/interfaces.md 5, "Errors").
 */
#ifndef DI_SERVE_ANSWER_H
#define DI_SERVE_ANSWER_H

#include "base/buf.h"

/* clang-format off */
/* name, HTTP status, type, HTTP status and error_type of the TEI routes */
#define DI_ANSWER_MAP(X)                                                      \
    X(OK,            200, "ok",                     200, "ok")                \
    X(INVALID,       400, "invalid_request_error",  400, "Validation")        \
    X(UNKNOWN_KEY,   401, "authentication_error",   401, "Validation")        \
    X(FORBIDDEN,     403, "forbidden_error",        403, "Validation")        \
    X(NOT_FOUND,     404, "not_found_error",        404, "Validation")        \
    X(NO_METHOD,     405, "method_not_allowed",     405, "Validation")        \
    X(SLOW,          408, "timeout_error",          408, "Validation")        \
    X(TOO_LARGE,     413, "request_too_large",      413, "Validation")        \
    X(MEDIA_TYPE,    415, "unsupported_media_type", 415, "Validation")        \
    X(UNPROCESSABLE, 422, "unprocessable_entity",   422, "Validation")        \
    X(EMPTY,         422, "unprocessable_entity",   400, "Empty")             \
    X(TOKENIZER,     422, "unprocessable_entity",   422, "Tokenizer")         \
    X(OVERLOADED,    429, "overloaded_error",       429, "Overloaded")        \
    X(LARGE_HEADER,  431, "header_too_large",       431, "Validation")        \
    X(INTERNAL,      500, "internal_error",         424, "Backend")           \
    X(NUMERIC,       500, "numerical_error",        424, "Backend")           \
    X(UNAVAILABLE,   503, "unavailable_error",      503, "Unhealthy")
/* clang-format on */

typedef enum di_answer {
#define X(name, status, type, tei_status, tei_type) DI_ANSWER_##name,
    DI_ANSWER_MAP(X)
#undef X
} di_answer;

/* What a refused client reads. param: "input[3]", or empty. */
typedef struct di_fault {
    char message[640], param[64];
} di_fault;

int di_answer_status(di_answer a, int tei);
const char *di_answer_type(di_answer a);

/* Fills *f and returns a; param may be NULL. */
di_answer di_refuse(di_fault *f, di_answer a, const char *param, const char *fmt, ...)
    DIAL_PRINTF(4, 5);

/* The error body of a refused request, in either form. */
void di_fault_write(const di_fault *f, di_answer a, int tei, di_buf *out);

/* if (a != OK) return a; the counterpart of DI_TRY where nothing has to be cleaned up */
#define DI_ASK(call)                                                                               \
    do {                                                                                           \
        di_answer answer_ = (call);                                                                \
        if (answer_ != DI_ANSWER_OK) return answer_;                                               \
    } while (0)

#endif
