/* One table of routes: path, method, parser or page, form of errors. */
#ifndef DI_SERVE_ROUTES_H
#define DI_SERVE_ROUTES_H

#include "serve/call.h"

typedef struct di_server di_server;

typedef struct di_route {
    const char *path;
    di_answer (*parse)(di_call *c);         /* POST; NULL: GET */
    int (*page)(di_server *s, di_buf *out); /* GET: writes the body, returns the HTTP status */
    int tei;                                /* errors in TEI's form */
    int open;                               /* needs no token */
} di_route;

/* NULL: no such path. */
const di_route *di_route_find(const char *path);

/* Labels for metrics: every path, and "other" as the last; their count. */
const char *const *di_route_names(int *n);
int di_route_index(const di_route *r); /* NULL: that of "other" */

/*
 * Body -> inputs and wishes: what a route does before the models are needed. c is initialised;
 * afterwards c->body is set, whatever the answer.
 */
di_answer di_route_parse(const di_route *r, di_call *c, const char *body, size_t n);

#endif
