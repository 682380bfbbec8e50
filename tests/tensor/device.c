/* Opening devices: names, dtypes, threads, the merged table, failed allocations. */
#include "test.h"

#include "base/alloc.h"
#include "model/device.h"

static void names(void **state)
{
    static const struct {
        const char *name, *dtype, *found;
        dial_status status;
    } rows[] = {
        {"ref", "f32", "ref", DIAL_OK},          {"ref", "auto", "ref", DIAL_OK},
        {"ref", "bf16", "ref", DIAL_OK},         {"cpu", "f32", "cpu", DIAL_OK},
        {"auto", "auto", "cpu", DIAL_OK},        {"cuda", "auto", NULL, DIAL_ERR_USAGE},
        {"cuda:1", "f32", NULL, DIAL_ERR_USAGE}, {"gpu", "f32", NULL, DIAL_ERR_USAGE},
        {"cudax", "f32", NULL, DIAL_ERR_USAGE},  {"", "f32", NULL, DIAL_ERR_USAGE},
        {"ref", "f16", NULL, DIAL_ERR_USAGE},    {"cpu", "", NULL, DIAL_ERR_USAGE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        di_device dev = {.threads = -7};
        dial_error err = {0};
        dial_status st =
            di_device_open(di_alloc_default(), NULL, rows[i].name, rows[i].dtype, 0, &dev, &err);

        assert_int_equal(st, rows[i].status);
        if (st != DIAL_OK) {
            assert_int_equal(dev.threads, -7); /* left untouched */
            assert_true(err.message[0] != '\0');
            continue;
        }
        assert_string_equal(dev.ops->name, rows[i].found);
        assert_true(dev.threads >= 1 && dev.isa[0] != '\0');
        di_device_close(&dev);
        di_device_close(&dev); /* harmless */
    }
}

/* ref computes in bf16 by conversion, so auto does not take it; an explicit wish does. */
static void dtypes(void **state)
{
    static const char *const asked[] = {"auto", "f32", "bf16"};
    static const di_dtype found[] = {DI_F32, DI_F32, DI_BF16};

    (void)state;
    for (int i = 0; i < 3; i++) {
        di_device dev;
        dial_error err;

        assert_ok(di_device_open(di_alloc_default(), NULL, "ref", asked[i], 3, &dev, &err), err);
        assert_int_equal(dev.act, found[i]);
        assert_int_equal(dev.threads, 3);
        di_device_close(&dev);
        assert_ok(di_device_open(di_alloc_default(), NULL, "cpu", "auto", 1, &dev, &err), err);
        assert_int_equal(dev.act, dev.ops->supports(&dev, DI_BF16) >= 2 ? DI_BF16 : DI_F32);
        di_device_close(&dev);
    }
}

/* What cpu leaves out is ref's; nothing is missing; ref itself is unchanged. */
static void tables(void **state)
{
    di_device dev;
    dial_error err;
    int own = 0, all = 0;

    (void)state;
    assert_ok(di_device_open(di_alloc_default(), NULL, "cpu", "f32", 1, &dev, &err), err);
#define X(entry)                                                                                   \
    all++;                                                                                         \
    own += di_cpu_backend()->entry != NULL;                                                        \
    assert_true(di_ref_backend()->entry != NULL);                                                  \
    assert_true(dev.ops->entry == (di_cpu_backend()->entry != NULL ? di_cpu_backend()->entry       \
                                                                   : di_ref_backend()->entry));
    DI_BACKEND_ENTRIES(X)
#undef X
    print_message("cpu (%s) has %d of %d functions of its own\n", dev.isa, own, all);
    di_device_close(&dev);
}

/* A family shares layouts or work memory: all of its members come from one backend. */
static void families(void **state)
{
    const di_backend *c = di_cpu_backend();

    (void)state;
#define SAME(a, b) assert_true((c->a != NULL) == (c->b != NULL))
    SAME(linear_pack, linear_free), SAME(linear_pack, linear_bytes);
    SAME(linear_pack, linear_forward), SAME(linear_pack, linear_backward);
    SAME(lora_bytes, lora_forward), SAME(lora_bytes, lora_backward);
    SAME(attention_bytes, attention_forward), SAME(attention_bytes, attention_backward);
    SAME(critic_bytes, critic_forward), SAME(critic_bytes, critic_input_grad);
    SAME(critic_bytes, critic_backward), SAME(critic_bytes, critic_penalty);
    SAME(buffer_new, buffer_free), SAME(buffer_new, upload), SAME(buffer_new, download);
    SAME(open, close);
#undef SAME
}

/* An allocator whose n-th allocation fails; `live` counts blocks. */
typedef struct failing {
    int countdown, live;
} failing;

static void *failing_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    failing *f = ctx;

    (void)old_size;
    if (new_size == 0) {
        f->live -= p != NULL;
        free(p);
        return NULL;
    }
    if (f->countdown-- == 0) return NULL;
    f->live += p == NULL;
    return realloc(p, new_size);
}

/* Every allocation of open and of linear_pack fails once: an error, and nothing is lost. */
static void failed_allocations(void **state)
{
    static const char *const devices[] = {"ref", "cpu"};
    static const float w[8 * 4] = {1}, bias[8] = {2};

    (void)state;
    for (int k = 0; k < 2; k++) {
        for (int n = 0, done = 0; !done; n++) {
            failing f = {.countdown = n};
            di_alloc al = {failing_resize, &f};
            di_weight part = {w, DI_F32, 8, 4, NULL};
            di_packed *packed = NULL, *int8 = NULL;
            di_device dev = {0};
            dial_error err = {0};
            dial_status st = di_device_open(&al, NULL, devices[k], "f32", 1, &dev, &err);

            if (st == DIAL_OK)
                st = dev.ops->linear_pack(&dev, &part, 1, bias, DI_FORWARD | DI_BACKWARD, &packed,
                                          &err);
            if (st == DIAL_OK)
                st = dev.ops->linear_pack(&dev, &part, 1, bias, DI_FORWARD | DI_INT8, &int8, &err);
            done = st == DIAL_OK;
            if (!done) assert_int_equal(st, DIAL_ERR_NOMEM);
            if (!done) assert_null(int8);
            if (dev.ops != NULL) dev.ops->linear_free(&dev, packed);
            if (dev.ops != NULL) dev.ops->linear_free(&dev, int8);
            di_device_close(&dev);
            assert_int_equal(f.live, 0);
            assert_true(n < 1000);
        }
    }
}

static void buffers(void **state)
{
    static const char *const devices[] = {"ref", "cpu"};

    (void)state;
    for (int k = 0; k < 2; k++) {
        di_device dev;
        dial_error err;
        char in[100], out[100];
        void *p;

        assert_ok(di_device_open(di_alloc_default(), NULL, devices[k], "f32", 1, &dev, &err), err);
        for (int i = 0; i < 100; i++) in[i] = (char)i;
        p = dev.ops->buffer_new(&dev, 100);
        assert_true(p != NULL && (uintptr_t)p % 64 == 0);
        dev.ops->upload(&dev, p, in, 100);
        dev.ops->download(&dev, out, p, 100);
        assert_memory_equal(in, out, 100);
        dev.ops->buffer_free(&dev, p);
        dev.ops->buffer_free(&dev, NULL);
        for (int64_t n = 0, last = 0; n < 3000; n++) {
            int64_t room = dev.ops->row_capacity(&dev, n);

            assert_true(room >= n && room >= last);
            last = room;
        }
        di_device_close(&dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),    cmocka_unit_test(dtypes),  cmocka_unit_test(tables),
        cmocka_unit_test(families), cmocka_unit_test(buffers), cmocka_unit_test(failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
