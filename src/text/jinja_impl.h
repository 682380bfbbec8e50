/* What the files jinja*.c share: memory of one piece, tokens, the tree. */
#ifndef DI_TEXT_JINJA_IMPL_H
#define DI_TEXT_JINJA_IMPL_H

#include "base/error.h"
#include "text/jinja.h"

/* Memory that is freed as a whole. take returns NULL when it is out, or when limit is reached. */
typedef struct di_pool {
    const di_alloc *al;
    struct di_pool_block *block;
    size_t at, cap; /* of the last block */
    size_t total, limit;
} di_pool;

void *di_pool_take(di_pool *p, size_t n); /* aligned to 16, zeroed */
void di_pool_free(di_pool *p);

typedef enum di_jinja_token_kind {
    DI_JT_END,
    DI_JT_DATA, /* text outside of tags */
    DI_JT_PRINT_BEGIN,
    DI_JT_PRINT_END,
    DI_JT_BLOCK_BEGIN,
    DI_JT_BLOCK_END,
    DI_JT_NAME,
    DI_JT_STRING, /* with its quotes */
    DI_JT_INT,
    DI_JT_OP /* one or two characters of text */
} di_jinja_token_kind;

typedef struct di_jinja_token {
    di_jinja_token_kind kind;
    int line, column; /* 1-based; column in bytes */
    di_str text;
} di_jinja_token;

typedef enum di_jinja_kind {
    /* statements */
    DI_J_TEXT,    /* text */
    DI_J_PRINT,   /* a */
    DI_J_IF,      /* a: condition, b: body, c: else */
    DI_J_FOR,     /* text: target (second: number 1, two targets), a: sequence, b: body, c: else,
                     d: condition */
    DI_J_SET,     /* a: target (NAME, ATTRIBUTE), b: value */
    DI_J_CAPTURE, /* a: target, b: body */
    /* expressions */
    DI_J_STRING,    /* text */
    DI_J_INT,       /* number */
    DI_J_BOOL,      /* number */
    DI_J_NONE,      /**/
    DI_J_NAME,      /* text */
    DI_J_LIST,      /* a: items */
    DI_J_MAP,       /* a: key, value, key, value ... */
    DI_J_ATTRIBUTE, /* a.text */
    DI_J_INDEX,     /* a[b] */
    DI_J_SLICE,     /* a[b:c:d], each may be NULL */
    DI_J_CALL,      /* a(b ...) */
    DI_J_KEYWORD,   /* text = a, among arguments */
    DI_J_FILTER,    /* a | text(b ...) */
    DI_J_TEST,      /* a is text(b ...); number 1: is not */
    DI_J_NOT,
    DI_J_NEGATE,
    DI_J_AND,
    DI_J_OR,
    DI_J_BINARY,  /* a text b */
    DI_J_COMPARE, /* a, then b: a list of DI_J_BINARY with text and a each */
    DI_J_CHOOSE   /* b if a else c (c may be NULL) */
} di_jinja_kind;

typedef struct di_jinja_node {
    di_jinja_kind kind;
    int line, column;
    di_str text;
    int64_t number;
    struct di_jinja_node *a, *b, *c, *d, *next;
} di_jinja_node;

struct di_jinja {
    const di_alloc *al;
    char *name;
    di_pool pool; /* source, tokens, tree */
    di_jinja_node *root;
};

/* "template_failed: NAME:LINE:COLUMN: ..." with the hint that names --template. */
dial_status di_jinja_fault(const di_jinja *t, int line, int column, const char *file, int at,
                           dial_error *err, const char *fmt, ...) DIAL_PRINTF(7, 8);

#define DI_JINJA_FAIL(t, where, ...)                                                               \
    do {                                                                                           \
        st = di_jinja_fault((t), (where)->line, (where)->column, __FILE__, __LINE__, err,          \
                            __VA_ARGS__);                                                          \
        goto done;                                                                                 \
    } while (0)

/* Cuts the source (line ends already "\n") into tokens; the last one is DI_JT_END. */
dial_status di_jinja_scan(di_jinja *t, di_str source, di_jinja_token **out, dial_error *err);

static inline int di_str_is(di_str s, const char *word)
{
    size_t n = __builtin_strlen(word);

    return s.size == n && (n == 0 || __builtin_memcmp(s.data, word, n) == 0);
}

/* The bytes left of s without white space (Python's str.strip): which ends to strip. */
enum { DI_STRIP_LEFT = 1, DI_STRIP_RIGHT = 2, DI_STRIP_BOTH = 3 };
di_str di_strip(di_str s, int ends);

#endif
