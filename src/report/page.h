/* The parts of the HTML page. Each takes the document and appends a <section>, or nothing. */
#ifndef DI_REPORT_PAGE_H
#define DI_REPORT_PAGE_H

#include "report/collect.h"
#include "report/markup.h"
#include "report/svg.h"
#include "report/words.h"

enum { DI_MAX_SERIES = 12 }; /* models drawn in one figure */

/* Everything up to the title inside <h1>: the head of a page, its style, the open header. */
void di_page_begin(const char *title, di_buf *out);
/* <p> of each sentence; drops the list. */
void di_page_paragraphs(di_buf *out, json_t *list, const char *style);
/* Position of a model in `models`: its colour everywhere. 0 if unknown. */
int di_page_style_of(const json_t *doc, const char *label);
/* Entry i of the list at key, NAN if it is no number. */
double di_page_end(const json_t *v, const char *key, size_t i);
/* ci95_cluster of a result or of its matched rows, else ci95. */
const json_t *di_page_interval(const json_t *v);

void di_page_results(const json_t *doc, di_buf *out);  /* page_results.c */
void di_page_curves(const json_t *doc, di_buf *out);   /* page_curves.c */
void di_page_maps(const json_t *doc, di_buf *out);     /* page_curves.c */
void di_page_rows(const json_t *doc, di_buf *out);     /* page_rows.c */
void di_page_notes(const json_t *doc, di_buf *out);    /* page_rows.c */
void di_page_settings(const json_t *doc, di_buf *out); /* page_rows.c */
void di_page_guide(const json_t *doc, di_buf *out);    /* page_rows.c */

#endif
