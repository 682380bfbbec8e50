/* The event file of a run: its bytes against those of TensorBoard's own writer, and what is kept of
 * it when a run goes on. */
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "train/events.h"

static json_t *parse(const char *text)
{
    json_t *v = json_loads(text, 0, NULL);

    assert_non_null(v);
    return v;
}

/* The three lines that make_events.py has; what is null, or no number of the event, is left out. */
static const struct {
    double wall_time;
    const char *line;
} lines[] = {
    {1795411703.5, "{\"event\":\"step\",\"step\":1,\"loss\":0.6931472,\"loss_align\":null,"
                   "\"tokens\":4096,\"lr\":5e-5}"},
    {1795411704.125, "{\"event\":\"step\",\"step\":300,\"loss\":-0.125,\"w1\":1e-9}"},
    {1795411705, "{\"event\":\"eval\",\"step\":300,\"name\":\"yo-test\",\"result\":"
                 "{\"accuracy\":0.7023,\"n\":9}}"},
};

static void bytes_of_the_peer(void **state)
{
    di_events e = {.al = di_alloc_default()};
    char *expected;
    size_t n;
    dial_error err;
    (void)state;
    di_buf_init(&e.value, e.al);
    di_buf_init(&e.summary, e.al);
    di_buf_init(&e.frame, e.al);
    assert_int_equal(di_events_frame(&e, 1795411702.25, "brain.Event:2", NULL), 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        json_t *line = parse(lines[i].line);

        assert_int_equal(di_events_frame(&e, lines[i].wall_time, NULL, line), 1);
        json_decref(line);
    }
    assert_ok(di_read_file(e.al, TEST_DIR "/fixtures/events/events.bin", &expected, &n, &err), err);
    assert_int_equal(e.frame.size, n);
    assert_memory_equal(e.frame.data, expected, n);
    di_free(e.al, expected);
    di_events_close(&e);
}

/* RFC 3720, B.4: CRC-32C of 32 zero bytes is 0x8a9136aa, of 0, 1, ..., 31 it is 0x46dd794e. */
static void check_of_the_standard(void **state)
{
    unsigned char zero[32] = {0}, rising[32];
    (void)state;
    for (int i = 0; i < 32; i++) rising[i] = (unsigned char)i;
    assert_int_equal(di_events_check(zero, 32),
                     (uint32_t)((0x8a9136aau >> 15 | 0x8a9136aau << 17) + 0xa282ead8u));
    assert_int_equal(di_events_check(rising, 32),
                     (uint32_t)((0x46dd794eu >> 15 | 0x46dd794eu << 17) + 0xa282ead8u));
}

/* Steps of the frames of the only event file in the folder, as text. */
static void steps_of(const char *dir, char *path, char out[64])
{
    char **names, *data;
    size_t n, size;
    const di_alloc *al = di_alloc_default();
    dial_error err;

    assert_ok(di_list_dir(al, dir, &names, &n, &err), err);
    assert_int_equal(n, 1);
    snprintf(path, 300, "%s/%s", dir, names[0]);
    di_free_names(al, names, n);
    assert_ok(di_read_file(al, path, &data, &size, &err), err);
    out[0] = '\0';
    for (size_t at = 0; at < size;) {
        size_t payload = (unsigned char)data[at] + 256 * (size_t)(unsigned char)data[at + 1];
        int step = data[at + 21] == 16 ? data[at + 22] : 0; /* small steps: a byte */

        snprintf(out + strlen(out), 64 - strlen(out), "%d ", step);
        at += 16 + payload;
    }
    di_free(al, data);
}

/* Steps 1 to n into a run's folder, from where it is. */
static void write_steps(const char *dir, int64_t keep, int from, int to)
{
    di_events e = {0};
    dial_error err;

    assert_ok(di_events_open(&e, di_alloc_default(), dir, keep, &err), err);
    for (int i = from; i <= to; i++) {
        json_t *line = json_pack("{s:s, s:i, s:f}", "event", "step", "step", i, "loss", 0.5);

        assert_ok(di_events_add(&e, line, &err), err);
        json_decref(line);
    }
    di_events_close(&e);
}

static void resume_cuts_and_appends(void **state)
{
    char dir[] = "/tmp/dial-events-XXXXXX", path[300], steps[64];
    struct stat was;
    dial_error err;
    FILE *f;
    (void)state;
    assert_non_null(mkdtemp(dir));
    write_steps(dir, -1, 1, 5);
    steps_of(dir, path, steps);
    assert_string_equal(steps, "0 1 2 3 4 5 ");
    write_steps(dir, 3, 4, 6); /* the steps after the checkpoint come again */
    steps_of(dir, path, steps);
    assert_string_equal(steps, "0 1 2 3 4 5 6 ");
    assert_int_equal(stat(path, &was), 0);
    assert_int_equal(truncate(path, was.st_size - 3), 0); /* a kill: the last frame is cut short */
    write_steps(dir, 9, 7, 7);
    steps_of(dir, path, steps);
    assert_string_equal(steps, "0 1 2 3 4 5 7 ");
    f = fopen(path, "r+b"); /* a byte of step 2 has rotted: what follows is not trusted */
    assert_non_null(f);
    assert_int_equal(fseek(f, was.st_size / 7 * 2 + 20, SEEK_SET), 0);
    assert_int_not_equal(fputc('x', f), EOF);
    assert_int_equal(fclose(f), 0);
    write_steps(dir, 9, 8, 8);
    steps_of(dir, path, steps);
    assert_string_equal(steps, "0 1 8 ");
    assert_ok(di_remove_tree(dir, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_the_peer),
        cmocka_unit_test(check_of_the_standard),
        cmocka_unit_test(resume_cuts_and_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
