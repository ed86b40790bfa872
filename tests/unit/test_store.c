/* links: tests/unit/image_lab.c tests/unit/store_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/store_tree.c */
/* Datastores: names, files, copies that share, a full store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "storage/store.h"
#include "tests/unit/image_lab.h"
#include "tests/unit/store_lab.h"

typedef unsigned long long ull;

static struct disk *open_file(struct store *s, const char *path, bool read_only)
{
    struct disk *f = NULL;
    enum hv_status status = store_open(s, path, read_only, &f);

    if (status != HV_OK)
        print_message("open %s: %s\n", path, store_error(s));
    assert_int_equal(status, HV_OK);
    return f;
}

static char listed[256];

static void on_name(void *arg, const char *name, const struct store_stat *st)
{
    (void)arg;
    strcat(listed, name);
    strcat(listed, st->directory ? "/ " : " ");
}

static const char *list(struct store *s, const char *path)
{
    listed[0] = 0;
    assert_int_equal(store_list(s, path, on_name, NULL), HV_OK);
    return listed;
}

static void names(void *arg)
{
    struct disk *d = store_lab_device(32 * MIB), *f;
    struct store *s = store_lab_fresh(d);
    struct store_stat st;

    (void)arg;
    assert_ptr_equal(store_find("ds1"), s);
    assert_string_equal(list(s, ""), "");
    assert_int_equal(store_make(s, "web1", true), HV_OK);
    assert_int_equal(store_make(s, "web1/disk.qcow2", false), HV_OK);
    assert_int_equal(store_make(s, "web1/a.conf", false), HV_OK);
    assert_int_equal(store_make(s, "web1", true), HV_EEXIST);
    assert_int_equal(store_make(s, "no/such", false), HV_ENOENT);
    assert_int_equal(store_make(s, "web1/a.conf/x", false), HV_EINVAL);
    static const char *const bad[] = {"..",  "web1/../b", "/a", "web1/",
                                      "a b", "a\"b",      ".",  "\xc3\xa4"};
    for (u32 i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(store_make(s, bad[i], false), HV_EINVAL);
    assert_string_equal(list(s, "web1"), "a.conf disk.qcow2 ");
    assert_int_equal(store_rename(s, "web1", "web1/inside"), HV_EINVAL);
    assert_int_equal(store_rename(s, "web1/a.conf", "b.conf"), HV_OK);
    assert_string_equal(list(s, ""), "b.conf web1/ ");
    assert_int_equal(store_remove(s, "web1"), HV_EBUSY);
    f = open_file(s, "web1/disk.qcow2", false);
    assert_int_equal(store_remove(s, "web1/disk.qcow2"), HV_EBUSY);
    assert_int_equal(store_open(s, "web1/disk.qcow2", true, &f), HV_EBUSY);
    assert_int_equal(store_unmount(s), HV_EBUSY);
    assert_int_equal(disk_close(f), HV_OK);
    assert_int_equal(store_remove(s, "web1/disk.qcow2"), HV_OK);
    assert_int_equal(store_remove(s, "web1"), HV_OK);
    assert_int_equal(store_remove(s, ""), HV_EPERM);
    assert_int_equal(store_stat(s, "web1", &st), HV_ENOENT);
    store_lab_check(s);
    assert_int_equal(store_unmount(s), HV_OK);
    s = store_lab_mount(d);
    assert_string_equal(list(s, ""), "b.conf ");
    assert_int_equal(store_unmount(s), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
}

static void names_and_directories(void **state)
{
    (void)state;
    lab_run(names, NULL);
}

static void files(void *arg)
{
    struct disk *d = store_lab_device(48 * MIB), *a, *b;
    struct store *s = store_lab_fresh(d);
    struct lab_model ma, mb;
    struct store_stat st;
    struct store_usage before, after;

    (void)arg;
    lab_seed(21);
    lab_model_init(&ma, 6 * MIB + 1024);
    lab_model_init(&mb, ma.size);
    assert_int_equal(store_make(s, "a", false), HV_OK);
    a = open_file(s, "a", false);
    assert_int_equal(disk_resize(a, ma.size), HV_OK);
    for (u32 i = 0; i < 60; i++)
        lab_step(a, &ma, 300000);
    lab_compare(a, &ma);
    assert_int_equal(store_copy(s, "a", "b"), HV_EBUSY);
    assert_int_equal(disk_close(a), HV_OK);

    /* A copy takes no room, and then goes its own way. */
    assert_int_equal(store_usage(s, &before), HV_OK);
    assert_int_equal(store_copy(s, "a", "b"), HV_OK);
    assert_int_equal(store_usage(s, &after), HV_OK);
    assert_int_equal(before.used, after.used);
    assert_int_equal(store_stat(s, "b", &st), HV_OK);
    assert_int_equal(st.shared, st.allocated);
    memcpy(mb.bytes, ma.bytes, ma.size);
    a = open_file(s, "a", false);
    b = open_file(s, "b", false);
    for (u32 i = 0; i < 40; i++) {
        lab_step(a, &ma, 100000);
        lab_step(b, &mb, 100000);
    }
    lab_compare(a, &ma);
    lab_compare(b, &mb);
    assert_int_equal(disk_close(a), HV_OK);
    assert_int_equal(disk_close(b), HV_OK);
    store_lab_check(s);
    assert_int_equal(store_unmount(s), HV_OK);
    s = store_lab_mount(d);
    a = open_file(s, "a", true);
    b = open_file(s, "b", true);
    lab_compare(a, &ma);
    lab_compare(b, &mb);
    assert_int_equal(disk_close(a), HV_OK);
    assert_int_equal(disk_close(b), HV_OK);
    assert_int_equal(store_remove(s, "a"), HV_OK);
    b = open_file(s, "b", false);
    lab_compare(b, &mb);
    /* Cut short and made longer again: zeros where it was cut. */
    assert_int_equal(disk_resize(b, 2 * MIB + 512), HV_OK);
    assert_int_equal(disk_resize(b, mb.size), HV_OK);
    memset(mb.bytes + 2 * MIB + 512, 0, mb.size - 2 * MIB - 512);
    lab_compare(b, &mb);
    assert_int_equal(disk_close(b), HV_OK);
    assert_int_equal(store_remove(s, "b"), HV_OK);
    assert_int_equal(store_usage(s, &after), HV_OK);
    assert_int_equal(after.used, 0);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
    lab_model_free(&ma);
    lab_model_free(&mb);
}

static void files_and_copies(void **state)
{
    (void)state;
    lab_run(files, NULL);
}

/* A qcow2 image in a file of the store, until the store is full, and after room was made. */
static void image_in_store(void *arg)
{
    struct disk *d = store_lab_device(40 * MIB), *f, *filler, *disk;
    struct store *s = store_lab_fresh(d);
    struct lab_model m;
    struct image_options o = {.size = 8 * MIB};
    static u8 block[MIB];
    u64 at = 0;
    enum hv_status status = HV_OK;

    (void)arg;
    lab_seed(8);
    lab_model_init(&m, o.size);
    assert_int_equal(store_make(s, "disk", false), HV_OK);
    assert_int_equal(store_make(s, "filler", false), HV_OK);
    f = open_file(s, "disk", false);
    lab_create(f, "qcow2", &o);
    disk = lab_open_one(f, "qcow2", false);
    for (u32 i = 0; i < 30; i++)
        lab_step(disk, &m, 100000);
    filler = open_file(s, "filler", false);
    memset(block, 0x55, sizeof(block));
    for (; status == HV_OK && at < 64 * MIB; at += MIB)
        status = disk_write(filler, at, block, MIB);
    assert_int_equal(status, HV_ENOSPC);
    lab_compare(disk, &m);
    memset(block, 0x66, sizeof(block));
    for (at = 0, status = HV_OK; status == HV_OK && at < o.size; at += 65536) {
        status = disk_write(disk, at, block, 65536);
        if (status == HV_OK)
            memset(m.bytes + at, 0x66, 65536);
    }
    lab_compare(disk, &m);
    assert_int_equal(disk_resize(filler, 0), HV_OK);
    for (u32 i = 0; i < 30; i++)
        lab_step(disk, &m, 100000);
    lab_compare(disk, &m);
    assert_int_equal(disk_close(disk), HV_OK);
    lab_check(f, "qcow2");
    assert_int_equal(disk_close(f), HV_OK);
    assert_int_equal(disk_close(filler), HV_OK);
    store_lab_check(s);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
    lab_model_free(&m);
}

static void an_image_in_a_store_that_gets_full(void **state)
{
    (void)state;
    lab_run(image_in_store, NULL);
}

/* ---- room ------------------------------------------------------------------------------------
 */

static bool only_three(void *arg, u64 done, u64 total)
{
    (void)done, (void)total;
    return ++*(u32 *)arg < 3;
}

static u64 used(struct store *s)
{
    struct store_usage u;

    assert_int_equal(store_usage(s, &u), HV_OK);
    return u.used / MIB;
}

static void make_file(struct store *s, const char *path, u64 size)
{
    struct disk *f;

    assert_int_equal(store_make(s, path, false), HV_OK);
    f = open_file(s, path, false);
    assert_int_equal(disk_resize(f, size), HV_OK);
    assert_int_equal(disk_close(f), HV_OK);
}

/* Random work on a file whose units it has from the beginning, beside one that gets them late. */
static void thick(void *arg)
{
    struct disk *d = store_lab_device(48 * MIB), *a, *b;
    static u8 dirt[MIB];
    struct lab_model ma, mb;
    struct store_stat st;
    u32 calls = 0;

    (void)arg;
    lab_seed(5);
    memset(dirt, 0xee, sizeof(dirt));
    for (u64 at = 0; at < d->size; at += sizeof(dirt))
        assert_int_equal(disk_write(d, at, dirt, sizeof(dirt)), HV_OK);
    struct store *s = store_lab_fresh(d);
    lab_model_init(&ma, 6 * MIB + 512);
    lab_model_init(&mb, 6 * MIB + 512);
    make_file(s, "lazy", ma.size);
    make_file(s, "eager", mb.size);
    assert_int_equal(store_reserve(s, "lazy", STORE_LAZY, NULL, NULL), HV_OK);
    assert_int_equal(store_reserve(s, "eager", STORE_EAGER, only_three, &calls), HV_ETIMEDOUT);
    assert_int_equal(used(s), 7); /* cancelled: as it was */
    assert_int_equal(store_reserve(s, "eager", STORE_EAGER, NULL, NULL), HV_OK);
    assert_int_equal(used(s), 14);
    a = open_file(s, "lazy", false);
    b = open_file(s, "eager", false);
    assert_int_equal(store_reserve(s, "lazy", STORE_LAZY, NULL, NULL), HV_EBUSY);
    lab_compare(a, &ma); /* zeros, whatever the disk had there */
    lab_compare(b, &mb);
    for (u32 i = 0; i < 80; i++) {
        lab_step(a, &ma, 2 * MIB);
        lab_step(b, &mb, 2 * MIB);
    }
    lab_compare(a, &ma);
    lab_compare(b, &mb);
    assert_int_equal(disk_discard(a, 0, 6 * MIB), HV_OK);
    assert_int_equal(disk_zero(a, 0, 6 * MIB), HV_OK);
    memset(ma.bytes, 0, 6 * MIB);
    lab_compare(a, &ma);
    assert_int_equal(used(s), 14); /* what was discarded stays its own */
    assert_int_equal(disk_close(a), HV_OK);
    assert_int_equal(disk_close(b), HV_OK);
    assert_int_equal(store_unmount(s), HV_OK);
    s = store_lab_mount(d);
    assert_int_equal(used(s), 14);
    assert_int_equal(store_stat(s, "lazy", &st), HV_OK);
    assert_int_equal(st.thickness, STORE_LAZY);
    assert_int_equal(st.allocated, 7 * MIB);
    assert_true(st.reserved >= 6 * MIB);
    a = open_file(s, "lazy", false);
    lab_compare(a, &ma);
    assert_int_equal(disk_resize(a, 9 * MIB), HV_OK); /* what it grows by as well */
    assert_int_equal(disk_close(a), HV_OK);
    assert_int_equal(used(s), 16);
    /* A copy has what was written, and no room of its own. */
    assert_int_equal(store_copy(s, "lazy", "copy"), HV_OK);
    assert_int_equal(store_stat(s, "copy", &st), HV_OK);
    assert_int_equal(st.allocated, st.shared);
    assert_int_equal(st.thickness, STORE_THIN);
    /* All or nothing, and a full store does not touch what has its room. */
    make_file(s, "large", 64 * MIB);
    assert_int_equal(store_reserve(s, "large", STORE_LAZY, NULL, NULL), HV_ENOSPC);
    assert_int_equal(used(s), 16);
    a = open_file(s, "large", false);
    enum hv_status status = HV_OK;
    for (u64 at = 0; status == HV_OK; at += MIB)
        status = disk_write(a, at, dirt, MIB);
    assert_int_equal(status, HV_ENOSPC);
    assert_string_equal(store_state(s), "full");
    b = open_file(s, "lazy", false);
    for (u64 at = 0; at < 6 * MIB; at += MIB)
        assert_int_equal(disk_write(b, at, dirt, MIB), HV_OK);
    assert_int_equal(disk_flush(b), HV_OK);
    assert_int_equal(disk_close(b), HV_OK);
    assert_int_equal(disk_close(a), HV_OK);
    static const char *const all[] = {"lazy", "eager", "copy", "large"};
    for (u32 i = 0; i < ARRAY_LEN(all); i++)
        assert_int_equal(store_remove(s, all[i]), HV_OK);
    assert_int_equal(used(s), 0);
    store_lab_check(s);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
    lab_model_free(&ma);
    lab_model_free(&mb);
}

static void thick_files_have_their_room(void **state)
{
    (void)state;
    lab_run(thick, NULL);
}

/* The thin-provisioning slide in small: capacity 24, provisioned 140 %, used 80 %. */
static void alarms_and_provision(void *arg)
{
    struct disk *d = store_lab_device(33 * MIB), *f;
    struct store *s = store_lab_fresh(d);
    struct store_usage u;
    struct image_options o = {.size = 20 * MIB};
    static u8 block[MIB];

    (void)arg;
    memset(block, 7, sizeof(block));
    assert_int_equal(store_usage(s, &u), HV_OK);
    assert_int_equal(u.capacity, 24 * MIB);
    store_set_alerts(s, &(struct store_alerts){{50, 80, 120}});
    assert_string_equal(store_state(s), "ok");
    assert_int_equal(store_make(s, "d.qcow2", false), HV_OK);
    f = open_file(s, "d.qcow2", false);
    lab_create(f, "qcow2", &o);
    assert_int_equal(disk_close(f), HV_OK);
    struct store_change c = {
        .kind = STORE_IMAGE, .path = "d.qcow2", .format = "qcow2", .size = o.size};
    assert_int_equal(store_apply(s, &c, 1), HV_OK);
    make_file(s, "d.raw", 14 * MIB);
    assert_int_equal(store_usage(s, &u), HV_OK);
    assert_int_equal(u.provisioned, 34 * MIB); /* 142 % */
    assert_string_equal(store_state(s), "ok"); /* nobody has told it of an image since */
    c = (struct store_change){.kind = STORE_IMAGE, .path = "d.raw", .format = "raw"};
    assert_int_equal(store_apply(s, &c, 1), HV_OK);
    assert_string_equal(store_state(s), "warning");
    store_set_alerts(s, &(struct store_alerts){{50, 80, 0}});
    assert_string_equal(store_state(s), "ok");
    f = open_file(s, "d.raw", false);
    for (u64 at = 0; at < 11 * MIB; at += MIB)
        assert_int_equal(disk_write(f, at, block, MIB), HV_OK);
    assert_string_equal(store_state(s), "warning");
    assert_int_equal(disk_resize(f, 22 * MIB), HV_OK);
    for (u64 at = 0; at < 19 * MIB; at += MIB)
        assert_int_equal(disk_write(f, at, block, MIB), HV_OK);
    assert_string_equal(store_state(s), "critical");
    assert_int_equal(disk_resize(f, 0), HV_OK);
    assert_int_equal(disk_close(f), HV_OK);
    assert_string_equal(store_state(s), "ok");
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void a_store_says_how_full_it_is(void **state)
{
    (void)state;
    lab_run(alarms_and_provision, NULL);
}

/* A directory with an image over another: the copy's lies over the copy of the other. */
static void tree(void *arg)
{
    struct disk *d = store_lab_device(40 * MIB);
    struct store *s = store_lab_fresh(d);
    struct store_image chain[3];
    u32 count;

    (void)arg;
    assert_int_equal(store_make(s, "a", true), HV_OK);
    assert_int_equal(store_make(s, "a/sub", true), HV_OK);
    make_file(s, "a/base.raw", MIB);
    make_file(s, "a/sub/top.qcow2", MIB);
    struct store_change c[] = {
        {.kind = STORE_IMAGE, .path = "a/base.raw", .format = "raw"},
        {.kind = STORE_IMAGE, .path = "a/sub/top.qcow2", .to = "a/base.raw", .format = "qcow2"},
        {.kind = STORE_PUT, .path = "a/a.conf", .text = "x", .length = 1},
    };
    assert_int_equal(store_apply(s, c, ARRAY_LEN(c)), HV_OK);
    assert_int_equal(store_copy_tree(s, "a", "a/b"), HV_EINVAL);
    assert_int_equal(store_copy_tree(s, "a", "b"), HV_OK);
    assert_string_equal(list(s, "b"), "a.conf base.raw sub/ ");
    assert_int_equal(store_chain(s, "b/sub/top.qcow2", chain, 3, &count), HV_OK);
    assert_int_equal(count, 2);
    assert_string_equal(chain[1].path, "b/base.raw");
    assert_int_equal(store_copy_tree(s, "a", "b"), HV_EEXIST);
    /* An image cannot lie over itself, nor over one that lies over it. */
    struct store_change loops[] = {
        {.kind = STORE_IMAGE, .path = "a/base.raw", .to = "a/sub/top.qcow2", .format = "raw"},
        {.kind = STORE_IMAGE, .path = "a/base.raw", .to = "a/base.raw", .format = "raw"},
    };
    for (u32 i = 0; i < ARRAY_LEN(loops); i++) {
        assert_int_equal(store_apply(s, &loops[i], 1), HV_EINVAL);
        assert_int_equal(store_chain(s, "a/base.raw", chain, 3, &count), HV_OK);
        assert_int_equal(count, 1);
    }
    /* One that fails in the middle leaves nothing. */
    struct disk *f = NULL;
    assert_int_equal(store_open(s, "a/sub/top.qcow2", false, &f), HV_OK);
    assert_int_equal(store_copy_tree(s, "a", "c"), HV_EBUSY);
    assert_int_equal(disk_close(f), HV_OK);
    assert_string_equal(list(s, ""), "a/ b/ ");
    store_lab_check(s);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void directories_are_copied(void **state)
{
    (void)state;
    lab_run(tree, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_directories),
        cmocka_unit_test(files_and_copies),
        cmocka_unit_test(an_image_in_a_store_that_gets_full),
        cmocka_unit_test(thick_files_have_their_room),
        cmocka_unit_test(a_store_says_how_full_it_is),
        cmocka_unit_test(directories_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
