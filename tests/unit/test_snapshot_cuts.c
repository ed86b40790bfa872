/* links: tests/unit/image_lab.c tests/unit/store_lab.c tests/unit/chain_lab.c tests/unit/tree_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/qcow2_parent.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/chain.c storage/merge.c storage/vm_dir.c storage/snapshot.c storage/snapshot_delete.c storage/snapshot_plan.c */
/* Snapshots when the power goes at every write, and when the store is full at every allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/snapshot.h"
#include "tests/unit/chain_lab.h"
#include "tests/unit/image_lab.h"
#include "tests/unit/store_lab.h"
#include "tests/unit/tree_lab.h"

/* ---- power cuts ------------------------------------------------------------------------------ */

struct moment { /* after an operation: the tree, and a checksum of each disk */
    u32 event;  /* recorded when it had returned */
    bool wrote; /* it changed what is now, without a transaction */
    u32 count;
    struct {
        char name[VM_DIR_NAME], parent[VM_DIR_NAME];
        u64 sum[TREE_LAB_DISKS];
        u32 nvram;
    } state[TREE_LAB_STATES];
};

static u64 sum(const u8 *bytes, u64 len)
{
    u64 sum = len, word;

    for (u64 i = 0; i < len; i += 8) {
        memcpy(&word, bytes + i, 8);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 29;
    }
    return sum;
}

static void remember(struct moment *t, const struct tree_lab *m, u32 event, bool wrote)
{
    *t = (struct moment){.event = event, .wrote = wrote, .count = m->count};
    for (u32 i = 0; i < m->count; i++) {
        memcpy(t->state[i].name, m->state[i]->name, VM_DIR_NAME);
        memcpy(t->state[i].parent, m->state[i]->parent, VM_DIR_NAME);
        t->state[i].nvram = m->state[i]->nvram;
        for (u32 d = 0; d < TREE_LAB_DISKS; d++)
            t->state[i].sum[d] = sum(m->state[i]->disk[d].bytes, tree_lab_sizes[d]);
    }
}

static bool same_tree(struct vm_dir *v, const struct moment *t)
{
    bool same = v->snapshot_count + 1 == t->count;

    for (u32 i = 0; i < t->count && same; i++) {
        const struct vm_dir_state *s = i ? vm_dir_find(v, t->state[i].name) : &v->now;

        same = s && !strcmp(s->parent, t->state[i].parent);
    }
    return same;
}

static u64 sum_of(struct vm_dir *v, const struct vm_dir_state *s, u32 disk)
{
    static u8 buf[2 * MIB];
    struct chain *c = chain_lab_open(v, s, disk, true);

    assert_int_equal(c->disk->size, tree_lab_sizes[disk]);
    assert_int_equal(disk_read(c->disk, 0, buf, tree_lab_sizes[disk]), HV_OK);
    assert_int_equal(chain_close(c), HV_OK);
    return sum(buf, tree_lab_sizes[disk]);
}

/* now_too: nothing was being written, so what is now is known as well. */
static bool holds(struct vm_dir *v, const struct moment *t, bool now_too)
{
    if (!same_tree(v, t))
        return false;
    for (u32 i = now_too ? 0 : 1; i < t->count; i++) {
        if (tree_lab_nvram(v, t->state[i].name) != t->state[i].nvram)
            return false;
        for (u32 d = 0; d < TREE_LAB_DISKS; d++)
            if (sum_of(v, i ? vm_dir_find(v, t->state[i].name) : &v->now, d) != t->state[i].sum[d])
                return false;
    }
    return true;
}

static struct moment moments[64];
static u32 moment_count;

static void work(struct disk *d, struct vm_dir *v, struct tree_lab *m)
{
    static const char script[] = "TwTwRTwDwD";
    u32 number = 0;

    for (u32 i = 0; script[i]; i++) {
        struct merge_job job = {.direction = (enum merge_direction)(i % 3)};
        char name[VM_DIR_NAME] = "";
        u32 pick = m->count > 1 ? 1 + i % (m->count - 1) : 0;

        if (pick)
            memcpy(name, m->state[pick]->name, sizeof(name));
        if (script[i] == 'w') {
            tree_lab_write(v, m, 2);
        } else if (script[i] == 'T') {
            snprintf(name, sizeof(name), "s%u", ++number);
            expect(v, snapshot_take(v, name, "", NULL), HV_OK);
            tree_lab_take(m, name);
        } else if (script[i] == 'R' && pick) {
            expect(v, snapshot_revert(v, name), HV_OK);
            tree_lab_revert(m, name);
        } else if (pick) {
            expect(v, snapshot_delete(v, name, &job, NULL), HV_OK);
            tree_lab_delete(m, name);
        }
        remember(&moments[moment_count++], m, lab_events(d), script[i] == 'w');
    }
}

static void verify_cut(struct disk *after, u32 cut)
{
    struct store *s = store_lab_mount(after);
    struct vm_dir *v = tree_lab_load(s);
    u32 last = 0;

    while (last + 1 < moment_count && moments[last + 1].event <= cut)
        last++;
    const struct moment *next = last + 1 < moment_count ? &moments[last + 1] : NULL;
    store_lab_check(s);
    bool fine = holds(v, &moments[last], !next || !next->wrote) ||
                (next && !next->wrote && holds(v, next, true));
    if (!fine)
        print_message("cut %u: after operation %u, before event %u\n", cut, last,
                      next ? next->event : 0);
    assert_true(fine);
    /* It goes on from there. */
    assert_int_equal(snapshot_sweep(v), HV_OK);
    if (cut % 8 == 0) {
        expect(v, snapshot_take(v, "after", "", NULL), HV_OK);
        struct merge_job job = {0};
        expect(v, snapshot_delete(v, "after", &job, NULL), HV_OK);
        u32 needed = tree_lab_files(s);
        expect(v, snapshot_sweep(v), HV_OK);
        assert_int_equal(tree_lab_files(s), needed); /* nothing else was lying about */
    }
    vm_dir_free(v);
    assert_int_equal(store_unmount(s), HV_OK);
}

static void cuts(void *arg)
{
    struct disk *d = store_lab_device(40 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = tree_lab_make(s);
    struct tree_lab m;

    (void)arg;
    lab_seed(37);
    tree_lab_init(&m);
    lab_record(d);
    remember(&moments[moment_count++], &m, 0, false);
    work(d, v, &m);
    vm_dir_free(v);
    tree_lab_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    u32 events = lab_events(d);
    for (u32 cut = 0; cut <= events; cut++) {
        struct disk *after = lab_cut(d, cut, cut % 3 ? cut : 0);

        after->block_size = 512;
        after->growable = false;
        verify_cut(after, cut);
        assert_int_equal(disk_close(after), HV_OK);
    }
    print_message("%u power cuts\n", events + 1);
    assert_true(events >= 1000);
    disk_close(d);
}

static void a_power_cut_at_any_write(void **state)
{
    (void)state;
    lab_run(cuts, NULL);
}

/* ---- a full store -----------------------------------------------------------------------------
 */

/* All units but `left` are taken by another file. */
static struct disk *fill_store(struct store *s, u64 left)
{
    struct store_usage u;
    struct disk *f = NULL;
    static u8 block[MIB];

    assert_int_equal(store_make(s, "filler", false), HV_OK);
    assert_int_equal(store_open(s, "filler", false, &f), HV_OK);
    assert_int_equal(store_usage(s, &u), HV_OK);
    memset(block, 0x55, sizeof(block));
    for (u64 at = 0; u.used + at + left * MIB < u.capacity; at += MIB)
        assert_int_equal(disk_write(f, at, block, MIB), HV_OK);
    assert_int_equal(disk_flush(f), HV_OK);
    return f;
}

/* With so many units left: what is asked for is done, or nothing has changed. */
static u32 full_failures;

static void full_with(u64 left)
{
    struct disk *d = store_lab_device(56 * MIB), *filler;
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = tree_lab_make(s);
    struct merge_job job = {0};
    struct tree_lab m;
    u32 failed = 0;

    lab_seed(9);
    tree_lab_init(&m);
    tree_lab_write(v, &m, 10);
    for (u32 i = 1; i < 3; i++) {
        const char *name = i == 1 ? "s1" : "s2";

        expect(v, snapshot_take(v, name, "", NULL), HV_OK);
        tree_lab_take(&m, name);
        tree_lab_write(v, &m, 6);
    }
    filler = fill_store(s, left);
    for (u32 i = 0; i < 5; i++) {
        enum hv_status status;
        bool take = i % 2 == 0;
        char name[VM_DIR_NAME];

        snprintf(name, sizeof(name), "%s%u", take ? "t" : "s", (i + 1) / 2);
        memset(&job, 0, sizeof(job));
        job.direction = i == 1 ? MERGE_DOWN : MERGE_UP;
        status = take ? snapshot_take(v, name, "", NULL) : snapshot_delete(v, name, &job, NULL);
        if (status != HV_OK)
            expect(v, status, HV_ENOSPC);
        failed += status != HV_OK;
        if (status == HV_OK && take)
            tree_lab_take(&m, name);
        else if (status == HV_OK)
            tree_lab_delete(&m, name);
        tree_lab_compare(v, &m);
        store_lab_check(s);
    }
    full_failures += failed;
    assert_int_equal(disk_close(filler), HV_OK);
    assert_int_equal(store_remove(s, "filler"), HV_OK);
    expect(v, snapshot_take(v, "last", "", NULL), HV_OK);
    tree_lab_take(&m, "last");
    tree_lab_compare(v, &m);
    vm_dir_free(v);
    tree_lab_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void full(void *arg)
{
    (void)arg;
    tree_lab_was_full = true;
    for (u64 left = 0; left < 14; left++)
        full_with(left);
    print_message("%u refused\n", full_failures);
    assert_true(full_failures > 5);
    tree_lab_was_full = false;
}

static void a_full_store_changes_nothing(void **state)
{
    (void)state;
    lab_run(full, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_store_changes_nothing),
        cmocka_unit_test(a_power_cut_at_any_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
