/*
 * Several processes (ranks) that run one job together, as mpirun or srun start them.
 *
 * What to think in: every rank runs the same code on the same files and calls the functions of this
 * file in the same order. Work is divided (rows of a step, texts of an evaluation); results are
 * gathered, so that all ranks hold the same bits and decide alike. Rank 0 alone writes. One process
 * is the case of size 1, in which nothing has to be sent: callers never ask.
 *
 * Errors: a rank that fails must not leave the others waiting. Before it touches data, every call
 * exchanges a status word; a rank on its way out takes part in one last exchange, di_dist_leave, so
 * the others learn of its error at their next call, whichever that is, and return it too. A rank
 * that is gone (killed) is an ERR_DEVICE where its host can tell, or the end that the launcher sets
 * to the job.
 *
 * One thread uses a di_dist at a time.
 */
#ifndef DI_DIST_DIST_H
#define DI_DIST_DIST_H

#include "base/alloc.h"
#include "dial/dial.h"

typedef struct dial_ranks di_dist;

/* What a transport fulfils. Contracts at the functions below, which add what all have in common. */
typedef struct di_transport {
    const char *name; /* "single", "mpi" */
    dial_status (*exchange)(const di_dist *d, dial_status mine, int leaving, dial_error *err);
    dial_status (*gather)(const di_dist *d, void *rows, size_t row_bytes, const int64_t *first,
                          dial_error *err);
    dial_status (*broadcast)(const di_dist *d, void *data, size_t n, dial_error *err);
    dial_status (*reduce_begin)(const di_dist *d, float *x, int64_t n, dial_error *err);
    dial_status (*reduce_poll)(const di_dist *d, dial_error *err);
    dial_status (*reduce_end)(const di_dist *d, dial_error *err);
    void (*close)(di_dist *d, int exit_code);
} di_transport;

struct dial_ranks {
    const di_transport *t;
    const di_alloc *al;
    void *state;    /* of the transport */
    uint64_t *word; /* [size] scratch; NULL: size 1 */
    int rank, size;
    int threads; /* cores for each rank: the same number everywhere; 0: all of this process */
    int hosts;
};

/* The ranks of env; one process where env has none. */
const di_dist *di_dist_of(const dial_env *env);

/*
 * All ranks return DIAL_OK, or all return the status of the lowest rank whose `mine` is not
 * DIAL_OK, with its sentence in err. For work that one rank may fail at: st = ...;
 * DI_TRY(di_dist_agree(d, st, err)). Also a barrier.
 */
dial_status di_dist_agree(const di_dist *d, dial_status mine, dial_error *err);

/*
 * The last call of a job, with what it is about to return: all ranks return one status. A rank that
 * has heard of the end already says nothing more.
 */
dial_status di_dist_leave(const di_dist *d, dial_status mine, dial_error *err);

/*
 * In place: rows of row_bytes each; rank r has filled rows [first[r], first[r+1]), first [size + 1]
 * ascending (NULL: a row each); afterwards every rank has all. At most 2^31 - 1 rows.
 */
dial_status di_dist_gather(const di_dist *d, void *rows, size_t row_bytes, const int64_t *first,
                           dial_error *err);

/* n bytes of rank 0 to all. */
dial_status di_dist_broadcast(const di_dist *d, void *data, size_t n, dial_error *err);

/* A string of rank 0 (NULL is one too) to all: the others receive a copy from al, in *text. */
dial_status di_dist_broadcast_text(const di_dist *d, const di_alloc *al, char **text,
                                   dial_error *err);

/* *flag = 1 everywhere if it is not 0 on any rank. */
dial_status di_dist_any(const di_dist *d, int *flag, dial_error *err);

/*
 * ERR_USAGE, naming the first rank that differs from rank 0, unless `value` is the same on all.
 * what: "the source files"; hint: what to do about it.
 */
dial_status di_dist_same(const di_dist *d, uint64_t value, const char *what, const char *hint,
                         dial_error *err);

/*
 * x [n] = sum over the ranks, f32, added in the order of the ranks: the same bits on all of them
 * and, for the same number of ranks, in every run. begin starts it and returns at once; x must
 * stay and must not be touched until di_dist_reduce_end, which waits for all that were begun.
 * begin in the same order, of the same n, everywhere. Other calls of this file may not come
 * between. poll lets what is under way go on; call it between pieces of computation.
 *
 * end takes what the rank's work came to (a rank that fails before end goes to di_dist_leave).
 * Memory for a pending sum (its share of x from every rank) is taken at its first use and kept.
 */
dial_status di_dist_reduce_begin(const di_dist *d, float *x, int64_t n, dial_error *err);
dial_status di_dist_reduce_poll(const di_dist *d, dial_error *err);
dial_status di_dist_reduce_end(const di_dist *d, dial_status mine, dial_error *err);

/*
 * Shares of n things with a weight each among the ranks: owner[i] is the rank of thing i. No rank
 * has more than ceil(n / size) of them, and the heaviest sum is kept small: heaviest thing first,
 * to the lightest rank that has room (Graham's longest processing time). scratch [n + 2 size].
 */
void di_dist_share(const di_dist *d, const int64_t *weight, int64_t n, int32_t *owner,
                   int64_t *scratch);

/* Opens the transport of this build; see dial_ranks_open. size: what the launcher says. */
dial_status di_mpi_open(int size, di_dist *out, dial_error *err);

#endif
