/*
 * The latest texts of a run, as rows that a two-sample test may take for independent: no text twice
 * (a health check that asks the same all day is no shift), and of a prompt one text, since
 * responses to one prompt resemble one another. Traffic does not always leave that choice:
 *
 *   - All texts so far have one and the same prompt (an instruction, a question that is always
 *     asked): given the prompt they are independent, and each text is a row. Once a second prompt
 *     comes, the first one counts as a row too.
 *   - A few prompts come again and again: where 8 windows' worth of texts brought fewer than 64
 *     prompts, texts are rows from then on.
 *   - Prompts repeat, but not so much: where 8 windows' worth of texts brought 64 or more, that is
 * a window.
 *
 * A full window takes new rows in the place of its oldest ones until it is looked at.
 */
#ifndef DI_SERVE_WINDOW_H
#define DI_SERVE_WINDOW_H

#include "base/alloc.h"

enum { DI_WINDOW_LEAST = 64 }; /* rows that can be compared */

typedef struct di_window {
    float *e;      /* [size, width] */
    uint64_t *key; /* [size]: what makes a row another one */
    int64_t size, width;
    int64_t n, seen; /* rows; texts since it was empty */
    int64_t at;      /* of a full window: the oldest row */
    int one_prompt;  /* all rows have prompt `first`, and are texts of it */
    int by_text;     /* rows are texts whatever their prompt */
    uint64_t first;
} di_window;

/* size >= DI_WINDOW_LEAST. ERR_NOMEM. */
dial_status di_window_init(const di_alloc *al, int64_t size, int64_t width, di_window *w,
                           dial_error *err);
void di_window_deinit(const di_alloc *al, di_window *w);

/* prompt, text: hashes; of a text without a prompt both are the text's. e (width). */
void di_window_put(di_window *w, uint64_t prompt, uint64_t text, const float *e);

int di_window_is_full(const di_window *w);

/* Its n rows are taken into *e, an array of the same size, whose memory it gets instead. */
int64_t di_window_take(di_window *w, float **e);

#endif
