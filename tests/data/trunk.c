/*
 * The stored trunk: a table of rows by text, and its file. Whatever happens to the file, a text is
 * found with its own rows or not at all.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/trunk.h"
#include "data/trunk_file.h"

enum { TEXTS = 40, LONGEST = 9, ROW = 6 };

static const char *const KEY = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char *const OTHER = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/* Texts that are prefixes of each other, so that only ids and length together tell them apart. */
typedef struct texts {
    int32_t ids[TEXTS][LONGEST];
    di_seq_view view[TEXTS];
    unsigned char rows[TEXTS][LONGEST * ROW];
    const void *at[TEXTS];
} texts;

static void make(texts *t)
{
    for (int i = 0; i < TEXTS; i++) {
        t->view[i] = (di_seq_view){t->ids[i], 1 + i % LONGEST};
        t->at[i] = t->rows[i];
        for (int k = 0; k < LONGEST; k++) t->ids[i][k] = i / LONGEST * 1000 + k;
        for (int k = 0; k < LONGEST * ROW; k++) t->rows[i][k] = (unsigned char)(i * 7 + k);
    }
}

static di_trunk *new_trunk(int per_token)
{
    di_trunk_shape shape = {ROW, per_token};
    dial_error err;
    di_trunk *t = NULL;

    assert_ok(di_trunk_new(di_alloc_default(), NULL, &shape, &t, &err), err);
    return t;
}

/* Count of texts found, each with its own rows. */
static int found(const di_trunk *t, const texts *x, int per_token)
{
    int n = 0;

    for (int i = 0; i < TEXTS; i++) {
        const void *rows = di_trunk_find(t, &x->view[i]);

        if (rows == NULL) continue;
        assert_memory_equal(rows, x->rows[i], per_token ? (size_t)x->view[i].n * ROW : ROW);
        n++;
    }
    return n;
}

static void temp_dir(char dir[64])
{
    snprintf(dir, 64, "/tmp/dial-trunk-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void write_file(const char *path, const texts *x, int from, int to, int per_token)
{
    di_trunk_shape shape = {ROW, per_token};
    di_trunk_writer w;
    dial_error err;
    struct stat info;

    assert_ok(di_trunk_write_begin(di_alloc_default(), path, KEY, &shape, &w, &err), err);
    for (int i = from; i < to; i++)
        assert_ok(di_trunk_write_put(&w, &x->view[i], x->rows[i], &err), err);
    assert_ok(di_trunk_write_commit(&w, &err), err);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size,
                     di_trunk_file_bytes(&shape, x->view + from, to - from)); /* as announced */
}

static void memory_holds_what_it_is_given(void **state)
{
    texts x;
    dial_error err;

    (void)state;
    make(&x);
    for (int per_token = 0; per_token < 2; per_token++) {
        di_trunk *t = new_trunk(per_token);

        assert_null(di_trunk_find(t, &x.view[0]));
        assert_ok(di_trunk_add(t, x.view, x.at, 1, &err), err);
        assert_int_equal(found(t, &x, per_token), 1);
        assert_ok(di_trunk_add(t, x.view, x.at, TEXTS, &err), err); /* the first again: stays */
        assert_int_equal(found(t, &x, per_token), TEXTS);
        di_trunk_free(t);
    }
}

static void file_comes_back(void **state)
{
    char dir[64], path[128];
    texts x;
    dial_error err;
    int damaged;

    (void)state;
    make(&x);
    temp_dir(dir);
    for (int per_token = 0; per_token < 2; per_token++) {
        di_trunk *t = new_trunk(per_token), *wrong = new_trunk(!per_token);

        snprintf(path, sizeof path, "%s/%d.trunk", dir, per_token);
        assert_ok(di_trunk_load(t, path, KEY, &damaged, &err), err); /* no such file */
        assert_int_equal(damaged, 0);
        write_file(path, &x, 0, 30, per_token);
        assert_ok(di_trunk_load(t, path, OTHER, &damaged, &err), err);
        assert_int_equal(damaged, 1);
        assert_int_equal(found(t, &x, per_token), 0);
        assert_ok(di_trunk_load(t, path, KEY, &damaged, &err), err);
        assert_int_equal(damaged, 0);
        assert_int_equal(found(t, &x, per_token), 30);
        assert_ok(di_trunk_load(wrong, path, KEY, &damaged, &err), err); /* another shape */
        assert_int_equal(damaged, 1);
        assert_int_equal(found(wrong, &x, !per_token), 0);
        di_trunk_free(t);
        di_trunk_free(wrong);
    }
    di_remove_tree(dir, NULL);
}

/* Not synced to the disk, as a thousand atomic writes would be. */
static void put_bytes(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Every byte changed, and every length shorter or longer: never rows of another text. */
static void damage_is_seen(void **state)
{
    char dir[64], path[128], broken[128];
    texts x;
    dial_error err;
    char *data;
    size_t n;
    int damaged, lost = 0;

    (void)state;
    make(&x);
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/whole", dir);
    snprintf(broken, sizeof broken, "%s/broken", dir);
    write_file(path, &x, 0, 6, 1);
    assert_ok(di_read_file(di_alloc_default(), path, &data, &n, &err), err);
    for (size_t i = 0; i < n; i++) {
        di_trunk *t = new_trunk(1);
        int seen;

        data[i] ^= (char)(1 << i % 8);
        put_bytes(broken, data, n);
        assert_ok(di_trunk_load(t, broken, KEY, &damaged, &err), err);
        seen = found(t, &x, 1);
        assert_int_equal(damaged, 1);
        assert_true(seen == 0 || seen == 5); /* the file, or the text that was hit */
        lost += seen == 5;
        data[i] ^= (char)(1 << i % 8);
        di_trunk_free(t);
    }
    assert_true(lost > 0);
    for (size_t i = 0; i <= n + 8; i += i + 200 < n ? 41 : 1) {
        di_trunk *t = new_trunk(1);
        char *longer = calloc(1, n + 8);

        memcpy(longer, data, i < n ? i : n);
        put_bytes(broken, longer, i);
        assert_ok(di_trunk_load(t, broken, KEY, &damaged, &err), err);
        assert_int_equal(damaged, i != n);
        assert_int_equal(found(t, &x, 1), i == n ? 6 : 0);
        free(longer);
        di_trunk_free(t);
    }
    di_free(di_alloc_default(), data);
    di_remove_tree(dir, NULL);
}

static void touch(const char *path, time_t when, size_t n)
{
    struct timespec t[2] = {{when, 0}, {when, 0}};
    char *zeros = calloc(1, n);
    dial_error err;

    assert_ok(di_write_file(di_alloc_default(), path, zeros, n, &err), err);
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    free(zeros);
}

/* The file unused for longest goes, and no more than must. */
static void oldest_makes_room(void **state)
{
    char dir[64], path[4][128];
    const di_alloc *al = di_alloc_default();
    dial_error err;
    int fits;

    (void)state;
    temp_dir(dir);
    for (int i = 0; i < 4; i++) snprintf(path[i], sizeof path[i], "%s/%c.trunk", dir, "bcad"[i]);
    touch(path[0], 300, 100);
    touch(path[1], 100, 100);
    touch(path[2], 200, 100);
    touch(path[3], 1, 1000); /* the one that will be replaced does not count */
    assert_ok(di_trunk_dir_make_room(al, dir, path[3], 150, 450, &fits, &err), err);
    assert_true(fits && di_exists(path[1]));
    assert_ok(di_trunk_dir_make_room(al, dir, path[3], 150, 350, &fits, &err), err);
    assert_true(fits && !di_exists(path[1]) && di_exists(path[2]) && di_exists(path[0]));
    assert_ok(di_trunk_dir_make_room(al, dir, path[3], 500, 350, &fits, &err), err);
    assert_true(!fits && di_exists(path[2])); /* too large for the folder: nothing goes */
    assert_ok(di_trunk_dir_make_room(al, dir, path[3], 350, 350, &fits, &err), err);
    assert_true(fits && !di_exists(path[2]) && !di_exists(path[0]) && di_exists(path[3]));
    di_remove_tree(dir, NULL);
}

/* What a killed writer left goes; what is being written stays. */
static void dead_writers_are_swept(void **state)
{
    char dir[64], path[128], dead[128];
    di_trunk_shape shape = {ROW, 1};
    di_trunk_writer w;
    dial_error err;
    texts x;

    (void)state;
    make(&x);
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/a.trunk", dir);
    snprintf(dead, sizeof dead, "%s/b.trunk.tmp-1", dir);
    touch(dead, 1, 10);
    assert_ok(di_trunk_write_begin(di_alloc_default(), path, KEY, &shape, &w, &err), err);
    assert_ok(di_trunk_dir_clean(di_alloc_default(), dir, &err), err);
    assert_false(di_exists(dead));
    assert_ok(di_trunk_write_put(&w, &x.view[0], x.rows[0], &err), err);
    assert_false(di_exists(path)); /* nothing under the name before it is whole */
    assert_ok(di_trunk_write_commit(&w, &err), err);
    assert_true(di_exists(path));
    di_remove_tree(dir, NULL);
}

/* Rows of a batch with shared prefixes, out of the trunk and back into texts. */
static void batches_gather_and_scatter(void **state)
{
    texts x;
    dial_error err;
    di_trunk *t = new_trunk(1);
    int32_t group[9] = {0};
    unsigned char rows[64 * ROW], one[LONGEST * ROW];
    di_batch b;
    void *memory = malloc(di_batch_bytes(64, 9));

    (void)state;
    make(&x);
    /* rows of equal prefixes are equal, as the decoder's are */
    for (int i = 0; i < TEXTS; i++)
        for (int k = 0; k < LONGEST * ROW; k++)
            x.rows[i][k] = (unsigned char)(x.ids[i][k / ROW] + k % ROW);
    di_batch_init(&b, memory, 64, 9);
    assert_true(di_batch_pack(&b, x.view, group, 9) > 0);
    assert_true(b.n_rows < 9 * 10 / 2); /* something is shared */
    assert_int_equal(di_trunk_gather(t, &b, x.view, rows), 0);
    assert_ok(di_trunk_add(t, x.view, x.at, TEXTS, &err), err);
    assert_int_equal(di_trunk_gather(t, &b, x.view, rows), 1);
    for (int64_t n = 0; n < b.n_rows; n++)
        for (int k = 0; k < ROW; k++)
            assert_int_equal(rows[n * ROW + k], (unsigned char)(b.id[n] + k));
    for (int i = 0; i < 9; i++) {
        di_trunk_scatter(&b, i, rows, ROW, one);
        assert_memory_equal(one, x.rows[i], (size_t)x.view[i].n * ROW);
    }
    di_trunk_free(t);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_holds_what_it_is_given),
        cmocka_unit_test(file_comes_back),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(oldest_makes_room),
        cmocka_unit_test(dead_writers_are_swept),
        cmocka_unit_test(batches_gather_and_scatter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
