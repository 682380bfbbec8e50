/*
 * Files over HTTP, by libcurl: resumed where they were cut, tried again where the server asks for
 * patience. A token goes to the origin that it is for and to no other, wherever a redirect leads.
 */
#ifndef DI_API_FETCH_H
#define DI_API_FETCH_H

#include "base/buf.h"

typedef struct di_fetcher {
    const di_alloc *al;
    const dial_env *env;
    const char *origin; /* "https://huggingface.co": whom the token is for */
    const char *token;  /* NULL: none */
    void *curl;
} di_fetcher;

/* ERR_USAGE: this build has no libcurl, or origin is no http(s) address. */
dial_status di_fetch_open(di_fetcher *f, dial_error *err);
void di_fetch_close(di_fetcher *f);

/* The body of a document of at most `most` bytes, appended. ERR_NETWORK. */
dial_status di_fetch_text(di_fetcher *f, const char *url, size_t most, di_buf *out,
                          dial_error *err);

/*
 * Appends to the file at path, which may hold the beginning already, until it is complete. On
 * failure what came stays for the next time. ERR_NETWORK, ERR_IO, INTERRUPTED.
 */
dial_status di_fetch_file(di_fetcher *f, const char *url, const char *path, dial_error *err);

#endif
