/*
 * dial_pull against a hub of our own: connections that are cut, redirects to another origin, 429,
 * a wrong hash, a listing that leaves the folder. The token never leaves its origin.
 */
#include <microhttpd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "base/file.h"
#include "dial/dial.h"

enum { SIZE = 300000, CUT = 100000 };

static unsigned char blob[SIZE];
static const char config[] = "{\"a\": 1}\n";

/* What the two servers saw, and how they are to behave. */
static struct {
    int patience; /* 429 so many times */
    int wrong;    /* one byte of the blob differs */
    int outside;  /* the listing names ../x */
    int locked;   /* 401 without the token */
    int requests, blob_requests, ranges, cuts;
    int token_at_hub, token_at_store;
    char store[64], sha[65];
} net;

static int has_token(struct MHD_Connection *c)
{
    const char *v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");

    if (v != NULL) assert_string_equal(v, "Bearer secret");
    return v != NULL;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned code, const char *text,
                              const char *header, const char *value)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_MUST_COPY);
    enum MHD_Result ok;

    if (header != NULL) MHD_add_response_header(r, header, value);
    ok = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result hub(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
                           const char *version, const char *data, size_t *n, void **state)
{
    char text[1024];

    (void)ctx;
    (void)method;
    (void)version;
    (void)data;
    (void)n;
    if (*state == NULL) {
        *state = &net;
        return MHD_YES;
    }
    net.requests++;
    net.token_at_hub += has_token(c);
    if (net.locked && !has_token(c)) return answer(c, 401, "no", NULL, NULL);
    if (net.patience > 0) {
        net.patience--;
        return answer(c, 429, "wait", "Retry-After", "1");
    }
    if (strcmp(url, "/api/models/org/m/revision/main") == 0) {
        /* git's name of config.json: git hash-object */
        snprintf(text, sizeof text,
                 "{\"sha\":\"c0ffee\",\"siblings\":[{\"rfilename\":\"config.json\",\"blobId\":"
                 "\"cb5b2f69babc53f9145b45ad20b9a075d48717ef\"},{\"rfilename\":\"pytorch_model."
                 "bin\"},{\"rfilename\":\"sub/model.safetensors\",\"lfs\":{\"sha256\":\"%s\"}}%s]}",
                 net.sha, net.outside ? ",{\"rfilename\":\"../x.json\"}" : "");
        return answer(c, 200, text, NULL, NULL);
    }
    if (strcmp(url, "/org/m/resolve/c0ffee/config.json") == 0)
        return answer(c, 200, config, NULL, NULL);
    if (strcmp(url, "/org/m/resolve/c0ffee/sub/model.safetensors") == 0)
        return answer(c, 302, "", "Location", net.store);
    return answer(c, 404, "nothing", NULL, NULL);
}

typedef struct body {
    size_t first, stop; /* bytes first .. of the blob; cut at stop */
} body;

static ssize_t give(void *ctx, uint64_t at, char *to, size_t most)
{
    const body *b = ctx;
    size_t from = b->first + (size_t)at, left = b->stop - from;

    if (left == 0) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (most > left) most = left;
    memcpy(to, blob + from, most);
    if (net.wrong && from == 0) to[7] ^= 1;
    return (ssize_t)most;
}

static enum MHD_Result store(void *ctx, struct MHD_Connection *c, const char *url,
                             const char *method, const char *version, const char *data, size_t *n,
                             void **state)
{
    const char *range;
    struct MHD_Response *r;
    enum MHD_Result ok;
    body *b;

    (void)ctx;
    (void)url;
    (void)method;
    (void)version;
    (void)data;
    (void)n;
    if (*state == NULL) {
        *state = &net;
        return MHD_YES;
    }
    net.blob_requests++;
    net.token_at_store += has_token(c);
    b = calloc(1, sizeof *b);
    range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
    if (range != NULL) b->first = (size_t)strtoul(range + strlen("bytes="), NULL, 10);
    net.ranges += range != NULL;
    b->stop = b->first + CUT < SIZE ? b->first + CUT : SIZE;
    net.cuts += b->stop < SIZE;
    r = MHD_create_response_from_callback(SIZE - b->first, 4096, give, b, free);
    ok = MHD_queue_response(c, range != NULL ? 206 : 200, r);
    MHD_destroy_response(r);
    return ok;
}

static struct MHD_Daemon *daemons[2];
static char folder[64], endpoint[64];

static unsigned port_of(struct MHD_Daemon *d)
{
    return MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port;
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < SIZE; i++) blob[i] = (unsigned char)(i * 7 + i / 251);
    daemons[0] =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, hub, NULL, MHD_OPTION_END);
    daemons[1] = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, store, NULL,
                                  MHD_OPTION_END);
    assert_non_null(daemons[0]);
    assert_non_null(daemons[1]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    MHD_stop_daemon(daemons[0]);
    MHD_stop_daemon(daemons[1]);
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    memset(&net, 0, sizeof net);
    di_sha256(blob, SIZE, net.sha);
    snprintf(net.store, sizeof net.store, "http://127.0.0.1:%u/blob", port_of(daemons[1]));
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", port_of(daemons[0]));
    strcpy(folder, "/tmp/dial_pull_XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int clean(void **state)
{
    dial_error err;
    (void)state;
    return di_remove_tree(folder, &err) != DIAL_OK;
}

static dial_status pull(const char *name, const char *token, int offline, dial_error *err)
{
    dial_pull_options o;
    char *json = NULL;
    dial_status st;

    dial_options_default(dial_pull_table, &o, sizeof o);
    o.name = name;
    o.out = folder;
    o.endpoint = endpoint;
    o.token = token;
    o.offline = offline;
    *err = (dial_error){0};
    st = dial_pull(&o, NULL, &json, err);
    if (st == DIAL_OK) {
        assert_memory_equal(json, "{\"schema\":\"dial.pull/1\"", 23);
        assert_non_null(strstr(json, "\"revision\":\"c0ffee\""));
        assert_non_null(strstr(json, net.sha));
        assert_null(strstr(json, "pytorch_model"));
    }
    dial_free(NULL, json);
    return st;
}

static void path_of(char *out, size_t n, const char *name)
{
    snprintf(out, n, "%s/%s", folder, name);
}

/* Cut twice, taken up where it ended; the token stays at home; the second time nothing is fetched.
 */
static void cuts_and_redirects(void **state)
{
    char path[128], hex[65];
    dial_error err;
    (void)state;

    assert_ok(pull("org/m", "secret", 0, &err), err);
    path_of(path, sizeof path, "sub/model.safetensors");
    assert_ok(di_sha256_file(path, hex, &err), err);
    assert_string_equal(hex, net.sha);
    assert_true(net.blob_requests == 3 && net.ranges == 2 && net.cuts == 2);
    assert_int_equal(net.token_at_hub, 5); /* listing, config, and the model before each part */
    assert_int_equal(net.token_at_store, 0);
    path_of(path, sizeof path, "pytorch_model.bin");
    assert_false(di_exists(path));
    path_of(path, sizeof path, "sub/model.safetensors.incomplete");
    assert_false(di_exists(path));
    assert_ok(pull("org/m", NULL, 0, &err), err);
    assert_int_equal(net.blob_requests, 3);
    assert_int_equal(net.token_at_hub, 5);
    /* and without the network */
    net.requests = 0;
    assert_ok(pull("org/m", NULL, 1, &err), err);
    assert_int_equal(net.requests, 0);
    path_of(path, sizeof path, "config.json");
    assert_ok(di_write_file(di_alloc_default(), path, "{}", 2, &err), err);
    assert_int_equal(pull("org/m", NULL, 1, &err), DIAL_ERR_INPUT);
    assert_int_equal(pull("org/other", NULL, 1, &err), DIAL_ERR_USAGE);
}

static void patience(void **state)
{
    dial_error err;
    (void)state;

    net.patience = 2;
    assert_ok(pull("org/m", NULL, 0, &err), err);
    assert_int_equal(net.patience, 0);
    assert_int_equal(net.requests, 7);
}

static void wrong_bytes(void **state)
{
    char path[128];
    dial_error err;
    (void)state;

    net.wrong = 1;
    assert_int_equal(pull("org/m", NULL, 0, &err), DIAL_ERR_INPUT);
    assert_memory_equal(err.message, "hash mismatch: ", 15);
    path_of(path, sizeof path, "sub/model.safetensors");
    assert_false(di_exists(path));
    path_of(path, sizeof path, "sub/model.safetensors.incomplete");
    assert_false(di_exists(path));
    net.wrong = 0; /* nothing of it is in the way */
    assert_ok(pull("org/m", NULL, 0, &err), err);
}

static void refusals(void **state)
{
    static const char *const names[] = {"", "/m", "org/", "a/b/c", "org/..", "org/m@", "o rg/m"};
    dial_error err;
    (void)state;

    assert_int_equal(pull("org/none", NULL, 0, &err), DIAL_ERR_NETWORK);
    assert_string_equal(err.message, "the server answers 404");
    net.locked = 1;
    assert_int_equal(pull("org/m", NULL, 0, &err), DIAL_ERR_NETWORK);
    assert_non_null(strstr(err.hint, "HF_TOKEN"));
    assert_ok(pull("org/m", "secret", 0, &err), err);
    net.outside = 1;
    assert_int_equal(pull("org/m", "secret", 0, &err), DIAL_ERR_INPUT);
    assert_memory_equal(err.message, "the hub lists a file outside", 28);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(pull(names[i], NULL, 0, &err), DIAL_ERR_USAGE);
    strcpy(endpoint, "file:///etc");
    assert_int_equal(pull("org/m", NULL, 0, &err), DIAL_ERR_NETWORK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cuts_and_redirects, fresh, clean),
        cmocka_unit_test_setup_teardown(patience, fresh, clean),
        cmocka_unit_test_setup_teardown(wrong_bytes, fresh, clean),
        cmocka_unit_test_setup_teardown(refusals, fresh, clean),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
