/*
 * Status codes, errors and the environment that every call of libdial takes.
 *
 * A fallible function returns a dial_status and puts its results into out parameters, which it
 * leaves untouched on failure. The last argument is a dial_error (NULL is fine), which says what
 * went wrong, where in the input, and what to do next. The library never prints, exits or aborts.
 */
#ifndef DIAL_STATUS_H
#define DIAL_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DIAL_API __attribute__((visibility("default")))
#define DIAL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define DIAL_API
#define DIAL_PRINTF(fmt, args)
#endif

/* clang-format off */
/* name, value, exit code of the program, kind in JSON, text */
#define DIAL_STATUS_MAP(X)                                                            \
    X(OK,              0,   0, "ok",          "success")                              \
    X(ERR_USAGE,       1,   2, "usage",       "wrong use")                            \
    X(ERR_INPUT,       2,   3, "input",       "bad input content")                    \
    X(ERR_IO,          3,   1, "io",          "file operation failed")                \
    X(ERR_NOMEM,       4,   1, "memory",      "out of memory")                        \
    X(ERR_NUMERIC,     5,   1, "numeric",     "not a finite number")                  \
    X(ERR_DEVICE,      6,   1, "device",      "device failed")                        \
    X(ERR_CHECK,       7,   4, "check",       "a check did not hold")                 \
    X(ERR_NETWORK,     8,   5, "network",     "network operation failed")             \
    X(INTERRUPTED,     9, 130, "interrupted", "stopped by a signal, state was saved")
/* clang-format on */

typedef enum dial_status {
#define X(name, value, exit_code, kind, text) DIAL_##name = value,
    DIAL_STATUS_MAP(X)
#undef X
} dial_status;

typedef struct dial_error {
    dial_status status;
    int line;          /* line of dial's own source that reported it */
    const char *file;  /* source file of dial that reported it */
    char message[640]; /* what was expected and what was found */
    char where[320];   /* FILE:LINE:COL, a byte offset, a tensor name ...; may be empty */
    char hint[320];    /* what to do next; may be empty */
} dial_error;

DIAL_API const char *dial_status_text(dial_status st);
DIAL_API const char *dial_status_kind(dial_status st);
DIAL_API int dial_status_exit_code(dial_status st);

/*
 * Memory. One callback serves allocation (ptr NULL, old_size 0), growth and freeing (new_size 0).
 * It returns memory aligned to at least 16 bytes, or NULL. It may be called from any thread.
 */
typedef struct dial_allocator {
    void *(*resize)(void *ctx, void *ptr, size_t old_size, size_t new_size);
    void *ctx;
} dial_allocator;

typedef struct dial_progress dial_progress;
typedef struct dial_ranks dial_ranks; /* several processes: dial.h */

typedef enum dial_log_level { DIAL_LOG_DEBUG, DIAL_LOG_INFO, DIAL_LOG_WARN } dial_log_level;

/*
 * What a call needs from its surroundings. All members may be zero: the heap of the C library, no
 * log, no progress, no way to stop, one process.
 */
typedef struct dial_env {
    const dial_allocator *allocator;
    void (*log)(void *ctx, dial_log_level level, const char *message);
    void (*progress)(void *ctx, const dial_progress *progress);
    void *ctx;                /* first argument of log and progress */
    const volatile int *stop; /* *stop != 0: finish the step, save, return DIAL_INTERRUPTED */
    const dial_ranks *ranks;  /* the processes that run the job together; NULL: this one alone */
} dial_env;

/* State of a long call, handed to env->progress after every step. Negative or NaN: not known. */
struct dial_progress {
    const char *what; /* "train", "eval NAME", "score", ... */
    int64_t done, total;
    double loss, accuracy, w1;
    double tokens_per_second, seconds_left;
};

#ifdef __cplusplus
}
#endif
#endif
