/*
 * RUN/README.md, the model card (interfaces.md 4.1): what a run is, what it was measured to be, how
 * to use it, what it cannot say. `train` and `merge` write it whole; `eval --card`, `doctor --card`
 * and `select --apply` renew sections of it. A section is found by its heading, so that what people
 * wrote beside them stays.
 */
#ifndef DI_API_CARD_H
#define DI_API_CARD_H

#include "base/json.h"

/* The sections that are renewed, by their headings. */
#define DI_CARD_RESULTS "## Results"
#define DI_CARD_DOCTOR "## Doctor"

/*
 * The table of results, each of the form of dial.eval/1: a line a set with n, interval and length
 * rule. was: the section as the card has it, or NULL: its lines of other sets stay, where its table
 * has these columns. Results of classes and scores have a line too.
 */
void di_card_results(const json_t *results, const char *was, di_buf *out);

/* The verdict of a dial.doctor/1 with the findings that warn; NULL: not run. */
void di_card_doctor(const json_t *doc, di_buf *out);

/* A card in memory, read from a run's folder. ERR_USAGE: no run, or it has no card. */
dial_status di_card_read(const di_alloc *al, const char *run, char **text, dial_error *err);

/* The text of a section behind its heading, di_free it; NULL: there is none, or no memory. */
char *di_card_section(const di_alloc *al, const char *text, const char *heading);

/* The section with this body in the place of what it held; one that is missing is put before
 * "## Use", or at the end. *text is replaced. */
dial_status di_card_put(const di_alloc *al, char **text, const char *heading, const di_buf *body,
                        dial_error *err);

dial_status di_card_write(const di_alloc *al, const char *run, const char *text, dial_error *err);

/* The three in one: read, renew results (of a list) or the doctor's section, write. */
dial_status di_card_renew_results(const di_alloc *al, const char *run, const json_t *results,
                                  dial_error *err);
dial_status di_card_renew_doctor(const di_alloc *al, const char *run, const json_t *doc,
                                 dial_error *err);

#endif
