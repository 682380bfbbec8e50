#include "serve/traffic.h"

#include <string.h>

#include "base/error.h"

#ifdef DIAL_SQLITE

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "base/file.h"

struct di_traffic {
    const di_alloc *al;
    sqlite3 *db;
    sqlite3_stmt *insert, *trim;
    char *path;
    int64_t keep;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS traffic(id INTEGER PRIMARY KEY, time REAL NOT NULL,"
    " run TEXT NOT NULL, checkpoint TEXT NOT NULL, prompt_hash INTEGER, reward REAL NOT NULL,"
    " tokens INTEGER NOT NULL, embedding BLOB NOT NULL, form TEXT NOT NULL, prompt TEXT,"
    " response TEXT);";

static const char *const form_name[] = {"text", "single", "chat", "ids"};
enum { N_FORMS = sizeof form_name / sizeof *form_name };

/* A failed call as an error of dial. */
static dial_status failed(sqlite3 *db, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    int code = sqlite3_errcode(db);
    dial_status kind = code == SQLITE_NOMEM                              ? DIAL_ERR_NOMEM
                       : code == SQLITE_NOTADB || code == SQLITE_CORRUPT ? DIAL_ERR_INPUT
                                                                         : DIAL_ERR_IO;

    DI_FAIL_AT(err, kind, path,
               code == SQLITE_FULL      ? "free some space"
               : kind == DIAL_ERR_INPUT ? "move the file away, or name another with --store"
                                        : "look at the file and its folder, or name another with "
                                          "--store",
               "the store: %s", sqlite3_errmsg(db));
done:
    return st;
}

static dial_status exec(di_traffic *t, const char *sql, dial_error *err)
{
    return sqlite3_exec(t->db, sql, NULL, NULL, NULL) == SQLITE_OK ? DIAL_OK
                                                                   : failed(t->db, t->path, err);
}

static dial_status prepare(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **q,
                           dial_error *err)
{
    return sqlite3_prepare_v2(db, sql, -1, q, NULL) == SQLITE_OK ? DIAL_OK : failed(db, path, err);
}

/* SQLite gives a journal the mode of its file. */
static void make_private(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    if (fd >= 0) close(fd);
}

dial_status di_traffic_open(const di_alloc *al, const char *path, int64_t keep, di_traffic **out,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    di_traffic *t = di_zalloc(al, sizeof *t);

    if (t == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the store");
    *t = (di_traffic){.al = al, .path = di_strdup(al, path), .keep = keep};
    if (t->path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the store");
    make_private(path);
    if (sqlite3_open_v2(path, &t->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        DI_TRY(failed(t->db, path, err));
    sqlite3_busy_timeout(t->db, 5000); /* `data collect` reads, or a sweep writes */
    DI_TRY(exec(t, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;", err));
    DI_TRY(exec(t, schema, err));
    DI_TRY(prepare(t->db, path,
                   "INSERT INTO traffic(time, run, checkpoint, prompt_hash, reward, tokens,"
                   " embedding, form, prompt, response) VALUES(?,?,?,?,?,?,?,?,?,?)",
                   &t->insert, err));
    DI_TRY(prepare(t->db, path, "DELETE FROM traffic WHERE id <= (SELECT max(id) FROM traffic) - ?",
                   &t->trim, err));
    *out = t;
    t = NULL;
done:
    di_traffic_close(t);
    return st;
}

void di_traffic_close(di_traffic *t)
{
    if (t == NULL) return;
    sqlite3_finalize(t->insert);
    sqlite3_finalize(t->trim);
    sqlite3_close(t->db);
    di_free(t->al, t->path);
    di_free(t->al, t);
}

static void bind_text(sqlite3_stmt *q, int at, const char *s, size_t n)
{
    if (s != NULL)
        sqlite3_bind_text64(q, at, s, n, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(q, at);
}

/* Runs a bound statement that gives no rows; it can then be bound again. */
static dial_status step(di_traffic *t, sqlite3_stmt *q, dial_error *err)
{
    int code = sqlite3_step(q);
    dial_status st = code == SQLITE_DONE ? DIAL_OK : failed(t->db, t->path, err);

    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    return st;
}

static dial_status put(di_traffic *t, const di_traffic_row *r, dial_error *err)
{
    sqlite3_stmt *q = t->insert;

    sqlite3_bind_double(q, 1, r->time);
    bind_text(q, 2, r->run, strlen(r->run));
    bind_text(q, 3, r->checkpoint, strlen(r->checkpoint));
    if (r->has_prompt) sqlite3_bind_int64(q, 4, (sqlite3_int64)r->prompt_hash);
    sqlite3_bind_double(q, 5, r->reward);
    sqlite3_bind_int64(q, 6, r->tokens);
    sqlite3_bind_blob64(q, 7, r->e, (sqlite3_uint64)r->width * sizeof *r->e, SQLITE_STATIC);
    bind_text(q, 8, form_name[r->form], strlen(form_name[r->form]));
    bind_text(q, 9, r->prompt, r->prompt_size);
    bind_text(q, 10, r->response, r->response_size);
    return step(t, q, err);
}

dial_status di_traffic_put(di_traffic *t, const di_traffic_row *row, int64_t n, dial_error *err)
{
    dial_status st = DIAL_OK;
    int open = 0;

    DI_TRY(exec(t, "BEGIN IMMEDIATE", err));
    open = 1;
    for (int64_t i = 0; i < n; i++) DI_TRY(put(t, &row[i], err));
    sqlite3_bind_int64(t->trim, 1, t->keep);
    DI_TRY(step(t, t->trim, err));
    DI_TRY(exec(t, "COMMIT", err));
    open = 0;
done:
    if (open) sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

/* ---- reading ---- */

/* For writing if it may be: the journal of a killed server is to be rolled back first. */
static dial_status open_to_read(const char *path, sqlite3 **db, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (!di_exists(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "dial serve RUN --monitor N --monitor-texts",
                   "there is no such store");
    if (sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        sqlite3_close(*db);
        *db = NULL;
        if (sqlite3_open_v2(path, db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
            DI_TRY(failed(*db, path, err));
    }
    sqlite3_busy_timeout(*db, 10000);
done:
    return st;
}

static dial_status need_table(sqlite3 *db, const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3_stmt *q = NULL;
    int found;

    DI_TRY(prepare(db, path, "SELECT 1 FROM sqlite_master WHERE type='table' AND name='traffic'",
                   &q, err));
    found = sqlite3_step(q);
    if (found == SQLITE_DONE)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "dial serve RUN --monitor N --monitor-texts",
                   "the store holds no traffic of a server");
    if (found != SQLITE_ROW) DI_TRY(failed(db, path, err));
done:
    sqlite3_finalize(q);
    return st;
}

static const char *column(sqlite3_stmt *q, int at, size_t *n)
{
    const char *s = (const char *)sqlite3_column_text(q, at);

    *n = s != NULL ? (size_t)sqlite3_column_bytes(q, at) : 0;
    return s;
}

/* ERR_INPUT: a form of another version. */
static dial_status row_of(sqlite3_stmt *q, const char *path, di_traffic_row *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *form;
    size_t n;
    int k = 0;

    *r = (di_traffic_row){.time = sqlite3_column_double(q, 0),
                          .run = column(q, 1, &n),
                          .checkpoint = column(q, 2, &n),
                          .has_prompt = sqlite3_column_type(q, 3) != SQLITE_NULL,
                          .prompt_hash = (uint64_t)sqlite3_column_int64(q, 3),
                          .reward = sqlite3_column_double(q, 4),
                          .tokens = sqlite3_column_int64(q, 5)};
    form = column(q, 6, &n);
    r->prompt = column(q, 7, &r->prompt_size);
    r->response = column(q, 8, &r->response_size);
    while (k < N_FORMS && form != NULL && strcmp(form, form_name[k]) != 0) k++;
    if (r->run == NULL || r->checkpoint == NULL || form == NULL || k == N_FORMS)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "read it with the version of dial that wrote it",
                   "the store: a row of traffic has the form '%s'", form != NULL ? form : "(null)");
    r->form = (di_traffic_form)k;
done:
    return st;
}

dial_status di_traffic_read(const char *path, const di_traffic_of *of,
                            dial_status (*take)(void *ctx, const di_traffic_row *row,
                                                dial_error *err),
                            void *ctx, dial_error *err)
{
    dial_status st = DIAL_OK;
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    di_traffic_row row;
    int code;

    DI_TRY(open_to_read(path, &db, err));
    DI_TRY(need_table(db, path, err));
    DI_TRY(prepare(db, path,
                   "SELECT time, run, checkpoint, prompt_hash, reward, tokens, form, prompt,"
                   " response FROM traffic WHERE (?1 IS NULL AND ?2 IS NULL) OR run = ?1"
                   " OR run IN (SELECT run FROM traffic WHERE checkpoint = ?2)"
                   " OR (?2 IS NOT NULL AND (SELECT count(DISTINCT run) FROM traffic) = 1)"
                   " ORDER BY id",
                   &q, err));
    bind_text(q, 1, of->run, of->run != NULL ? strlen(of->run) : 0);
    bind_text(q, 2, of->checkpoint, of->checkpoint != NULL ? strlen(of->checkpoint) : 0);
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        DI_TRY(row_of(q, path, &row, err));
        DI_TRY(take(ctx, &row, err));
    }
    if (code != SQLITE_DONE) DI_TRY(failed(db, path, err));
done:
    sqlite3_finalize(q);
    sqlite3_close(db);
    return st;
}

#else /* DIAL_SQLITE */

struct di_traffic {
    int none;
};

static dial_status no_sqlite(dial_error *err)
{
    return di_error_set(err, DIAL_ERR_USAGE, __FILE__, __LINE__, "--store",
                        "install libsqlite3 (make deps) and build again",
                        "this build has no SQLite, where live traffic is kept");
}

dial_status di_traffic_open(const di_alloc *al, const char *path, int64_t keep, di_traffic **out,
                            dial_error *err)
{
    (void)al, (void)path, (void)keep, (void)out;
    return no_sqlite(err);
}

void di_traffic_close(di_traffic *t)
{
    (void)t;
}

dial_status di_traffic_put(di_traffic *t, const di_traffic_row *row, int64_t n, dial_error *err)
{
    (void)t, (void)row, (void)n;
    return no_sqlite(err);
}

dial_status di_traffic_read(const char *path, const di_traffic_of *of,
                            dial_status (*take)(void *ctx, const di_traffic_row *row,
                                                dial_error *err),
                            void *ctx, dial_error *err)
{
    (void)path, (void)of, (void)take, (void)ctx;
    return no_sqlite(err);
}

#endif
