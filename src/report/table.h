/* Aligned columns for terminals. */
#ifndef DI_REPORT_TABLE_H
#define DI_REPORT_TABLE_H

#include "base/json.h"

/*
 * rows: list of lists of strings, the first row the head (underlined). align: one letter a column,
 * 'l' or 'r'. indent: spaces before each line. Widths are those of a terminal (wide characters
 * count two). Cells are made safe with di_put_plain.
 */
void di_table_print(const json_t *rows, const char *align, int indent, di_buf *out);

#endif
