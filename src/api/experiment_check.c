/* What dial train would refuse of an experiment, before its first run starts. */
#include "api/experiment.h"
#include "api/train_job.h"
#include "base/error.h"

enum { MAX_PATHS = 256 };

/*
 * What of a run's flags decides whether they go together, as text: not its seed, and of files how
 * many there are. The points of "vary" and the seeds of an entry are so checked once.
 */
static dial_status check_key(const json_t *flags, di_buf *out, dial_error *err)
{
    static const char *const files[] = {"source", "target", "eval"};
    dial_status st = DIAL_OK;
    json_t *key = json_copy((json_t *)(uintptr_t)flags);
    int failed = 0;

    json_object_del(key, "seed");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        di_json_put(key, files[i],
                    json_integer((json_int_t)json_array_size(json_object_get(flags, files[i]))),
                    &failed);
    if (failed) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
    out->size = 0;
    DI_TRY(di_json_write(key, out, err));
    DI_TRY(di_buf_status(out, err));
done:
    json_decref(key);
    return st;
}

dial_status di_experiment_check(const di_experiment *x, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char **item = di_new_array(x->al, MAX_PATHS, sizeof *item);
    json_t *seen = json_object();
    const dial_env quiet = {.allocator = x->al}; /* what it warns of, the runs will */
    dial_train_options o;
    dial_error why;
    di_buf key;

    di_buf_init(&key, x->al);
    if (item == NULL || seen == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
    for (int64_t i = 0; i < x->n_cells; i++) {
        const di_cell *c = &x->cell[i];

        DI_TRY(check_key(c->flags, &key, err));
        if (json_object_getn(seen, key.data, key.size) != NULL) continue;
        if (json_object_setn_new(seen, key.data, key.size, json_true()) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a sweep");
        DI_TRY(di_experiment_options(c->flags, item, MAX_PATHS, &o, err));
        o.out = c->name;
        if ((st = di_train_check(&o, &quiet, &why)) != DIAL_OK)
            DI_FAIL_AT(err, st, DI_FMT("%s: %s: %s", path, x->group[c->group].label, why.where),
                       DI_FMT("%s", why.hint), "%s", why.message);
    }
done:
    di_buf_deinit(&key);
    json_decref(seen);
    di_free(x->al, (void *)item);
    return st;
}
