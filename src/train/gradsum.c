#include "train/gradsum.h"

/*
 * Layers are sent together until they come to this many floats (1 MiB). A layer of rank 8 is a few
 * tens of kilobytes, and a message costs some ten microseconds however short it is.
 */
enum { SEND_FLOATS = 1 << 18 };

static void send_from(di_gradsum *s, int64_t at)
{
    if (s->st == DIAL_OK) s->st = di_dist_reduce_begin(s->dist, s->g + at, s->begun - at, &s->err);
    s->begun = at;
}

/* Layer l is final, and with it all above: LoRA lies in the order of layers. */
static void layer_done(void *ctx, int64_t layer)
{
    di_gradsum *s = ctx;
    int64_t at = s->begun;

    for (int i = 0; i < s->params->n; i++)
        if (s->params->param[i].layer == layer && s->params->param[i].at < at)
            at = s->params->param[i].at;
    if (s->begun - at >= SEND_FLOATS)
        send_from(s, at);
    else if (s->st == DIAL_OK)
        s->st = di_dist_reduce_poll(s->dist, &s->err);
}

void di_gradsum_init(di_gradsum *s, const di_dist *dist, const di_params *params, float *g)
{
    *s = (di_gradsum){.dist = dist, .params = params, .g = g};
    s->end = s->begun = params->lora.r > 0 ? params->head_at : 0;
    s->hook = (di_layer_hook){layer_done, s};
}

dial_status di_gradsum_end(di_gradsum *s, dial_error *err)
{
    dial_status st;

    /* a rank whose share of the last pass is empty has been told of no layer */
    while (s->begun > 0) {
        int64_t at = s->begun;

        for (int64_t l = s->params->n_layers - 1; l >= 0 && s->begun - at < SEND_FLOATS; l--)
            for (int i = 0; i < s->params->n; i++)
                if (s->params->param[i].layer == l && s->params->param[i].at < at)
                    at = s->params->param[i].at;
        send_from(s, at);
    }
    if (s->st != DIAL_OK && err != NULL) *err = s->err;
    st = di_dist_reduce_end(s->dist, s->st, err);
    s->begun = s->end;
    s->st = DIAL_OK;
    return st;
}
