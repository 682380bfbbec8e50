/*
 * Reloading under load. The served path is a link that is moved from one run to another and back;
 * every request must be answered, all of its rewards by one and the same run; a run that does not
 * load leaves the old one in place; nothing of the old ones stays in memory.
 */
#include "test.h"

#include "client.h"
#include "counted.h"

enum { CLIENTS = 4, RELOADS = 20 };
#define BODY "{\"query\":[\"good\",\"bad film\",\"it was good\",\" the film\"]}"

static server s;
static char answer_of[2][512]; /* what runs a and b answer to BODY */
static atomic_int stop_clients, failed;
static atomic_long answered[2];

static void point_to(const char *name)
{
    char link[128], next[128];

    snprintf(link, sizeof link, "%s/live", folder);
    snprintf(next, sizeof next, "%s/next", folder);
    assert_int_equal(symlink(name, next), 0);
    assert_int_equal(rename(next, link), 0);
}

static long counter(const char *name)
{
    answer a = ask(s.port, "/metrics", NULL);
    char line[80];
    const char *at;
    long n;

    snprintf(line, sizeof line, "\n%s ", name);
    at = strstr(a.body, line);
    assert_non_null(at);
    n = strtol(at + strlen(line), NULL, 10);
    answer_free(&a);
    return n;
}

static void wait_for(const char *name, long n)
{
    for (int i = 0; counter(name) < n; i++) {
        if (i == 3000) fail_msg("%s stays under %ld", name, n);
        pause_ms(5);
    }
}

static void *ask_on(void *arg)
{
    int fd = client_open(s.port);

    (void)arg;
    while (!atomic_load(&stop_clients)) {
        answer a = client_send(fd, "POST", "/get_reward", "", BODY, strlen(BODY));
        int which = a.status != 200                     ? -1
                    : strcmp(a.body, answer_of[0]) == 0 ? 0
                    : strcmp(a.body, answer_of[1]) == 0 ? 1
                                                        : -1;

        if (which < 0) {
            atomic_fetch_add(&failed, 1);
            printf("neither run answers so: %d %s\n", a.status, a.body != NULL ? a.body : "");
        } else
            atomic_fetch_add(&answered[which], 1);
        answer_free(&a);
    }
    close(fd);
    return NULL;
}

static void under_load(void **state)
{
    pthread_t thread[CLIENTS];

    (void)state;
    for (int i = 0; i < CLIENTS; i++) pthread_create(&thread[i], NULL, ask_on, NULL);
    for (int i = 0; i < RELOADS; i++) {
        point_to(i % 2 == 0 ? "b" : "a");
        flag_up(&s.reload);
        wait_for("dial_reloads_total", i + 1);
    }
    atomic_store(&stop_clients, 1);
    for (int i = 0; i < CLIENTS; i++) pthread_join(thread[i], NULL);
    assert_int_equal(failed, 0);
    assert_true(answered[0] > 0 && answered[1] > 0);
    printf("%d reloads, %ld + %ld requests, none failed\n", RELOADS, atomic_load(&answered[0]),
           atomic_load(&answered[1]));
}

static void of_a_changed_link(void **state)
{
    long before = counter("dial_reloads_total");
    answer a;

    (void)state;
    point_to("b"); /* nobody says so: it is looked at every two seconds */
    wait_for("dial_reloads_total", before + 1);
    a = ask(s.port, "/get_reward", BODY);
    assert_string_equal(a.body, answer_of[1]);
    answer_free(&a);
}

/* An adapter that is not the one of the self-test, and a folder without one. */
static void of_a_bad_run(void **state)
{
    static const char *const make[] = {
        "cd %s && cp -r a bad && cp b/adapter_model.safetensors bad",
        "cd %s && rm bad/adapter_model.safetensors",
    };
    long before = counter("dial_reloads_failed_total");
    char command[200];

    (void)state;
    for (int i = 0; i < 2; i++) {
        answer a;

        snprintf(command, sizeof command, make[i], folder);
        assert_int_equal(system(command), 0);
        if (i == 0) point_to("bad");
        flag_up(&s.reload);
        wait_for("dial_reloads_failed_total", before + 1 + i);
        a = ask(s.port, "/get_reward", BODY);
        assert_string_equal(a.body, answer_of[1]);
        answer_free(&a);
    }
}

static void nothing_is_left(void **state)
{
    (void)state;
    assert_ok(server_stop(&s), s.err);
    assert_int_equal(atomic_load(&counted_blocks), 0);
}

static int set_up(void **state)
{
    static const char *const live[] = {"live"}, *const each[2][1] = {{"a"}, {"b"}};

    (void)state;
    count_json();
    make_folder("reload");
    train_run("a", 1);
    train_run("b", 2);
    atomic_store(&counted_blocks, 0);
    for (int i = 0; i < 2; i++) {
        answer a;

        server_init(&s, each[i], 1);
        server_start(&s);
        a = ask(s.port, "/get_reward", BODY);
        snprintf(answer_of[i], sizeof answer_of[i], "%s", a.body);
        answer_free(&a);
        assert_ok(server_stop(&s), s.err);
    }
    assert_string_not_equal(answer_of[0], answer_of[1]);
    point_to("a");
    server_init(&s, live, 1);
    s.env.allocator = &counted_allocator;
    server_start(&s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(under_load),
        cmocka_unit_test(of_a_changed_link),
        cmocka_unit_test(of_a_bad_run),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
