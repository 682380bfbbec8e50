/* Packing into a segment forest: small cases by hand, then random groups taken apart again. */
#include "test.h"

#include "base/rng.h"
#include "data/batch.h"

enum { CAP_ROWS = 4096, CAP_TEXTS = 64, MAX_LENGTH = 40 };

static di_batch new_batch(int64_t cap_rows, int64_t cap_texts)
{
    di_batch b;

    di_batch_init(&b, di_new(di_alloc_default(), di_batch_bytes(cap_rows, cap_texts)), cap_rows,
                  cap_texts);
    return b;
}

static void free_batch(di_batch *b)
{
    di_free(di_alloc_default(), b->id); /* the first array begins the block */
}

/* Ids of the path to a text's leaf, checked for positions; their number. */
static int64_t take_apart(const di_batch *b, int64_t text, int32_t *ids)
{
    int32_t path[2 * CAP_TEXTS], n = di_batch_path(b, b->leaf[text], path, 2 * CAP_TEXTS);
    int64_t at = 0;

    for (int32_t k = 0; k < n; k++) {
        const di_segment *s = &b->segment[path[k]];

        assert_true(s->parent == (k > 0 ? path[k - 1] : -1));
        assert_true(s->start == at && s->n >= 1);
        for (int32_t r = s->row; r < s->row + s->n; r++) {
            assert_int_equal(b->position[r], at);
            ids[at++] = b->id[r];
        }
    }
    return at;
}

/* Everything that batch.h promises about any batch. */
static void check_batch(const di_batch *b, const di_seq_view *text, const int32_t *group, int64_t n)
{
    int32_t ids[MAX_LENGTH];
    int64_t row = 0;

    assert_int_equal(b->n_texts, n);
    assert_int_equal(b->n_rows, di_batch_rows(text, group, n));
    for (int64_t s = 0; s < b->n_segments; s++) { /* rows in the order of segments, none left out */
        assert_int_equal(b->segment[s].row, row);
        row += b->segment[s].n;
        assert_true(b->segment[s].parent < s);
        if (b->segment[s].parent >=
            0) /* trees are neighbours: no root between a node and its parent */
            for (int64_t k = b->segment[s].parent + 1; k <= s; k++)
                assert_true(b->segment[k].parent >= 0);
    }
    assert_int_equal(row, b->n_rows);
    for (int64_t i = 0; i < n; i++) {
        const di_segment *leaf = &b->segment[b->leaf[i]];

        assert_int_equal(take_apart(b, i, ids), text[i].n);
        assert_memory_equal(ids, text[i].id, (size_t)text[i].n * sizeof *ids);
        assert_int_equal(b->length[i], text[i].n);
        assert_int_equal(b->last_row[i], leaf->row + leaf->n - 1);
        for (int64_t k = 0; k < n; k++) assert_true(k == i || b->leaf[k] != b->leaf[i]);
        for (int64_t s = 0; s < b->n_segments; s++) assert_true(b->segment[s].parent != b->leaf[i]);
    }
}

static void the_picture_in_the_header(void **state)
{
    static const int32_t first[] = {1, 2, 3, 4, 5}, second[] = {1, 2, 3, 6};
    const di_seq_view text[] = {{first, 5}, {second, 4}};
    const int32_t group[] = {0, 0};
    const di_segment expected[] = {{0, 3, -1, 0}, {3, 2, 0, 3}, {5, 1, 0, 3}};
    const int32_t id[] = {1, 2, 3, 4, 5, 6}, position[] = {0, 1, 2, 3, 4, 3};
    di_batch b = new_batch(6, 2);
    int32_t path[2] = {9, 9};
    (void)state;
    assert_int_equal(di_batch_pack(&b, text, group, 2), 6);
    assert_int_equal(b.n_segments, 3);
    for (int s = 0; s < 3; s++) assert_memory_equal(&b.segment[s], &expected[s], sizeof *expected);
    assert_memory_equal(b.id, id, sizeof id);
    assert_memory_equal(b.position, position, sizeof position);
    assert_true(b.leaf[0] == 1 && b.leaf[1] == 2 && b.last_row[0] == 4 && b.last_row[1] == 5);
    assert_int_equal(di_batch_path(&b, 2, path, 1), 2); /* too small: nothing is written */
    assert_int_equal(path[0], 9);
    assert_int_equal(di_batch_path(&b, 2, path, 2), 2);
    assert_true(path[0] == 0 && path[1] == 2);
    /* without groups nothing is shared */
    assert_int_equal(di_batch_rows(text, NULL, 2), 9);
    free_batch(&b);
}

/* Equal texts, a text that begins another, one token alone: each keeps a last row of its own. */
static void last_tokens_are_never_shared(void **state)
{
    static const int32_t id[] = {7, 8, 9};
    static const struct {
        int64_t a, b, rows, segments;
    } cases[] = {{3, 3, 4, 3}, {3, 2, 4, 3}, {2, 3, 4, 3},
                 {1, 3, 4, 2}, {1, 1, 2, 2}, {3, 1, 4, 2}};
    const int32_t group[] = {4, 4};
    di_batch b = new_batch(CAP_ROWS, CAP_TEXTS);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const di_seq_view text[] = {{id, cases[i].a}, {id, cases[i].b}};

        assert_int_equal(di_batch_pack(&b, text, group, 2), cases[i].rows);
        assert_int_equal(b.n_segments, cases[i].segments);
        check_batch(&b, text, group, 2);
    }
    free_batch(&b);
}

/* A third text that parts from the others inside their shared segment splits it once more; a text
 * of another beginning in the middle of the group does not tear the tree apart. */
static void more_than_two(void **state)
{
    static const int32_t a[] = {1, 2, 3, 4, 5}, b_[] = {1, 2, 3, 6}, c[] = {9, 9}, d[] = {1, 2, 7},
                         e[] = {9, 9, 9};
    const di_seq_view text[] = {{a, 5}, {b_, 4}, {c, 2}, {d, 3}, {e, 3}};
    const int32_t group[] = {0, 0, 0, 0, 0};
    const di_segment expected[] = {{0, 2, -1, 0}, {2, 1, 0, 2},  {3, 2, 1, 3}, {5, 1, 1, 3},
                                   {6, 1, 0, 2},  {7, 1, -1, 0}, {8, 1, 5, 1}, {9, 2, 5, 1}};
    di_batch b = new_batch(CAP_ROWS, CAP_TEXTS);
    (void)state;
    assert_int_equal(di_batch_pack(&b, text, group, 5), 11);
    assert_int_equal(b.n_segments, 8);
    for (int s = 0; s < 8; s++) assert_memory_equal(&b.segment[s], &expected[s], sizeof *expected);
    check_batch(&b, text, group, 5);
    free_batch(&b);
}

static void capacities(void **state)
{
    static const int32_t id[] = {1, 2, 3, 4};
    const di_seq_view text[] = {{id, 4}, {id, 4}};
    const int32_t group[] = {0, 0};
    di_batch b = new_batch(5, 2);
    (void)state;
    assert_int_equal(di_batch_pack(&b, text, group, 2), 5);
    assert_int_equal(di_batch_pack(&b, text, NULL, 2), -1);
    assert_int_equal(b.n_texts, 0);
    assert_int_equal(di_batch_pack(&b, text, NULL, 0), 0);
    free_batch(&b);
    b = new_batch(100, 1);
    assert_int_equal(di_batch_pack(&b, text, group, 2), -1);
    free_batch(&b);
}

/* Few different ids make long shared beginnings, repeats and prefixes likely. */
static void random_groups(void **state)
{
    static int32_t id[CAP_TEXTS][MAX_LENGTH];
    di_rng r = di_rng_make(3, DI_RNG_SOURCE_ORDER, 0);
    di_batch b = new_batch(CAP_ROWS, CAP_TEXTS);
    int64_t saved = 0;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        int64_t n = 1 + (int64_t)di_rng_below(&r, 24);
        int kinds = 1 + (int)di_rng_below(&r, 3), stay = 1 + (int)di_rng_below(&r, 12);
        di_seq_view text[CAP_TEXTS];
        int32_t group[CAP_TEXTS];

        for (int64_t i = 0; i < n; i++) {
            int64_t length = 1 + (int64_t)di_rng_below(&r, round % 2 ? MAX_LENGTH : 6);

            for (int64_t k = 0; k < length; k++)
                id[i][k] = (int32_t)di_rng_below(&r, (uint64_t)kinds);
            text[i] = (di_seq_view){id[i], length};
            group[i] = i == 0 ? 0 : group[i - 1] + (di_rng_below(&r, (uint64_t)stay) == 0);
            if (i > 0 && di_rng_below(&r, 2)) /* begins like its neighbour */
                memcpy(id[i], id[i - 1], (size_t)(length / 2) * sizeof(int32_t));
        }
        assert_true(di_batch_pack(&b, text, group, n) > 0);
        check_batch(&b, text, group, n);
        saved += di_batch_rows(text, NULL, n) - b.n_rows;
    }
    assert_true(saved > 10000); /* the texts did share something */
    free_batch(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_picture_in_the_header),
        cmocka_unit_test(last_tokens_are_never_shared),
        cmocka_unit_test(more_than_two),
        cmocka_unit_test(capacities),
        cmocka_unit_test(random_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
