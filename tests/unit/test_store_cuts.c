/* links: tests/unit/image_lab.c tests/unit/store_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/store_tree.c */
/* Datastores when the power is cut at every write: a workload of names, files and copies, and files
 * that are written and flushed at the same time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "storage/store.h"
#include "tests/unit/image_lab.h"
#include "tests/unit/store_lab.h"

static struct disk *open_file(struct store *s, const char *path, bool read_only)
{
    struct disk *f = NULL;
    enum hv_status status = store_open(s, path, read_only, &f);

    if (status != HV_OK)
        print_message("open %s: %s\n", path, store_error(s));
    assert_int_equal(status, HV_OK);
    return f;
}

/* ---- power cuts -------------------------------------------------------------------------------
 */

#define FILES 4u
#define SECTORS 6144u /* of a file: three units */

struct deed { /* what the workload did to file `file`: all sectors from..from+count hold value */
    u32 file, from, count, value;
    u32 begun, done; /* recorded events before and after; done ~0: not acknowledged by a flush */
    bool removed, copied;
    u32 source;
};

static struct deed deeds[256];
static u32 deed_count;

static const char *file_name(u32 file)
{
    static const char *const all[FILES] = {"f0", "f1", "dir/f2", "dir/copy"};

    return all[file];
}

/* Values have the file in the high half: whoever sees another's is shown what is not its own.  The
 * copy may have what its source had. */
static void work(struct disk *d, struct store *s)
{
    static u32 buf[256 * 128];

    assert_int_equal(store_make(s, "dir", true), HV_OK);
    for (u32 round = 0; round < 24; round++) {
        u32 file = round % 3;
        struct store_stat st;
        struct disk *f;

        if (round == 9 || round == 16) { /* its units go to others */
            deeds[deed_count++] =
                (struct deed){.file = file, .removed = true, .begun = lab_events(d), .done = ~0u};
            assert_int_equal(store_remove(s, file_name(file)), HV_OK);
            deeds[deed_count - 1].done = lab_events(d);
            continue;
        }
        if (round == 12) {
            deeds[deed_count++] = (struct deed){
                .file = 3, .copied = true, .source = 1, .begun = lab_events(d), .done = ~0u};
            assert_int_equal(store_copy(s, file_name(1), file_name(3)), HV_OK);
            deeds[deed_count - 1].done = lab_events(d);
        }
        if (store_stat(s, file_name(file), &st) == HV_ENOENT)
            assert_int_equal(store_make(s, file_name(file), false), HV_OK);
        f = open_file(s, file_name(file), false);
        if (file == 1 && f->size < SECTORS * 512) { /* one has its room from the beginning */
            assert_int_equal(disk_resize(f, SECTORS * 512), HV_OK);
            assert_int_equal(disk_close(f), HV_OK);
            assert_int_equal(store_reserve(s, file_name(file), STORE_LAZY, NULL, NULL), HV_OK);
            f = open_file(s, file_name(file), false);
        }
        if (f->size < SECTORS * 512)
            assert_int_equal(disk_resize(f, SECTORS * 512), HV_OK);
        u32 first = deed_count;
        for (u32 i = 0; i < 3; i++) {
            struct deed *w = &deeds[deed_count++];

            *w = (struct deed){.file = file, .begun = lab_events(d), .done = ~0u};
            w->count = 1 + lab_random() % 200;
            w->from = lab_random() % (SECTORS - w->count);
            w->value = (file + 1) << 16 | deed_count;
            for (u32 j = 0; j < w->count * 128; j++)
                buf[j] = w->value;
            assert_int_equal(disk_write(f, w->from * 512ull, buf, w->count * 512ull), HV_OK);
        }
        assert_int_equal(disk_flush(f), HV_OK);
        for (u32 i = first; i < deed_count; i++)
            deeds[i].done = lab_events(d);
        assert_int_equal(disk_close(f), HV_OK);
    }
}

/* Replays the deeds of one file: what each sector must be (acknowledged), and whether it may be
 * something else because later deeds had begun. */
static void expect(u32 file, u32 cut, bool *exists, bool *sure, u32 *value)
{
    *exists = false;
    *sure = true;
    memset(value, 0, SECTORS * 4);
    for (u32 i = 0; i < deed_count; i++) {
        const struct deed *w = &deeds[i];

        if (w->file != file || w->begun > cut)
            continue;
        if (w->done > cut) {
            *sure = false;
            continue;
        }
        *exists = !w->removed;
        if (w->removed)
            memset(value, 0, SECTORS * 4);
        for (u32 j = 0; j < w->count; j++)
            value[w->from + j] = w->value;
        if (w->copied) {
            bool there, certain;

            expect(w->source, w->begun, &there, &certain, value);
            *exists = there;
        }
    }
}

static bool may_be(u32 file, u32 sector, u32 value, u32 cut)
{
    if (!value)
        return true;
    for (u32 i = 0; i < deed_count; i++) {
        const struct deed *w = &deeds[i];

        if (w->begun <= cut && w->value == value && sector >= w->from &&
            sector < w->from + w->count)
            return w->file == file || (file == 3 && w->file == 1);
    }
    return false;
}

static void verify(struct store *s, u32 cut)
{
    static u32 value[SECTORS], buf[SECTORS * 128];

    for (u32 file = 0; file < FILES; file++) {
        bool exists, sure;
        struct store_stat st;
        enum hv_status status = store_stat(s, file_name(file), &st);

        expect(file, cut, &exists, &sure, value);
        if (status != HV_OK) {
            assert_int_equal(status, HV_ENOENT);
            assert_true(!exists || !sure);
            continue;
        }
        struct disk *f = open_file(s, file_name(file), true);
        u32 sectors = (u32)(f->size / 512);
        if (exists && sure)
            assert_int_equal(sectors, SECTORS);
        if (sectors)
            assert_int_equal(disk_read(f, 0, buf, f->size), HV_OK);
        for (u32 n = 0; n < sectors; n++) {
            u32 has = buf[n * 128];

            assert_true(buf[n * 128 + 127] == has || !sure);
            if (!may_be(file, n, has, cut))
                print_message("cut %u: %s sector %u has %x\n", cut, file_name(file), n, has);
            assert_true(may_be(file, n, has, cut));
            if (sure && exists)
                assert_int_equal(has, value[n]);
        }
        assert_int_equal(disk_close(f), HV_OK);
    }
}

static void cut_store(void *arg)
{
    struct disk *d = store_lab_device(32 * MIB);
    struct store *s;
    u32 cuts = 0;
    static u8 dirt[MIB];

    (void)arg;
    lab_seed(77);
    memset(dirt, 0xee, sizeof(dirt)); /* what the disk held before belongs to nobody */
    for (u64 at = 0; at < d->size; at += sizeof(dirt))
        assert_int_equal(disk_write(d, at, dirt, sizeof(dirt)), HV_OK);
    s = store_lab_fresh(d);
    assert_int_equal(store_unmount(s), HV_OK);
    lab_record(d);
    s = store_lab_mount(d);
    work(d, s);
    assert_int_equal(store_unmount(s), HV_OK);
    u32 events = lab_events(d);
    for (u32 cut = 0; cut <= events; cut++) {
        for (u32 way = 0; way < 3; way++) { /* all that was written, or two random parts of it */
            struct disk *after = lab_cut(d, cut, way ? cut * 3 + way : 0);

            after->block_size = 512;
            after->growable = false;
            s = store_lab_mount(after);
            store_lab_check(s);
            verify(s, cut);
            assert_int_equal(store_unmount(s), HV_OK);
            assert_int_equal(disk_close(after), HV_OK);
            cuts++;
        }
    }
    print_message("%u power cuts\n", cuts);
    assert_true(cuts >= 1000);
    disk_close(d);
}

static void a_power_cut_at_any_write_loses_nothing(void **state)
{
    (void)state;
    lab_run(cut_store, NULL);
}

/* ---- several files at the same time -----------------------------------------------------------
 */

#define WRITERS 6u
#define ROUNDS 5u

struct writer { /* puts its number and the round into a unit a round, and flushes */
    struct disk *device, *file;
    u32 number, begun[ROUNDS], done[ROUNDS]; /* recorded events; ~0: never */
    bool ended;
};

static struct writer writers[WRITERS];

static u32 value_of(u32 writer, u32 round)
{
    return (writer + 1) << 8 | (round + 1);
}

static void write_rounds(void *arg)
{
    struct writer *w = arg;
    u32 sector[128];

    for (u32 round = 0; round < ROUNDS; round++) {
        for (u32 i = 0; i < 128; i++)
            sector[i] = value_of(w->number, round);
        w->begun[round] = lab_events(w->device);
        assert_int_equal(disk_write(w->file, round * STORE_UNIT, sector, 512), HV_OK);
        assert_int_equal(disk_flush(w->file), HV_OK);
        w->done[round] = lab_events(w->device);
    }
    w->ended = true;
}

/* together: each in a fiber of its own.  Returns the flushes of the device. */
static u32 write_all(struct disk *d, struct store *s, bool together)
{
    u32 before = lab_flushes_before(d, lab_events(d));

    for (u32 i = 0; i < WRITERS; i++) {
        char name[8];

        snprintf(name, sizeof(name), "w%u", i);
        writers[i] = (struct writer){.device = d, .number = i};
        memset(writers[i].done, 0xff, sizeof(writers[i].done));
        memset(writers[i].begun, 0xff, sizeof(writers[i].begun));
        writers[i].file = open_file(s, name, false);
    }
    lab_delay(d, together);
    for (u32 i = 0; i < WRITERS; i++)
        if (together)
            fiber_spawn("writer", write_rounds, &writers[i]);
        else
            write_rounds(&writers[i]);
    for (u32 i = 0; i < WRITERS; i++)
        while (!writers[i].ended)
            fiber_yield();
    lab_delay(d, false);
    u32 flushes = lab_flushes_before(d, lab_events(d)) - before;
    for (u32 i = 0; i < WRITERS; i++)
        assert_int_equal(disk_close(writers[i].file), HV_OK);
    return flushes;
}

static struct store *store_with_files(struct disk *d)
{
    struct store *s = store_lab_fresh(d);

    for (u32 i = 0; i < WRITERS; i++) {
        char name[8];
        struct disk *f;

        snprintf(name, sizeof(name), "w%u", i);
        assert_int_equal(store_make(s, name, false), HV_OK);
        f = open_file(s, name, false);
        assert_int_equal(disk_resize(f, ROUNDS * STORE_UNIT), HV_OK);
        assert_int_equal(disk_close(f), HV_OK);
    }
    return s;
}

static void verify_writers(struct store *s, u32 cut)
{
    for (u32 i = 0; i < WRITERS; i++) {
        char name[8];

        snprintf(name, sizeof(name), "w%u", i);
        struct disk *f = open_file(s, name, true);
        for (u32 round = 0; round < ROUNDS; round++) {
            u32 sector[128];
            bool may = writers[i].begun[round] <= cut, must = writers[i].done[round] <= cut;

            assert_int_equal(disk_read(f, round * STORE_UNIT, sector, 512), HV_OK);
            if (must)
                assert_int_equal(sector[0], value_of(i, round));
            assert_true(!sector[0] || (may && sector[0] == value_of(i, round)));
        }
        assert_int_equal(disk_close(f), HV_OK);
    }
}

static void cut_writers(void *arg)
{
    struct disk *d = store_lab_device(48 * MIB);
    struct store *s = store_with_files(d);

    (void)arg;
    lab_record(d);
    u32 alone = write_all(d, s, false);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);

    d = store_lab_device(48 * MIB);
    s = store_with_files(d);
    assert_int_equal(store_unmount(s), HV_OK);
    lab_seed(91);
    lab_record(d);
    s = store_lab_mount(d);
    u32 together = write_all(d, s, true);
    assert_int_equal(store_unmount(s), HV_OK);
    print_message("%u flushes, %u when each file is alone\n", together, alone);
    assert_true(together * 2 < alone);
    for (u32 cut = 0; cut <= lab_events(d); cut++) {
        struct disk *after = lab_cut(d, cut, cut % 3 ? cut : 0);

        after->block_size = 512;
        after->growable = false;
        s = store_lab_mount(after);
        store_lab_check(s);
        verify_writers(s, cut);
        assert_int_equal(store_unmount(s), HV_OK);
        assert_int_equal(disk_close(after), HV_OK);
    }
    disk_close(d);
}

static void files_that_are_flushed_together_share_a_transaction(void **state)
{
    (void)state;
    lab_run(cut_writers, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_flushed_together_share_a_transaction),
        cmocka_unit_test(a_power_cut_at_any_write_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
