/*
 * Ranks over MPI. Four communicators, because MPI matches collectives by their order on each: the
 * status words must meet even when one rank is inside a sum that another will never begin, and the
 * second halves of sums are posted as the first ones end, while new ones begin.
 *
 * A sum is two collectives: every rank sends each other rank its share of x (all-to-all), adds what
 * it received in the order of the ranks, and sends the result round (all-gather). That moves
 * 2 (N-1)/N of x through each rank, what a ring moves, but the order of the additions is ours: an
 * all-reduce of the library may add in another order with another version, size or network.
 *
 * All waiting is a loop around MPI_Test. MPI's own wait would burn the core of a rank that shares
 * it, and would never look whether the rank waited for still lives.
 */
#include "dist/dist.h"

#include "base/clock.h"
#include "base/error.h"

#ifndef DIAL_MPI

dial_status di_mpi_open(int size, di_dist *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    (void)out;
    DI_FAIL_AT(err, DIAL_ERR_USAGE, "several processes",
               "install MPI (libopenmpi-dev openmpi-bin; make deps) and build again, or start one "
               "process",
               "started as one of %d processes, but this build of dial has no MPI", size);
done:
    return st;
}

#else

#include <errno.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cores.h"

enum { SLOTS = 64 }; /* sums under way at a time; the oldest is waited for when all are */

/* A sum under way, or (stage IDLE) the memory of one. */
typedef struct slot {
    enum { IDLE, SENT, ADDED } stage;
    MPI_Request request;
    float *x;
    float *in;  /* [size][share of this rank]: what the others sent */
    size_t cap; /* floats that `in` holds */
    int *count; /* [4 size]: counts and offsets to send, counts and offsets to receive */
} slot;

typedef struct mpi {
    MPI_Comm status, data, sum, spread;
    int *word;                         /* [2 size]: of an exchange */
    int *count;                        /* [2 size]: of a gather */
    pid_t *pid;                        /* [size]; 0: on another host, or out of sight */
    slot slot[SLOTS];                  /* a ring: [done, begun) are under way */
    unsigned begun, spread_from, done; /* number of sums begun, sent on, finished */
    int over; /* another rank has left: nothing can be exchanged until this one has */
    int lost; /* a call failed or a rank is gone: MPI cannot be ended in order */
} mpi;

static mpi *state_of(const di_dist *d)
{
    return d->state;
}

static dial_status check(mpi *m, int code, const char *what, dial_error *err)
{
    dial_status st = DIAL_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int n;

    if (code == MPI_SUCCESS) return DIAL_OK;
    m->lost = 1;
    MPI_Error_string(code, text, &n);
    DI_FAIL_AT(err, DIAL_ERR_DEVICE, what,
               "look for the message of the rank that ended first; a training run continues with "
               "--resume",
               "MPI failed: %s", text);
done:
    return st;
}

static dial_status all_alive(const di_dist *d, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);

    for (int r = 0; r < d->size; r++) {
        if (m->pid[r] == 0 || kill(m->pid[r], 0) == 0 || errno != ESRCH) continue;
        m->lost = 1;
        DI_FAIL_AT(err, DIAL_ERR_DEVICE, DI_FMT("rank %d of %d", r, d->size),
                   "see why it ended (memory?); a training run continues with --resume from its "
                   "last checkpoint",
                   "the process (pid %ld) is gone, and the others cannot go on without it",
                   (long)m->pid[r]);
    }
done:
    return st;
}

/*
 * Until the request is done. First without sleeping: on a host of its own a rank answers within
 * microseconds. Then with sleep, so that a late rank gets the core it may share with this one.
 */
static dial_status wait_for(const di_dist *d, MPI_Request *request, const char *what,
                            dial_error *err)
{
    const double spin = 0.002, look = 0.1;
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    double begin = di_now(), looked = begin;

    for (int done = 0;;) {
        double t;

        DI_TRY(check(m, MPI_Test(request, &done, MPI_STATUS_IGNORE), what, err));
        if (done) break;
        t = di_now();
        if (t - looked > look) {
            DI_TRY(all_alive(d, err));
            looked = t;
        }
        if (t - begin < spin)
            sched_yield();
        else
            nanosleep(&(struct timespec){0, 50000}, NULL);
    }
done:
    return st;
}

/* The error of rank r to all. */
static dial_status spread_error(const di_dist *d, int r, int shared, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    dial_error e = {.status = DIAL_OK};
    MPI_Request request;

    if (d->rank == r && err != NULL) e = *err;
    DI_TRY(check(m, MPI_Ibcast(&e, sizeof e, MPI_BYTE, r, m->status, &request), "status", err));
    DI_TRY(wait_for(d, &request, "status", err));
    e.file = NULL; /* an address in another process */
    if (shared && e.where[0] == '\0')
        snprintf(e.where, sizeof e.where, "rank %d of %d", r, d->size);
    else if (shared)
        snprintf(e.where + strlen(e.where), sizeof e.where - strlen(e.where), ", rank %d of %d", r,
                 d->size);
    if (err != NULL) *err = e;
done:
    return st;
}

static dial_status exchange(const di_dist *d, dial_status mine, int leaving, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    MPI_Request request;
    int failed = 0, lowest = -1;

    if (m->over || m->lost) {
        m->over = m->over && !leaving; /* the next job begins afresh */
        return mine;
    }
    m->word[2 * d->rank] = (int)mine;
    m->word[2 * d->rank + 1] = leaving;
    DI_TRY(check(m,
                 MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, m->word, 2, MPI_INT, m->status,
                                &request),
                 "status", err));
    DI_TRY(wait_for(d, &request, "status", err));
    for (int r = d->size - 1; r >= 0; r--) {
        m->over |= m->word[2 * r + 1] && !leaving;
        if (m->word[2 * r] == DIAL_OK) continue;
        failed++;
        lowest = r;
    }
    if (failed == 0) goto done;
    DI_TRY(spread_error(d, lowest, failed < d->size, err));
    st = (dial_status)m->word[2 * lowest];
done:
    return st;
}

/* Counts and offsets of rows, for the calls that end in "v". */
static void counts_of(const di_dist *d, const int64_t *first, int *count, int *at)
{
    for (int r = 0; r < d->size; r++) {
        at[r] = first != NULL ? (int)first[r] : r;
        count[r] = first != NULL ? (int)(first[r + 1] - first[r]) : 1;
    }
}

static dial_status gather(const di_dist *d, void *rows, size_t row_bytes, const int64_t *first,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    MPI_Datatype row = MPI_DATATYPE_NULL;
    MPI_Request request;
    int *count = m->count, *at = m->count + d->size;

    counts_of(d, first, count, at);
    DI_TRY(check(m, MPI_Type_contiguous((int)row_bytes, MPI_BYTE, &row), "gather", err));
    DI_TRY(check(m, MPI_Type_commit(&row), "gather", err));
    DI_TRY(check(m,
                 MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, rows, count, at, row, m->data,
                                 &request),
                 "gather", err));
    DI_TRY(wait_for(d, &request, "gather", err));
done:
    if (row != MPI_DATATYPE_NULL) MPI_Type_free(&row);
    return st;
}

static dial_status broadcast(const di_dist *d, void *data, size_t n, dial_error *err)
{
    const size_t most = (size_t)1 << 30; /* counts are int */
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    MPI_Request request;

    for (size_t at = 0; at < n; at += most) {
        int some = (int)(n - at < most ? n - at : most);

        DI_TRY(check(m, MPI_Ibcast((char *)data + at, some, MPI_BYTE, 0, m->data, &request),
                     "broadcast", err));
        DI_TRY(wait_for(d, &request, "broadcast", err));
    }
done:
    return st;
}

/* Shares of n floats: rank r adds up [at[r], at[r] + count[r]). */
static dial_status plan_slot(const di_dist *d, slot *s, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    int size = d->size, mine;
    int *count = s->count, *at = count + size, *in_count = at + size, *in_at = in_count + size;
    int64_t share = (n + size - 1) / size;
    size_t need;
    float *in;

    for (int r = 0; r < size; r++) {
        int64_t from = r * share < n ? r * share : n, to = from + share < n ? from + share : n;

        at[r] = (int)from;
        count[r] = (int)(to - from);
    }
    mine = count[d->rank];
    for (int r = 0; r < size; r++) {
        in_count[r] = mine;
        in_at[r] = r * mine;
    }
    need = (size_t)size * (size_t)mine;
    if (need > s->cap) {
        in = di_resize(d->al, s->in, need * sizeof *in);
        if (in == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to add up %zu floats", need);
        s->in = in;
        s->cap = need;
    }
done:
    return st;
}

/* x[share of this rank] = sum over the ranks of what they sent, rank 0 first. */
static void add_up(const di_dist *d, const slot *s)
{
    int64_t n = s->count[d->rank];
    float *x = s->x + s->count[d->size + d->rank];

    if (n > 0) memcpy(x, s->in, (size_t)n * sizeof *x);
    for (int r = 1; r < d->size; r++)
        for (int64_t i = 0; i < n; i++) x[i] += s->in[r * n + i];
}

/* Lets the sums under way go on; wait: until the oldest is done. */
static dial_status advance(const di_dist *d, int wait, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);

    while (m->done != m->begun) {
        slot *s = &m->slot[m->spread_from % SLOTS], *oldest = &m->slot[m->done % SLOTS];
        int ready = 0;

        if (m->spread_from != m->begun) { /* in the order of begin, on every rank */
            if (wait && s == oldest) DI_TRY(wait_for(d, &s->request, "sum", err));
            DI_TRY(check(m, MPI_Test(&s->request, &ready, MPI_STATUS_IGNORE), "sum", err));
            if (ready) {
                add_up(d, s);
                DI_TRY(check(m,
                             MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, s->x, s->count,
                                             s->count + d->size, MPI_FLOAT, m->spread, &s->request),
                             "sum", err));
                s->stage = ADDED;
                m->spread_from++;
                continue;
            }
        }
        if (oldest->stage != ADDED) break;
        if (wait) DI_TRY(wait_for(d, &oldest->request, "sum", err));
        DI_TRY(check(m, MPI_Test(&oldest->request, &ready, MPI_STATUS_IGNORE), "sum", err));
        if (!ready) break;
        oldest->stage = IDLE;
        m->done++;
        if (wait) break;
    }
done:
    return st;
}

static dial_status reduce_begin(const di_dist *d, float *x, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    slot *s;
    int *count;

    if (m->begun - m->done == SLOTS) DI_TRY(advance(d, 1, err));
    s = &m->slot[m->begun % SLOTS];
    DI_TRY(plan_slot(d, s, n, err));
    count = s->count;
    s->x = x;
    DI_TRY(check(m,
                 MPI_Ialltoallv(x, count, count + d->size, MPI_FLOAT, s->in, count + 2 * d->size,
                                count + 3 * d->size, MPI_FLOAT, m->sum, &s->request),
                 "sum", err));
    s->stage = SENT;
    m->begun++;
    DI_TRY(advance(d, 0, err));
done:
    return st;
}

static dial_status reduce_poll(const di_dist *d, dial_error *err)
{
    return advance(d, 0, err);
}

static dial_status reduce_end(const di_dist *d, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);

    while (m->done != m->begun) DI_TRY(advance(d, 1, err));
    m->begun = m->spread_from = m->done = 0; /* the next step finds its slots' memory again */
done:
    return st;
}

static void close_ranks(di_dist *d, int exit_code)
{
    mpi *m = state_of(d);
    MPI_Comm *comm[] = {&m->status, &m->data, &m->sum, &m->spread};

    if (m->lost || m->done != m->begun) MPI_Abort(MPI_COMM_WORLD, exit_code);
    for (size_t i = 0; i < sizeof comm / sizeof *comm; i++) MPI_Comm_free(comm[i]);
    MPI_Finalize();
    for (int i = 0; i < SLOTS; i++) {
        di_free(d->al, m->slot[i].in);
        di_free(d->al, m->slot[i].count);
    }
    di_free(d->al, m->word);
    di_free(d->al, m->count);
    di_free(d->al, m->pid);
    di_free(d->al, m);
}

static const di_transport transport = {.name = "mpi",
                                       .exchange = exchange,
                                       .gather = gather,
                                       .broadcast = broadcast,
                                       .reduce_begin = reduce_begin,
                                       .reduce_poll = reduce_poll,
                                       .reduce_end = reduce_end,
                                       .close = close_ranks};

static dial_status new_state(int size, di_dist *d, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = di_zalloc(d->al, sizeof *m);
    size_t n = (size_t)size;
    int missing;

    if (m == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d ranks", size);
    m->word = di_new_array(d->al, 2 * n, sizeof *m->word);
    m->count = di_new_array(d->al, 2 * n, sizeof *m->count);
    m->pid = di_new_array(d->al, n, sizeof *m->pid);
    missing = m->word == NULL || m->count == NULL || m->pid == NULL;
    for (int i = 0; i < SLOTS; i++) {
        m->slot[i].count = di_new_array(d->al, 4 * n, sizeof(int));
        missing |= m->slot[i].count == NULL;
    }
    d->state = m;
    if (missing) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d ranks", size);
done:
    return st;
}

/* What the ranks of a host tell each other. */
typedef struct neighbour {
    int rank;
    pid_t pid;
    cpu_set_t cores;
} neighbour;

/*
 * Cores of this rank: those that it may use, shared with the ranks of its host that may use them
 * too. A launcher that binds ranks to cores has shared them already; without binding all have the
 * same set. The smallest share of all ranks is everybody's, because the bits of a result may
 * depend on the number of threads.
 */
static dial_status share_cores(di_dist *d, dial_error *err)
{
    dial_status st = DIAL_OK;
    mpi *m = state_of(d);
    MPI_Comm host = MPI_COMM_NULL;
    neighbour *all = NULL, *own;
    cpu_set_t both;
    int n = 0, at = 0, sharing = 0, first;

    DI_TRY(check(m, MPI_Comm_split_type(m->data, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
                 "hosts", err));
    MPI_Comm_size(host, &n);
    MPI_Comm_rank(host, &at);
    all = di_new_array(d->al, (size_t)n, sizeof *all);
    if (all == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d ranks", n);
    own = &all[at];
    own->rank = d->rank;
    own->pid = getpid();
    di_cores_allowed(&own->cores);
    DI_TRY(check(
        m, MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, sizeof *all, MPI_BYTE, host),
        "hosts", err));
    for (int i = 0; i < n; i++) {
        CPU_AND(&both, &own->cores, &all[i].cores);
        sharing += CPU_COUNT(&both) > 0;
        /* one that cannot be seen from here (a container) cannot be watched */
        if (kill(all[i].pid, 0) == 0) m->pid[all[i].rank] = all[i].pid;
    }
    d->threads = CPU_COUNT(&own->cores) / (sharing > 0 ? sharing : 1);
    if (d->threads < 1) d->threads = 1;
    first = at == 0;
    DI_TRY(check(m, MPI_Allreduce(MPI_IN_PLACE, &d->threads, 1, MPI_INT, MPI_MIN, m->data), "hosts",
                 err));
    DI_TRY(check(m, MPI_Allreduce(&first, &d->hosts, 1, MPI_INT, MPI_SUM, m->data), "hosts", err));
done:
    if (host != MPI_COMM_NULL) MPI_Comm_free(&host);
    di_free(d->al, all);
    return st;
}

dial_status di_mpi_open(int size, di_dist *d, dial_error *err)
{
    dial_status st = DIAL_OK;
    MPI_Comm *comm[4];
    mpi *m;
    int found = 0, level;

    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS)
        DI_FAIL_AT(err, DIAL_ERR_DEVICE, "MPI", "try the launcher with another program",
                   "MPI does not start");
    MPI_Comm_size(MPI_COMM_WORLD, &found);
    if (found != size) {
        MPI_Finalize();
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "MPI",
                   "start with the mpirun of the MPI that dial was built with, or srun --mpi=pmix "
                   "(srun --mpi=list shows what there is)",
                   "started as one of %d processes, but MPI sees %d", size, found);
    }
    DI_TRY(new_state(size, d, err));
    m = state_of(d);
    comm[0] = &m->status;
    comm[1] = &m->data;
    comm[2] = &m->sum;
    comm[3] = &m->spread;
    for (int i = 0; i < 4; i++) {
        DI_TRY(check(m, MPI_Comm_dup(MPI_COMM_WORLD, comm[i]), "MPI", err));
        MPI_Comm_set_errhandler(*comm[i], MPI_ERRORS_RETURN);
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &d->rank);
    d->size = size;
    d->t = &transport;
    DI_TRY(share_cores(d, err));
done:
    return st;
}

#endif
