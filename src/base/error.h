/*
 * How functions of dial fail: DI_TRY forwards, DI_FAIL and DI_FAIL_AT report, one `done:` label
 * cleans up. A function that uses them declares `dial_status st = DIAL_OK;` first.
 */
#ifndef DI_BASE_ERROR_H
#define DI_BASE_ERROR_H

#include "dial/status.h"

#define DI_TRY(call)                                                                               \
    do {                                                                                           \
        if ((st = (call)) != DIAL_OK) goto done;                                                   \
    } while (0)

/*
 * DI_FAIL(err, code, "expected ..., found %d", n): no place in the input, no hint. st is set here
 * and not from di_error_set's answer: whoever reads this file alone, compilers and analysers too,
 * sees that a failure is one.
 */
#define DI_FAIL(err, code, ...)                                                                    \
    do {                                                                                           \
        (void)di_error_set((err), (code), __FILE__, __LINE__, NULL, NULL, __VA_ARGS__);            \
        st = (code);                                                                               \
        goto done;                                                                                 \
    } while (0)

/* DI_FAIL_AT(err, code, where, hint, "...", ...): both strings may be NULL or made by DI_FMT. */
#define DI_FAIL_AT(err, code, where, hint, ...)                                                    \
    do {                                                                                           \
        (void)di_error_set((err), (code), __FILE__, __LINE__, (where), (hint), __VA_ARGS__);       \
        st = (code);                                                                               \
        goto done;                                                                                 \
    } while (0)

/* A formatted string that lives until the end of the enclosing block. */
#define DI_FMT(...) di_format((char[320]){0}, 320, __VA_ARGS__)

const char *di_format(char *buf, size_t n, const char *fmt, ...) DIAL_PRINTF(3, 4);

/* Fills *err (NULL is fine) and returns code. Text that does not fit is cut and ends in "...". */
dial_status di_error_set(dial_error *err, dial_status code, const char *file, int line,
                         const char *where, const char *hint, const char *fmt, ...)
    DIAL_PRINTF(7, 8);

#endif
