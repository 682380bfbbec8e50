/*
 * HTTP by libmicrohttpd; no other file knows it. What it lacks stands here: an answer in JSON to
 * everything, limits of headers, bodies and their time, the token, origins.
 */
#ifndef DI_SERVE_HTTP_H
#define DI_SERVE_HTTP_H

#include "serve/server.h"

/* Listens. ERR_USAGE: an address that cannot be bound; a build without libmicrohttpd. */
dial_status di_http_new(di_server *s, di_http **out, dial_error *err);

/* Every request must have its answer from the scheduler. */
void di_http_free(di_http *h);

int di_http_port(const di_http *h);

/* No new connections. */
void di_http_quiesce(di_http *h);

/* Requests whose answer is not sent. */
int64_t di_http_in_flight(di_http *h);

/* Closes connections that are too slow; call it every now and then. */
void di_http_tick(di_http *h);

#endif
