/* What all transports have in common, and how a process knows that it is one of several. */
#include "dist/dist.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "dist/single.h"

const di_dist *di_dist_of(const dial_env *env)
{
    return env != NULL && env->ranks != NULL ? env->ranks : &di_dist_single;
}

dial_status di_dist_agree(const di_dist *d, dial_status mine, dial_error *err)
{
    return d->t->exchange(d, mine, 0, err);
}

dial_status di_dist_leave(const di_dist *d, dial_status mine, dial_error *err)
{
    return d->t->exchange(d, mine, 1, err);
}

dial_status di_dist_gather(const di_dist *d, void *rows, size_t row_bytes, const int64_t *first,
                           dial_error *err)
{
    dial_status st = di_dist_agree(d, DIAL_OK, err);

    return st == DIAL_OK ? d->t->gather(d, rows, row_bytes, first, err) : st;
}

dial_status di_dist_broadcast(const di_dist *d, void *data, size_t n, dial_error *err)
{
    dial_status st = di_dist_agree(d, DIAL_OK, err);

    return st == DIAL_OK ? d->t->broadcast(d, data, n, err) : st;
}

dial_status di_dist_broadcast_text(const di_dist *d, const di_alloc *al, char **text,
                                   dial_error *err)
{
    dial_status st = DIAL_OK;
    uint64_t n = *text != NULL ? strlen(*text) + 1 : 0; /* 0: NULL */
    char *copy = NULL;

    DI_TRY(di_dist_broadcast(d, &n, sizeof n, err));
    if (n == 0) goto done;
    if (d->rank > 0 && (copy = di_new(al, (size_t)n)) == NULL)
        st = di_error_set(err, DIAL_ERR_NOMEM, __FILE__, __LINE__, NULL, NULL,
                          "no memory for %zu bytes of rank 0", (size_t)n);
    DI_TRY(di_dist_agree(d, st, err));
    DI_TRY(di_dist_broadcast(d, d->rank > 0 ? copy : *text, (size_t)n, err));
    if (d->rank > 0) {
        *text = copy;
        copy = NULL;
    }
done:
    di_free(al, copy);
    return st;
}

dial_status di_dist_any(const di_dist *d, int *flag, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (d->size == 1) return DIAL_OK;
    d->word[d->rank] = *flag != 0;
    DI_TRY(di_dist_gather(d, d->word, sizeof *d->word, NULL, err));
    for (int r = 0; r < d->size; r++) *flag = *flag || d->word[r] != 0;
done:
    return st;
}

dial_status di_dist_same(const di_dist *d, uint64_t value, const char *what, const char *hint,
                         dial_error *err)
{
    dial_status st = DIAL_OK;

    if (d->size == 1) return DIAL_OK;
    d->word[d->rank] = value;
    DI_TRY(di_dist_gather(d, d->word, sizeof *d->word, NULL, err));
    for (int r = 1; r < d->size; r++)
        if (d->word[r] != d->word[0])
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("rank %d of %d", r, d->size), hint,
                       "%s: not the same there as on rank 0", what);
done:
    return st;
}

dial_status di_dist_reduce_begin(const di_dist *d, float *x, int64_t n, dial_error *err)
{
    return n > 0 ? d->t->reduce_begin(d, x, n, err) : DIAL_OK;
}

dial_status di_dist_reduce_poll(const di_dist *d, dial_error *err)
{
    return d->t->reduce_poll(d, err);
}

dial_status di_dist_reduce_end(const di_dist *d, dial_status mine, dial_error *err)
{
    dial_status st = di_dist_agree(d, mine, err);

    return st == DIAL_OK ? d->t->reduce_end(d, err) : st;
}

/* The weights that qsort_r compares indices by. */
static int heavier_first(const void *a, const void *b, void *weight)
{
    const int64_t *w = weight, i = *(const int64_t *)a, j = *(const int64_t *)b;

    if (w[i] != w[j]) return w[i] > w[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

void di_dist_share(const di_dist *d, const int64_t *weight, int64_t n, int32_t *owner,
                   int64_t *scratch)
{
    int64_t most = (n + d->size - 1) / d->size;
    int64_t *order = scratch, *sum = scratch + n, *count = sum + d->size;

    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int r = 0; r < d->size; r++) sum[r] = count[r] = 0;
    qsort_r(order, (size_t)n, sizeof *order, heavier_first, (void *)(uintptr_t)weight);
    for (int64_t k = 0; k < n; k++) {
        int best = -1;

        for (int r = 0; r < d->size; r++)
            if (count[r] < most && (best < 0 || sum[r] < sum[best])) best = r;
        owner[order[k]] = best;
        sum[best] += weight[order[k]];
        count[best]++;
    }
}

/* What the launchers put into the environment: how many processes, and the number of this one. */
static const struct {
    const char *size, *rank;
} launchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, /* mpirun of Open MPI */
    {"PMI_SIZE", "PMI_RANK"},                         /* mpiexec of MPICH; srun --mpi=pmi2 */
    {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},         /* srun; SLURM_NTASKS is set in the batch
                                                         script too, where nobody started more */
};

static int launched(void)
{
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const char *size = getenv(launchers[i].size);

        if (size != NULL && getenv(launchers[i].rank) != NULL) return atoi(size);
    }
    return 1;
}

dial_status dial_ranks_open(const dial_env *env, dial_ranks **out, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_env_alloc(env);
    int size = launched();
    di_dist *d = NULL;

    if (size <= 1) {
        *out = NULL;
        return DIAL_OK;
    }
    d = di_zalloc(al, sizeof *d);
    if (d == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d ranks", size);
    d->al = al;
    d->word = di_new_array(al, (size_t)size, sizeof *d->word);
    if (d->word == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %d ranks", size);
    DI_TRY(di_mpi_open(size, d, err));
    *out = d;
    d = NULL;
done:
    if (d != NULL) di_free(al, d->word);
    di_free(al, d);
    return st;
}

dial_status dial_ranks_agree(const dial_ranks *ranks, dial_status mine, dial_error *err)
{
    return ranks != NULL ? di_dist_agree(ranks, mine, err) : mine;
}

int dial_ranks_speaks(const dial_ranks *ranks)
{
    return ranks == NULL || ranks->rank == 0;
}

void dial_ranks_close(dial_ranks *ranks, int exit_code)
{
    const di_alloc *al;

    if (ranks == NULL) return;
    al = ranks->al;
    ranks->t->close(ranks, exit_code);
    di_free(al, ranks->word);
    di_free(al, ranks);
}
