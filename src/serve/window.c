#include "serve/window.h"

#include <string.h>

#include "base/error.h"

enum { PATIENCE = 8 }; /* windows' worth of texts */

dial_status di_window_init(const di_alloc *al, int64_t size, int64_t width, di_window *w,
                           dial_error *err)
{
    dial_status st = DIAL_OK;

    *w = (di_window){.size = size, .width = width};
    w->e = di_new_array(al, (size_t)size * (size_t)width, sizeof *w->e);
    w->key = di_new_array(al, (size_t)size, sizeof *w->key);
    if (w->e == NULL || w->key == NULL) {
        di_window_deinit(al, w);
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a window of %lld texts", (long long)size);
    }
done:
    return st;
}

void di_window_deinit(const di_alloc *al, di_window *w)
{
    di_free(al, w->e);
    di_free(al, w->key);
    *w = (di_window){0};
}

static void clear(di_window *w)
{
    w->n = w->seen = w->at = 0;
    w->one_prompt = 0;
}

/* A row of its own, over the oldest one where the window is full. */
static void put_row(di_window *w, uint64_t key, const float *e)
{
    int64_t at = w->n < w->size ? w->n : w->at;

    for (int64_t i = 0; i < w->n; i++)
        if (w->key[i] == key) return;
    if (w->n < w->size)
        w->n++;
    else
        w->at = (w->at + 1) % w->size;
    w->key[at] = key;
    memcpy(w->e + at * w->width, e, (size_t)w->width * sizeof *e);
}

void di_window_put(di_window *w, uint64_t prompt, uint64_t text, const float *e)
{
    w->seen++;
    if (w->n == 0) {
        w->one_prompt = 1;
        w->first = prompt;
    } else if (w->one_prompt && !w->by_text && prompt != w->first) {
        if (w->n == w->size) return; /* it waits to be looked at, as a window of one prompt */
        w->one_prompt = 0;
        w->n = 1;
        w->key[0] = w->first;
    }
    put_row(w, w->one_prompt || w->by_text ? text : prompt, e);
    if (!w->by_text && w->seen >= PATIENCE * w->size && w->n < DI_WINDOW_LEAST) {
        clear(w);
        w->by_text = 1;
    }
}

int di_window_is_full(const di_window *w)
{
    return w->n > 0 &&
           (w->n == w->size || (w->seen >= PATIENCE * w->size && w->n >= DI_WINDOW_LEAST));
}

int64_t di_window_take(di_window *w, float **e)
{
    float *rows = w->e;
    int64_t n = w->n;

    w->e = *e;
    *e = rows;
    clear(w);
    return n;
}
