/*
 * The scalars of metrics.jsonl as a file that TensorBoard reads: RUN/events.out.tfevents.TIME.HOST
 * (interfaces.md 4.1).
 *
 *     frame    u64 size, u32 check of it, payload, u32 check of the payload; little-endian
 *     check    CRC-32C turned right by 15 bits, plus 0xa282ead8
 *     payload  protobuf Event {1: double wall_time, 2: int64 step,
 *                              3: string file_version (first frame) | 5: Summary}
 *              Summary {1: repeated Value {1: string tag, 2: float simple_value}}
 *
 * A line `step` gives a frame with a value for each of its numbers, `train/KEY`; a line `eval` its
 * accuracy, `eval/NAME/accuracy`. Source: tensorflow core/lib/io/record_writer.cc,
 * core/util/event.proto.
 */
#ifndef DI_TRAIN_EVENTS_H
#define DI_TRAIN_EVENTS_H

#include <stdio.h>

#include "base/json.h"

typedef struct di_events {
    const di_alloc *al;
    FILE *f; /* NULL: nothing is written */
    char *path;
    di_buf value, summary, frame;
} di_events;

/*
 * keep_step < 0: a new file. Else the run's newest file is gone on with, less the frames from the
 * first one that is of a later step or cut short; without a file, a new one. ERR_IO.
 */
dial_status di_events_open(di_events *e, const di_alloc *al, const char *run, int64_t keep_step,
                           dial_error *err);
/* A line of the journal; nothing where it is of another event, or e is not open. */
dial_status di_events_add(di_events *e, const json_t *line, dial_error *err);
void di_events_close(di_events *e);

/*
 * For tests, and what the above is made of: the frame of one event, appended. version: of the first
 * frame, NULL in all others. line: NULL, or what di_events_add takes; 1: there was something in it.
 */
int di_events_frame(di_events *e, double wall_time, const char *version, const json_t *line);

/* CRC-32C (Castagnoli) as a frame has it. */
uint32_t di_events_check(const void *data, size_t n);

#endif
