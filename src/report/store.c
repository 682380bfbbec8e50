#include "report/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

#ifdef DIAL_SQLITE

#include <sqlite3.h>

struct di_store {
    const di_alloc *al;
    sqlite3 *db;
    char *path;
};

/* Of the tables below. A store of another version is set aside as one that is damaged. */
#define VERSION 2
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static const char schema[] =
    "PRAGMA journal_mode=DELETE;"
    "PRAGMA user_version=" TEXT(
        VERSION) ";"
                 "CREATE TABLE IF NOT EXISTS runs(run TEXT PRIMARY KEY, dir TEXT, label TEXT, "
                 "method TEXT,"
                 " seed INTEGER, status TEXT, error TEXT, seconds REAL, facts TEXT);"
                 "CREATE TABLE IF NOT EXISTS results(run TEXT, name TEXT, kind TEXT, n INTEGER, "
                 "accuracy REAL,"
                 " result TEXT, credit BLOB, rows TEXT, PRIMARY KEY(run, name));"
                 "CREATE TABLE IF NOT EXISTS sets(name TEXT, rows TEXT, n INTEGER, texts BLOB,"
                 " PRIMARY KEY(name, rows));";

/* A failed call as an error of dial: a full disk is the usual one. */
static dial_status failed(const di_store *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    int code = sqlite3_errcode(s->db);

    DI_FAIL_AT(err, code == SQLITE_NOMEM ? DIAL_ERR_NOMEM : DIAL_ERR_IO, s->path,
               code == SQLITE_FULL ? "free some space, then run the sweep again: it continues"
                                   : "remove the file: it is made anew from the run folders",
               "the store: %s", sqlite3_errmsg(s->db));
done:
    return st;
}

/* 0: a new file, or one that cannot be read. */
static int version_of(di_store *s)
{
    sqlite3_stmt *q = NULL;
    int version = 0;

    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        version = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return version;
}

static dial_status try_open(di_store *s, dial_error *err)
{
    sqlite3_stmt *check = NULL;
    int sound = 0, version;

    if (sqlite3_open(s->path, &s->db) != SQLITE_OK) return failed(s, err);
    sqlite3_busy_timeout(s->db, 10000);
    version = version_of(s);
    if (version != 0 && version != VERSION)
        return di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__, s->path, NULL,
                            "the store is of version %d, not %d", version, VERSION);
    if (sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK) return failed(s, err);
    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &check, NULL) == SQLITE_OK &&
        sqlite3_step(check) == SQLITE_ROW)
        sound = strcmp((const char *)sqlite3_column_text(check, 0), "ok") == 0;
    sqlite3_finalize(check);
    return sound ? DIAL_OK
                 : di_error_set(err, DIAL_ERR_INPUT, __FILE__, __LINE__, s->path, NULL,
                                "the store is damaged");
}

/* Is the failure one of the file's content, which a new file cures? */
static int is_damaged(di_store *s, dial_status st)
{
    int code = sqlite3_errcode(s->db);

    return st == DIAL_ERR_INPUT || code == SQLITE_NOTADB || code == SQLITE_CORRUPT ||
           code == SQLITE_ERROR; /* tables of another program */
}

dial_status di_store_open(const di_alloc *al, const dial_env *env, const char *path, di_store **out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    di_store *s = di_zalloc(al, sizeof *s);
    char *aside = di_new(al, strlen(path) + sizeof ".damaged");

    if (s != NULL) *s = (di_store){.al = al, .path = di_strdup(al, path)};
    if (s == NULL || aside == NULL || s->path == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the store");
    st = try_open(s, err);
    if (st != DIAL_OK && is_damaged(s, st)) {
        sqlite3_close(s->db);
        s->db = NULL;
        strcpy(aside, path);
        strcat(aside, ".damaged");
        di_log(env, DIAL_LOG_WARN,
               "%s is no sound store: set aside as %s and made anew from the run folders", path,
               aside);
        DI_TRY(di_rename(path, aside, err));
        st = try_open(s, err);
    }
    if (st != DIAL_OK) goto done;
    *out = s;
    s = NULL;
done:
    di_store_close(s);
    di_free(al, aside);
    return st;
}

void di_store_close(di_store *s)
{
    if (s == NULL) return;
    sqlite3_close(s->db);
    di_free(s->al, s->path);
    di_free(s->al, s);
}

static void bind_text(sqlite3_stmt *q, int at, const char *text)
{
    if (text != NULL)
        sqlite3_bind_text(q, at, text, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_null(q, at);
}

static dial_status bind_json(di_store *s, sqlite3_stmt *q, int at, const json_t *v, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_buf b;

    di_buf_init(&b, s->al);
    if (v != NULL) DI_TRY(di_json_write(v, &b, err));
    DI_TRY(di_buf_status(&b, err));
    bind_text(q, at, v != NULL ? b.data : NULL);
done:
    di_buf_deinit(&b);
    return st;
}

/* Runs a bound statement that gives no rows, and ends it. */
static dial_status finish(di_store *s, sqlite3_stmt *q, dial_error *err)
{
    int code = sqlite3_step(q);
    dial_status st = code == SQLITE_DONE ? DIAL_OK : failed(s, err);

    sqlite3_finalize(q);
    return st;
}

static dial_status exec(di_store *s, const char *sql, dial_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? DIAL_OK : failed(s, err);
}

static dial_status prepare(di_store *s, const char *sql, sqlite3_stmt **q, dial_error *err)
{
    return sqlite3_prepare_v2(s->db, sql, -1, q, NULL) == SQLITE_OK ? DIAL_OK : failed(s, err);
}

static dial_status put_run(di_store *s, const di_store_run *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;

    DI_TRY(prepare(s, "INSERT OR REPLACE INTO runs VALUES(?,?,?,?,?,?,?,?,?)", &q, err));
    bind_text(q, 1, r->run);
    bind_text(q, 2, r->dir);
    bind_text(q, 3, r->label);
    bind_text(q, 4, r->method);
    sqlite3_bind_int64(q, 5, r->seed);
    bind_text(q, 6, r->status);
    bind_text(q, 7, r->error);
    sqlite3_bind_double(q, 8, r->seconds);
    DI_TRY(bind_json(s, q, 9, r->facts, err));
    st = finish(s, q, err);
    q = NULL;
done:
    sqlite3_finalize(q);
    return st;
}

static dial_status put_result(di_store *s, const char *run, const di_store_result *r,
                              dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;
    sqlite3_uint64 bytes = r->text != NULL ? (sqlite3_uint64)r->n * 3 * sizeof *r->text : 0;
    char rows[65];

    di_sha256(r->text, (size_t)bytes, rows);
    DI_TRY(prepare(s, "INSERT OR REPLACE INTO results VALUES(?,?,?,?,?,?,?,?)", &q, err));
    bind_text(q, 1, run);
    bind_text(q, 2, r->name);
    bind_text(q, 3, r->kind);
    sqlite3_bind_int64(q, 4, r->n);
    if (isfinite(r->accuracy)) sqlite3_bind_double(q, 5, r->accuracy);
    DI_TRY(bind_json(s, q, 6, r->result, err));
    if (r->credit != NULL)
        sqlite3_bind_blob64(q, 7, r->credit, (sqlite3_uint64)r->n, SQLITE_TRANSIENT);
    bind_text(q, 8, rows);
    st = finish(s, q, err);
    q = NULL;
    if (st != DIAL_OK) goto done;
    DI_TRY(prepare(s, "INSERT OR IGNORE INTO sets VALUES(?,?,?,?)", &q, err));
    bind_text(q, 1, r->name);
    bind_text(q, 2, rows);
    sqlite3_bind_int64(q, 3, r->n);
    if (r->text != NULL) sqlite3_bind_blob64(q, 4, r->text, bytes, SQLITE_TRANSIENT);
    st = finish(s, q, err);
    q = NULL;
done:
    sqlite3_finalize(q);
    return st;
}

dial_status di_store_put(di_store *s, const di_store_run *run, const di_store_result *result, int n,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;
    int open = 0;

    DI_TRY(exec(s, "BEGIN IMMEDIATE", err));
    open = 1;
    DI_TRY(prepare(s, "DELETE FROM results WHERE run=?", &q, err));
    bind_text(q, 1, run->run);
    DI_TRY(finish(s, q, err));
    DI_TRY(put_run(s, run, err));
    for (int k = 0; k < n; k++) DI_TRY(put_result(s, run->run, &result[k], err));
    DI_TRY(exec(s, "COMMIT", err));
    open = 0;
done:
    if (open) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

static dial_status column_json(const sqlite3_stmt *row, int at, json_t **out, dial_error *err)
{
    sqlite3_stmt *q = (sqlite3_stmt *)(uintptr_t)row;
    const char *text = (const char *)sqlite3_column_text(q, at);

    *out = NULL;
    if (text == NULL) return DIAL_OK;
    return di_json_parse(text, strlen(text), "the store", 1, out, err);
}

dial_status di_store_done(di_store *s, const char *run, json_t **facts, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;

    *facts = NULL;
    DI_TRY(prepare(s, "SELECT facts FROM runs WHERE run=? AND status='done'", &q, err));
    bind_text(q, 1, run);
    if (sqlite3_step(q) != SQLITE_ROW) goto done;
    DI_TRY(column_json(q, 0, facts, err));
    if (*facts == NULL && (*facts = json_object()) == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the facts of a run");
done:
    sqlite3_finalize(q);
    return st;
}

dial_status di_store_sets(di_store *s, json_t **names, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;
    json_t *list = json_array();
    int lost = 0;

    DI_TRY(prepare(s, "SELECT name FROM sets GROUP BY name ORDER BY min(rowid)", &q, err));
    while (sqlite3_step(q) == SQLITE_ROW)
        di_json_add(list, json_string((const char *)sqlite3_column_text(q, 0)), &lost);
    list = di_json_whole(list, lost);
    if (list == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the names of sets");
    *names = json_incref(list);
done:
    json_decref(list);
    sqlite3_finalize(q);
    return st;
}

/* A copy of a blob of a whole number of items. */
static dial_status copy_blob(di_store *s, sqlite3_stmt *q, int at, size_t item, void **out,
                             int64_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    size_t bytes = (size_t)sqlite3_column_bytes(q, at);
    const void *data = sqlite3_column_blob(q, at);

    *out = NULL;
    *n = 0;
    if (data == NULL || bytes % item != 0) return DIAL_OK;
    *out = di_new(s->al, bytes);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a column of the store");
    memcpy(*out, data, bytes);
    *n = (int64_t)(bytes / item);
done:
    return st;
}

dial_status di_store_credit(di_store *s, const char *run, const char *name, uint8_t **credit,
                            int64_t *n, json_t **result, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;
    void *blob = NULL;

    *credit = NULL;
    *n = 0;
    if (result != NULL) *result = NULL;
    DI_TRY(prepare(s, "SELECT credit, result FROM results WHERE run=? AND name=?", &q, err));
    bind_text(q, 1, run);
    bind_text(q, 2, name);
    if (sqlite3_step(q) != SQLITE_ROW) goto done;
    DI_TRY(copy_blob(s, q, 0, 1, &blob, n, err));
    *credit = blob;
    if (result != NULL) DI_TRY(column_json(q, 1, result, err));
done:
    sqlite3_finalize(q);
    return st;
}

dial_status di_store_texts(di_store *s, const char *run, const char *name, uint64_t **text,
                           int64_t *n, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;
    void *blob = NULL;

    *text = NULL;
    *n = 0;
    DI_TRY(prepare(s,
                   "SELECT texts FROM sets JOIN results USING(name, rows) WHERE run=? AND name=?",
                   &q, err));
    bind_text(q, 1, run);
    bind_text(q, 2, name);
    if (sqlite3_step(q) == SQLITE_ROW) DI_TRY(copy_blob(s, q, 0, 3 * sizeof **text, &blob, n, err));
    *text = blob;
done:
    sqlite3_finalize(q);
    return st;
}

#else /* DIAL_SQLITE */

struct di_store {
    int none;
};

static dial_status no_sqlite(dial_error *err)
{
    return di_error_set(err, DIAL_ERR_USAGE, __FILE__, __LINE__, "dial sweep",
                        "install libsqlite3 (make deps) and build again",
                        "this build has no SQLite, where a sweep keeps its results");
}

dial_status di_store_open(const di_alloc *al, const dial_env *env, const char *path, di_store **out,
                          dial_error *err)
{
    (void)al, (void)env, (void)path, (void)out;
    return no_sqlite(err);
}

void di_store_close(di_store *s)
{
    (void)s;
}

dial_status di_store_put(di_store *s, const di_store_run *run, const di_store_result *result, int n,
                         dial_error *err)
{
    (void)s, (void)run, (void)result, (void)n;
    return no_sqlite(err);
}

dial_status di_store_done(di_store *s, const char *run, json_t **facts, dial_error *err)
{
    (void)s, (void)run, (void)facts;
    return no_sqlite(err);
}

dial_status di_store_sets(di_store *s, json_t **names, dial_error *err)
{
    (void)s, (void)names;
    return no_sqlite(err);
}

dial_status di_store_credit(di_store *s, const char *run, const char *name, uint8_t **credit,
                            int64_t *n, json_t **result, dial_error *err)
{
    (void)s, (void)run, (void)name, (void)credit, (void)n, (void)result;
    return no_sqlite(err);
}

dial_status di_store_texts(di_store *s, const char *run, const char *name, uint64_t **text,
                           int64_t *n, dial_error *err)
{
    (void)run, (void)s, (void)name, (void)text, (void)n;
    return no_sqlite(err);
}

#endif
