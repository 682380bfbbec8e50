#include "align/queue.h"

#include <string.h>

#include "base/error.h"

static const char *const side_name[DI_SIDES] = {"source", "target"};

void di_queue_init(di_queue *q, di_blocks *mem, int64_t width, int64_t keep, int64_t age,
                   int64_t max_rows)
{
    *q = (di_queue){.width = width, .keep = keep, .age = age};
    if (keep <= 0) return;
    q->room = keep + max_rows;
    for (int k = 0; k < DI_SIDES; k++) {
        q->x[k] = di_blocks_floats(mem, q->room * width);
        q->step[k] = di_blocks_take(mem, age + 1, sizeof *q->step[k]);
    }
}

/* Takes the oldest n rows of side k out. */
static void drop(di_queue *q, int k, int64_t n)
{
    int64_t left = q->n[k] - n;

    memmove(q->x[k], q->x[k] + n * q->width, (size_t)(left * q->width) * sizeof(float));
    q->n[k] = left;
    for (int64_t a = q->age; a >= 0 && n > 0; a--) {
        int64_t gone = n < q->step[k][a] ? n : q->step[k][a];

        q->step[k][a] -= gone;
        n -= gone;
    }
}

void di_queue_push(di_queue *q, const di_align_rows *rows)
{
    const float *x[DI_SIDES] = {rows->x, rows->x + rows->n_s * q->width};
    int64_t n[DI_SIDES] = {rows->n_s, rows->n_t};

    if (q->room == 0) return;
    for (int k = 0; k < DI_SIDES; k++) {
        int64_t old = q->step[k][q->age];

        if (q->n[k] - old > q->keep) old = q->n[k] - q->keep;
        drop(q, k, old);
        memmove(q->step[k] + 1, q->step[k], (size_t)q->age * sizeof *q->step[k]);
        q->step[k][0] = n[k];
        memcpy(q->x[k] + q->n[k] * q->width, x[k], (size_t)(n[k] * q->width) * sizeof(float));
        q->n[k] += n[k];
    }
}

di_reference di_queue_reference(const di_queue *q, const di_align_rows *rows)
{
    di_reference r = {.x = {q->x[0], q->x[1]}, .n = {q->n[0], q->n[1]}};

    if (q->room == 0) {
        r.x[DI_SOURCE] = rows->x;
        r.x[DI_TARGET] = rows->x + rows->n_s * q->width;
        r.n[DI_SOURCE] = rows->n_s;
        r.n[DI_TARGET] = rows->n_t;
    }
    r.own[DI_SOURCE] = r.n[DI_SOURCE] - rows->n_s;
    r.own[DI_TARGET] = r.n[DI_TARGET] - rows->n_t;
    return r;
}

int di_queue_tensors(di_queue *q, di_align_tensor *out, int cap)
{
    if (q->room == 0 || cap < DI_SIDES) return 0;
    out[0] = (di_align_tensor){"queue.source", q->x[DI_SOURCE], NULL, NULL, q->room, q->width};
    out[1] = (di_align_tensor){"queue.target", q->x[DI_TARGET], NULL, NULL, q->room, q->width};
    return DI_SIDES;
}

json_t *di_queue_save(const di_queue *q)
{
    json_t *state = json_object();
    int failed = 0;

    for (int k = 0; k < DI_SIDES && q->room > 0; k++) {
        json_t *list = json_array();

        for (int64_t a = 0; a <= q->age; a++)
            di_json_add(list, json_integer((json_int_t)q->step[k][a]), &failed);
        di_json_put(state, side_name[k], list, &failed);
    }
    return di_json_whole(state, failed);
}

dial_status di_queue_load(di_queue *q, const json_t *state, const char *where, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (int k = 0; k < DI_SIDES && q->room > 0; k++) {
        const json_t *list = json_object_get(state, side_name[k]);
        int64_t n = 0;

        for (int64_t a = 0; a <= q->age; a++) {
            json_int_t count = json_integer_value(json_array_get(list, (size_t)a));

            if (count < 0 || count > q->room - n) count = q->room + 1;
            q->step[k][a] = count;
            n += count;
        }
        if ((int64_t)json_array_size(list) != q->age + 1 || n > q->room)
            DI_FAIL_AT(err, DIAL_ERR_INPUT, where, "resume from an earlier checkpoint",
                       "expected the rows of %lld steps in the %s queue, at most %lld in all",
                       (long long)(q->age + 1), side_name[k], (long long)q->room);
        q->n[k] = n;
    }
done:
    return st;
}
