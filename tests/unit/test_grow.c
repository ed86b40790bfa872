/* links: tests/unit/image_lab.c tests/unit/store_lab.c tests/unit/chain_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/qcow2_parent.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/chain.c storage/merge.c storage/vm_dir.c storage/snapshot.c storage/snapshot_delete.c storage/snapshot_plan.c */
/* Disks that grow while they have snapshots: merged in both directions, and reverted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "storage/snapshot.h"
#include "tests/unit/chain_lab.h"
#include "tests/unit/image_lab.h"
#include "tests/unit/store_lab.h"

#define SMALL (512 * KIB)
#define LARGE (3 * MIB + 512)

static struct vm_dir *make_vm(struct store *s, const char *format)
{
    struct vm_dir *v = NULL;
    char error[IMAGE_ERROR_MAX], path[STORE_PATH_MAX];
    struct image_options o = {.size = SMALL};

    assert_int_equal(vm_dir_make(s, "web1", "web1", &v, error), HV_OK);
    snprintf(v->now.disk[0].file, sizeof(v->now.disk[0].file), "web1-disk0.%s", format);
    snprintf(v->now.disk[0].format, sizeof(v->now.disk[0].format), "%s", format);
    vm_dir_path(v, v->now.disk[0].file, path);
    assert_int_equal(chain_create(s, path, format, &o, NULL, error), HV_OK);
    v->now.disk_count = 1;
    assert_true(vm_dir_set_settings(&v->now, ""));
    assert_int_equal(vm_dir_save(v), HV_OK);
    return v;
}

static void write_some(struct vm_dir *v, struct lab_model *m)
{
    struct chain *c = chain_lab_open(v, &v->now, 0, false);

    assert_int_equal(c->disk->size, m->size);
    for (u32 i = 0; i < 20; i++)
        lab_step(c->disk, m, 60000);
    assert_int_equal(chain_close(c), HV_OK);
}

static void compare(struct vm_dir *v, const struct vm_dir_state *s, const struct lab_model *m)
{
    struct chain *c = chain_lab_open(v, s, 0, true);

    assert_int_equal(c->disk->size, m->size);
    assert_int_equal(c->image[0].size, m->size);
    lab_compare(c->disk, m);
    chain_lab_names(c);
    chain_lab_ask_qemu(c, m);
    assert_int_equal(chain_close(c), HV_OK);
}

static void grow(struct vm_dir *v, struct lab_model *small, struct lab_model *large)
{
    struct chain *c = chain_lab_open(v, &v->now, 0, false);
    char error[IMAGE_ERROR_MAX];

    assert_int_equal(chain_grow(v->store, c, SMALL - 512, error), HV_EINVAL);
    assert_int_equal(chain_grow(v->store, c, LARGE + 1, error), HV_EINVAL);
    assert_non_null(strstr(error, "only grow"));
    assert_int_equal(chain_grow(v->store, c, LARGE, error), HV_OK);
    assert_int_equal(chain_close(c), HV_OK);
    memset(large->bytes, 0, large->size);
    memcpy(large->bytes, small->bytes, SMALL);
}

struct order {
    const char *format;
    enum merge_direction direction;
};

static void one(void *arg)
{
    const struct order *o = arg;
    struct disk *d = store_lab_device(96 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = make_vm(s, o->format);
    struct lab_model small, large;
    struct merge_job job = {.direction = o->direction};

    lab_seed(3);
    lab_model_init(&small, SMALL);
    lab_model_init(&large, LARGE);
    write_some(v, &small);
    assert_int_equal(snapshot_take(v, "s1", "", NULL), HV_OK);
    struct store_stat st;
    char path[STORE_PATH_MAX];
    vm_dir_path(v, v->now.disk[0].file, path);
    assert_int_equal(store_stat(s, path, &st), HV_OK);
    assert_true(st.size < MIB); /* what is new begins small, whatever the disk is */
    grow(v, &small, &large);    /* the new image over it */
    write_some(v, &large);
    compare(v, vm_dir_find(v, "s1"), &small);
    compare(v, &v->now, &large);
    assert_int_equal(snapshot_revert(v, "s1"), HV_OK);
    compare(v, &v->now, &small);
    grow(v, &small, &large);
    write_some(v, &large);
    assert_int_equal(snapshot_take(v, "s2", "", NULL), HV_OK);
    write_some(v, &large);
    assert_int_equal(snapshot_delete(v, "s1", &job, NULL), HV_OK);
    compare(v, &v->now, &large);
    assert_int_equal(snapshot_delete(v, "s2", &job, NULL), HV_OK);
    compare(v, &v->now, &large);
    store_lab_check(s);
    lab_model_free(&small);
    lab_model_free(&large);
    vm_dir_free(v);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void disks_with_snapshots_grow(void **state)
{
    static const char *const formats[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(formats); i++)
        for (u32 way = 0; way < 3; way++) {
            struct order o = {formats[i], (enum merge_direction)way};

            print_message("%s %u\n", o.format, way);
            lab_run(one, &o);
        }
}

struct alone {
    const char *format, *kind, *qemu;
    u32 unit;
    bool check;
};

/* One image by itself grows: at each place where its power can be cut it is the old or the new one.
 */
static void cut_while_it_grows(const struct alone *a, struct disk *file, const struct lab_model *m)
{
    u32 grown = 0, events = lab_events(file);

    for (u32 cut = 0; cut <= events; cut++) {
        struct disk *after = lab_cut(file, cut, cut % 2 ? cut : 0);
        struct disk *d = lab_open_one(after, a->format, false);
        struct lab_model now = {m->bytes, d->size};

        assert_true(d->size == SMALL || d->size == LARGE);
        grown += d->size == LARGE;
        now.size = SMALL; /* behind it there may be what a fixed image's footer was */
        static u8 buf[SMALL];
        assert_int_equal(disk_read(d, 0, buf, SMALL), HV_OK);
        assert_memory_equal(buf, now.bytes, SMALL);
        assert_int_equal(disk_write(d, 0, buf, 512), HV_OK);
        assert_int_equal(disk_close(d), HV_OK);
        lab_check(after, a->format);
        disk_close(after);
    }
    print_message("%s %s: %u cuts, %u of them as grown\n", a->format, a->kind, events, grown);
    assert_true(grown);
}

static void grow_alone(void *arg)
{
    const struct alone *a = arg;
    struct image_options o = {.size = SMALL, .kind = a->kind, .unit = a->unit, .id = {7}};
    struct disk *file = lab_file("file"), *d;
    struct lab_model m;

    lab_seed(5);
    lab_model_init(&m, LARGE);
    m.size = SMALL;
    lab_create(file, a->format, &o);
    d = lab_open_one(file, a->format, false);
    for (u32 i = 0; i < 20; i++)
        lab_step(d, &m, 60000);
    assert_int_equal(disk_close(d), HV_OK);
    lab_record(file);
    d = lab_open_one(file, a->format, false);
    assert_int_equal(disk_resize(d, LARGE), HV_OK);
    cut_while_it_grows(a, file, &m);
    lab_forget_record(file);
    m.size = LARGE;
    lab_compare(d, &m);
    for (u32 i = 0; i < 30; i++)
        lab_step(d, &m, 60000);
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, a->format);
    lab_ask_qemu(file, &m, a->qemu, a->check);
    d = lab_open_one(file, a->format, false);
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    disk_close(file);
    lab_model_free(&m);
}

static void images_of_each_kind_grow(void **state)
{
    static const struct alone kinds[] = {
        {"raw", "flat", "raw", 0, false},       {"qcow2", "dynamic", "qcow2", 4096, true},
        {"vdi", "dynamic", "vdi", 0, true},     {"vdi", "fixed", "vdi", 0, true},
        {"vhd", "dynamic", "vpc", 4096, false}, {"vhd", "fixed", "vpc", 0, false},
        {"vmdk", "sparse", "vmdk", 4096, true}, {"vhdx", "dynamic", "vhdx", MIB, true},
        {"vhdx", "fixed", "vhdx", MIB, true},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++) {
        print_message("%s %s\n", kinds[i].format, kinds[i].kind);
        lab_run(grow_alone, (void *)(uintptr_t)&kinds[i]);
    }
}

static void snapshots_grow_old(void **state)
{
    struct vm_dir_state s = {.time = 1700000000};
    (void)state;
    assert_false(snapshot_is_old(&s, s.time, 72));
    assert_false(snapshot_is_old(&s, s.time + 72 * 3600 - 1, 72));
    assert_true(snapshot_is_old(&s, s.time + 72 * 3600, 72));
    assert_false(snapshot_is_old(&s, s.time - 400 * 3600, 72)); /* the clock was wrong */
    s.time = 0;
    assert_false(snapshot_is_old(&s, 1700000000, 72));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_of_each_kind_grow),
        cmocka_unit_test(disks_with_snapshots_grow),
        cmocka_unit_test(snapshots_grow_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
