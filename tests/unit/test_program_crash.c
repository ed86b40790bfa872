/* links: tests/unit/image_lab.c tests/unit/store_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/store_tree.c */
/* The control partition ends without a word while guests go on: whatever it has told a guest of is
 * on the device, since nobody is told before what disk_unsaved() speaks of is flushed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "storage/store.h"
#include "tests/unit/image_lab.h"
#include "tests/unit/store_lab.h"

#define SIZE (4 * MIB)
#define LIVES 12u
#define STEPS 25u

static const struct row {
    const char *format;
    u32 unit;
    u32 block; /* of the disk that the datastore is on; 0: a file by itself */
    bool ever; /* some writes leave something unsaved */
} rows[] = {
    {"raw", 0, 0, false},       {"raw", 0, 512, true},       {"qcow2", 0, 0, true},
    {"qcow2", 4096, 512, true}, {"qcow2", 65536, 512, true}, {"qcow2", 65536, 4096, true},
    {"vmdk", 4096, 0, true},    {"vmdk", 65536, 512, true},  {"vhd", 65536, 512, true},
    {"vhdx", MIB, 512, true},   {"vdi", 0, 512, true},       {"raw", 0, 4096, true},
};

struct bed { /* what one life of the program has open */
    const struct row *row;
    struct disk *device, *file, *disk;
    struct store *store;
};

static void open_all(struct bed *b)
{
    b->file = b->device;
    if (b->row->block) {
        b->store = store_lab_mount(b->device);
        assert_int_equal(store_open(b->store, "d", false, &b->file), HV_OK);
    }
    b->disk = lab_open_one(b->file, b->row->format, false);
}

static void close_all(struct bed *b)
{
    assert_int_equal(disk_close(b->disk), HV_OK);
    if (!b->store)
        return;
    assert_int_equal(disk_close(b->file), HV_OK);
    assert_int_equal(store_unmount(b->store), HV_OK);
}

static struct disk *device(const struct row *r)
{
    struct disk *d = r->block ? store_lab_device(48 * MIB) : lab_file("file");

    if (r->block)
        d->block_size = r->block;
    return d;
}

static void make(struct bed *b)
{
    struct image_options o = {.size = SIZE, .unit = b->row->unit};

    b->device = device(b->row);
    b->file = b->device;
    if (b->row->block) {
        b->store = store_lab_fresh(b->device);
        assert_int_equal(store_make(b->store, "d", false), HV_OK);
        assert_int_equal(store_open(b->store, "d", false, &b->file), HV_OK);
    }
    lab_create(b->file, b->row->format, &o);
    b->disk = lab_open_one(b->file, b->row->format, false);
    close_all(b);
}

/* As virtio-blk does before it answers; true: something was unsaved. */
static bool save(struct disk *d)
{
    bool was = disk_unsaved(d);

    if (was)
        assert_int_equal(disk_flush(d), HV_OK);
    assert_false(disk_unsaved(d));
    return was;
}

/* Requests, one by one and many at once; how often something was unsaved. */
static u32 work(struct bed *b, struct lab_model *m)
{
    u32 count = 0;

    for (u32 i = 0; i < STEPS; i++) {
        if (i % 5 == 4)
            lab_burst(b->disk, m, 16, 64 * KIB);
        else
            lab_step(b->disk, m, 128 * KIB);
        count += save(b->disk);
    }
    return count;
}

/* Where data lies already, writing it again costs no flush. */
static void rewrite(struct bed *b, struct lab_model *m)
{
    for (u32 i = 0; i < 2; i++) {
        assert_int_equal(disk_write(b->disk, MIB, m->bytes, 64 * KIB), HV_OK);
        assert_false(save(b->disk) && i);
    }
    memcpy(m->bytes + MIB, m->bytes, 64 * KIB);
}

static void lives(void *arg)
{
    struct bed b = {.row = arg};
    struct lab_model m;
    u32 unsaved = 0;

    lab_model_init(&m, SIZE);
    make(&b);
    for (u32 i = 0; i < LIVES; i++) {
        struct disk *left = device(b.row);

        open_all(&b);
        lab_compare(b.disk, &m);
        lab_delay(b.device, true);
        unsaved += work(&b, &m);
        rewrite(&b, &m);
        lab_delay(b.device, false);
        lab_copy(left, b.device); /* it ends here; the rest of its life leaves no trace */
        close_all(&b);
        assert_int_equal(disk_close(b.device), HV_OK);
        b.device = left;
    }
    open_all(&b);
    lab_compare(b.disk, &m);
    close_all(&b);
    disk_close(b.device);
    lab_model_free(&m);
    print_message("%s%s: %u of %u times something was unsaved\n", b.row->format,
                  b.row->block ? " in a store" : "", unsaved, LIVES * STEPS);
    assert_int_equal(b.row->ever, unsaved > 0);
}

/* A flush that comes while another is at work ends no earlier than that one. */
static bool first_done, second_done;

static void on_first(struct disk_io *io)
{
    assert_int_equal(io->status, HV_OK);
    assert_false(second_done);
    first_done = true;
}

static void on_second(struct disk_io *io)
{
    assert_int_equal(io->status, HV_OK);
    assert_true(first_done);
    second_done = true;
}

static void two(void *arg)
{
    static u8 buf[4096];
    struct disk *file = lab_file("file");
    struct image_options o = {.size = SIZE};
    struct disk_io first = {.op = DISK_FLUSH, .done = on_first};
    struct disk_io second = {.op = DISK_FLUSH, .done = on_second};

    (void)arg;
    lab_create(file, "qcow2", &o);
    struct disk *d = lab_open_one(file, "qcow2", false);
    assert_int_equal(disk_write(d, 0, buf, sizeof(buf)), HV_OK);
    lab_delay(file, true);
    disk_submit(d, &first);
    fiber_yield();
    assert_false(first_done);
    disk_submit(d, &second);
    while (!second_done)
        fiber_yield();
    lab_delay(file, false);
    assert_int_equal(disk_close(d), HV_OK);
    disk_close(file);
}

static void nothing_is_lost(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        lab_seed(i + 1);
        lab_run(lives, (void *)&rows[i]);
    }
}

static void flushes_wait_for_each_other(void **state)
{
    (void)state;
    lab_run(two, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(flushes_wait_for_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
