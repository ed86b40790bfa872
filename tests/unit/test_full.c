/* links: tests/unit/image_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* The disk full at every allocation of an image, for each format: the request fails, nothing else
 * does, and with room again it goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/image_lab.h"

#define WRITES 24u

struct kind {
    const char *format;
    u64 size;
    u32 unit;
};

static const struct kind kinds[] = {
    {"qcow2", MIB, 4096}, {"qcow2", MIB, 65536}, {"vdi", MIB, 65536},        {"vhd", MIB, 65536},
    {"vmdk", MIB, 4096},  {"vmdk", MIB, 65536},  {"vhdx", 3 * MIB, 1 * MIB},
};

static u8 block[40960];

/* The n-th write of the workload, here and there on the disk. */
static u64 place(const struct kind *k, u32 n)
{
    return n * 37 % WRITES * (k->size / WRITES) / 512 * 512;
}

static enum hv_status step(struct disk *d, const struct kind *k, u32 n, struct lab_model *m)
{
    u64 at = place(k, n);

    memset(block, (int)n + 1, sizeof(block));
    enum hv_status status = disk_write(d, at, block, sizeof(block));
    if (status == HV_OK && m)
        memcpy(m->bytes + at, block, sizeof(block));
    return status;
}

/* Where the file begins and what it needs in the end. */
static void span_of(const struct kind *k, const struct image_options *o, u64 *first, u64 *end)
{
    struct disk *file = lab_file("file");

    lab_create(file, k->format, o);
    struct disk *d = lab_open_one(file, k->format, false);
    *first = image_of(d, 0)->end;
    for (u32 n = 0; n < WRITES; n++) {
        assert_int_equal(step(d, k, n, NULL), HV_OK);
        if (n % 8 == 7)
            assert_int_equal(disk_flush(d), HV_OK);
    }
    *end = image_of(d, 0)->end;
    assert_int_equal(disk_close(d), HV_OK);
    disk_close(file);
}

/* What failed may have been written in part: the model has it as it is then. */
static void take_over(struct disk *d, const struct kind *k, u32 n, struct lab_model *m)
{
    u64 at = place(k, n);
    static u8 now[sizeof(block)];

    assert_int_equal(disk_read(d, at, now, sizeof(now)), HV_OK);
    for (u32 i = 0; i < sizeof(now); i++)
        assert_true(now[i] == m->bytes[at + i] || now[i] == (u8)(n + 1));
    memcpy(m->bytes + at, now, sizeof(now));
}

static void one_limit(const struct kind *k, const struct image_options *o, u64 limit)
{
    struct disk *file = lab_file("file");
    struct lab_model m;
    u32 failed = 0;

    lab_model_init(&m, k->size);
    lab_create(file, k->format, o);
    struct disk *d = lab_open_one(file, k->format, false);
    lab_limit(file, limit);
    for (u32 n = 0; n < WRITES; n++) {
        enum hv_status status = step(d, k, n, &m);

        assert_true(status == HV_OK || status == HV_ENOSPC);
        if (status != HV_OK) {
            failed++;
            take_over(d, k, n, &m);
        }
        if (n % 8 == 7)
            assert_int_equal(disk_flush(d), HV_OK);
    }
    assert_true(failed);
    lab_compare(d, &m);
    lab_limit(file, 1ull << 40);
    for (u32 n = 0; n < WRITES; n++)
        assert_int_equal(step(d, k, n, &m), HV_OK);
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, k->format);
    d = lab_open_one(file, k->format, true);
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    disk_close(file);
    lab_model_free(&m);
}

static void full(void *arg)
{
    const struct kind *k = arg;
    struct image_options o = {.size = k->size, .unit = k->unit, .id = {3}};
    u64 first, end, pace = MIN(k->unit, 16u * KIB);
    u32 count = 0;

    span_of(k, &o, &first, &end);
    for (u64 limit = ROUND_UP(first, pace); limit < end; limit += pace, count++)
        one_limit(k, &o, limit);
    print_message("%s, unit %u: full at %u places\n", k->format, k->unit, count);
    assert_true(count > 10);
}

static void a_full_disk_at_every_allocation(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++)
        lab_run(full, (void *)(uintptr_t)&kinds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
