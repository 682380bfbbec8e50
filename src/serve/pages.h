/* The pages that tell about the server itself. Each writes a body and returns the HTTP status. */
#ifndef DI_SERVE_PAGES_H
#define DI_SERVE_PAGES_H

#include "serve/routes.h"

int di_page_models(di_server *s, di_buf *out);
int di_page_health(di_server *s, di_buf *out);
int di_page_ready(di_server *s, di_buf *out);
int di_page_info(di_server *s, di_buf *out);
int di_page_metrics(di_server *s, di_buf *out);

#endif
