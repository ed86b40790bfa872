/* links: tests/unit/image_lab.c tests/unit/store_lab.c tests/unit/chain_lab.c tests/unit/tree_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/qcow2_parent.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/chain.c storage/merge.c storage/vm_dir.c storage/snapshot.c storage/snapshot_delete.c storage/snapshot_plan.c */
/* Trees of snapshots against a model in memory: by hand, random operations, a VM that goes on
 * writing. */
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

/* What the store knows as one format is never written as another. */
static void refuses_another_format(struct vm_dir *v)
{
    char error[IMAGE_ERROR_MAX], path[STORE_PATH_MAX];
    struct chain *c = NULL;

    vm_dir_path(v, v->now.disk[0].file, path);
    assert_string_equal(v->now.disk[0].format, "qcow2");
    assert_int_equal(chain_open(v->store, path, "raw", false, &c, error), HV_EINVAL);
    assert_non_null(strstr(error, "qcow2"));
    assert_null(c);
}

/* ---- a VM that is running -------------------------------------------------------------------- */

struct guest {
    struct vm_dir *v;
    struct tree_lab *m;
    struct chain *chain[TREE_LAB_DISKS];
    bool on, stopped, writing, end;
    u32 writes, stops;
};

static bool guest_running(void *owner)
{
    return ((struct guest *)owner)->on;
}

static void guest_open(struct guest *g, const struct vm_dir_state *now)
{
    for (u32 i = 0; i < TREE_LAB_DISKS; i++)
        g->chain[i] = chain_lab_open(g->v, now, i, false);
}

static enum hv_status guest_stop(void *owner)
{
    struct guest *g = owner;

    g->stopped = true;
    g->stops++;
    while (g->writing)
        fiber_yield();
    for (u32 i = 0; i < TREE_LAB_DISKS; i++)
        assert_int_equal(chain_close(g->chain[i]), HV_OK);
    return HV_OK;
}

static enum hv_status guest_go(void *owner, const struct vm_dir_state *now)
{
    struct guest *g = owner;

    guest_open(g, now);
    g->stopped = false;
    return HV_OK;
}

static void guest_main(void *arg)
{
    struct guest *g = arg;

    while (!g->end) {
        if (!g->stopped && g->writes < 400) {
            u32 d = lab_random() % TREE_LAB_DISKS;

            g->writing = true;
            lab_step(g->chain[d]->disk, &g->m->state[0]->disk[d], 40000);
            g->writing = false;
            g->writes++;
        }
        fiber_yield();
    }
    g->end = false;
}

static struct snapshot_vm guest_start(struct guest *g, struct vm_dir *v, struct tree_lab *m)
{
    *g = (struct guest){.v = v, .m = m, .on = true};
    guest_open(g, &v->now);
    fiber_spawn("guest", guest_main, g);
    return (struct snapshot_vm){g, guest_running, guest_stop, guest_go};
}

static void guest_end(struct guest *g)
{
    g->end = true;
    while (g->end)
        fiber_yield();
    for (u32 i = 0; i < TREE_LAB_DISKS; i++)
        assert_int_equal(chain_close(g->chain[i]), HV_OK);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Names and numbers of one tree, told step by step. */
static void by_hand(void *arg)
{
    struct disk *d = store_lab_device(96 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = tree_lab_make(s);
    struct tree_lab m;
    struct merge_job job = {0};
    struct store_stat st;
    char path[STORE_PATH_MAX];

    (void)arg;
    lab_seed(5);
    tree_lab_init(&m);
    tree_lab_write(v, &m, 10);
    expect(v, snapshot_take(v, "s1", "before the patch", NULL), HV_OK);
    refuses_another_format(v);
    tree_lab_take(&m, "s1");
    assert_string_equal(v->now.disk[0].file, "web1-disk0-000001.delta");
    vm_dir_path(v, v->now.disk[0].file, path);
    assert_int_equal(store_stat(s, path, &st), HV_OK);
    assert_true(st.allocated <= MIB);
    expect(v, snapshot_take(v, "s1", "", NULL), HV_EEXIST);
    expect(v, snapshot_take(v, "no good", "", NULL), HV_EINVAL);
    expect(v, snapshot_take(v, "bad", "two\nlines", NULL), HV_EINVAL);
    tree_lab_write(v, &m, 10);
    expect(v, snapshot_take(v, "s2", "", NULL), HV_OK);
    tree_lab_take(&m, "s2");
    tree_lab_write(v, &m, 10);
    expect(v, snapshot_revert(v, "s1"), HV_OK);
    tree_lab_revert(&m, "s1");
    expect(v, snapshot_revert(v, "nobody"), HV_ENOENT);
    tree_lab_write(v, &m, 10);
    expect(v, snapshot_take(v, "s3", "", NULL), HV_OK); /* a second child of s1 */
    tree_lab_take(&m, "s3");
    tree_lab_compare(v, &m);
    vm_dir_free(v);
    v = tree_lab_load(s);
    tree_lab_compare(v, &m);
    assert_string_equal(vm_dir_find(v, "s1")->description, "before the patch");
    assert_string_equal(v->now.settings, "mem: 256M\ncpu: 2,weight=50\n");
    /* The base of a snapshot is not written. */
    struct disk *f;
    assert_int_equal(store_open(s, "web1/web1-disk0.raw", false, &f), HV_EBUSY);
    assert_int_equal(store_remove(s, "web1/web1-disk0.raw"), HV_EBUSY);
    tree_lab_compare_with(v, &m, true);
    expect(v, snapshot_delete(v, "s1", &job, NULL), HV_OK);
    tree_lab_delete(&m, "s1");
    tree_lab_compare_with(v, &m, true);
    assert_int_equal(job.done, job.total);
    expect(v, snapshot_delete(v, "s2", &job, NULL), HV_OK); /* a leaf */
    tree_lab_delete(&m, "s2");
    tree_lab_compare(v, &m);
    job.cancel = true;
    expect(v, snapshot_delete(v, "s3", &job, NULL), HV_ETIMEDOUT);
    tree_lab_compare(v, &m);
    job.cancel = false;
    expect(v, snapshot_delete(v, "s3", &job, NULL), HV_OK);
    tree_lab_delete(&m, "s3");
    tree_lab_compare(v, &m);
    tree_lab_write(v, &m, 10);
    tree_lab_compare(v, &m);
    assert_int_equal(tree_lab_files(s), TREE_LAB_DISKS + 2); /* NAME.conf, NAME.nvram */
    store_lab_check(s);
    vm_dir_free(v);
    tree_lab_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void a_tree_by_hand(void **state)
{
    (void)state;
    lab_run(by_hand, NULL);
}

/* One random operation on both. */
static void random_step(struct vm_dir *v, struct tree_lab *m, u32 number,
                        const struct snapshot_vm *vm)
{
    u32 what = lab_random() % 100, pick = m->count > 1 ? 1 + lab_random() % (m->count - 1) : 0;
    struct merge_job job = {.direction = (enum merge_direction)(lab_random() % 3)};
    char name[VM_DIR_NAME];

    if (what < 35 && m->count < 8) {
        snprintf(name, sizeof(name), "s%u", number);
        expect(v, snapshot_take(v, name, "", vm), HV_OK);
        tree_lab_take(m, name);
    } else if (what < 55 && pick && !vm) {
        memcpy(name, m->state[pick]->name, sizeof(name));
        expect(v, snapshot_revert(v, name), HV_OK);
        tree_lab_revert(m, name);
    } else if (what < 85 && pick) {
        memcpy(name, m->state[pick]->name, sizeof(name));
        expect(v, snapshot_delete(v, name, &job, vm), HV_OK);
        tree_lab_delete(m, name);
    } else if (!vm) {
        tree_lab_write(v, m, 4);
    }
}

static void random_trees(void *arg)
{
    struct disk *d = store_lab_device(160 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = tree_lab_make(s);
    struct tree_lab m;

    (void)arg;
    lab_seed(11);
    tree_lab_init(&m);
    for (u32 i = 0; i < 120; i++) {
        random_step(v, &m, i, NULL);
        if (i % 10 == 9)
            tree_lab_compare(v, &m);
    }
    while (m.count > 1) { /* what is left goes, from the oldest on */
        struct merge_job job = {0};
        char name[VM_DIR_NAME];

        memcpy(name, m.state[1]->name, sizeof(name));
        expect(v, snapshot_delete(v, name, &job, NULL), HV_OK);
        tree_lab_delete(&m, name);
    }
    tree_lab_compare(v, &m);
    assert_int_equal(tree_lab_files(s), TREE_LAB_DISKS + 1 + (m.state[0]->nvram != 0));
    store_lab_check(s);
    vm_dir_free(v);
    tree_lab_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void random_trees_hold_what_the_model_has(void **state)
{
    (void)state;
    lab_run(random_trees, NULL);
}

/* The VM writes all the time while snapshots come and go. */
static void running(void *arg)
{
    struct disk *d = store_lab_device(160 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = tree_lab_make(s);
    struct tree_lab m;
    struct guest g;

    (void)arg;
    lab_seed(23);
    tree_lab_init(&m);
    struct snapshot_vm vm = guest_start(&g, v, &m);
    for (u32 i = 0; i < 30; i++) {
        g.writes = 0;
        for (u32 n = 0; n < 30; n++)
            fiber_yield();
        /* What the snapshot holds is known only if the VM writes nothing while it is taken. */
        while (g.writing)
            fiber_yield();
        random_step(v, &m, i, &vm);
    }
    guest_end(&g);
    assert_true(g.stops > 20);
    tree_lab_compare(v, &m);
    struct merge_job job = {0};
    expect(v, snapshot_collapse(v, &job), HV_OK);
    tree_lab_compare(v, &m);
    store_lab_check(s);
    vm_dir_free(v);
    tree_lab_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void snapshots_of_a_running_vm(void **state)
{
    (void)state;
    lab_run(running, NULL);
}

/* 32 images over each other, and no more; each of them has its own contents. */
static void deep(void *arg)
{
    struct disk *d = store_lab_device(200 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = tree_lab_make(s);
    struct tree_lab m;
    char name[VM_DIR_NAME];
    struct merge_job job = {0};
    struct guest g;

    (void)arg;
    lab_seed(29);
    tree_lab_init(&m);
    for (u32 i = 1; i < SNAPSHOT_CHAIN_MAX; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        tree_lab_write(v, &m, 2);
        expect(v, snapshot_take(v, name, "", NULL), HV_OK);
        tree_lab_take(&m, name);
    }
    expect(v, snapshot_take(v, "more", "", NULL), HV_E2BIG);
    tree_lab_compare(v, &m);
    struct snapshot_vm vm = guest_start(&g, v, &m); /* deleting still works under a VM */
    expect(v, snapshot_delete(v, "s31", &job, &vm), HV_OK);
    guest_end(&g);
    tree_lab_delete(&m, "s31");
    expect(v, snapshot_delete(v, "s1", &job, NULL), HV_OK);
    tree_lab_delete(&m, "s1");
    expect(v, snapshot_delete(v, "s16", &job, NULL), HV_OK);
    tree_lab_delete(&m, "s16");
    tree_lab_compare(v, &m);
    vm_dir_free(v);
    tree_lab_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void a_chain_of_32(void **state)
{
    (void)state;
    lab_run(deep, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_by_hand),
        cmocka_unit_test(random_trees_hold_what_the_model_has),
        cmocka_unit_test(snapshots_of_a_running_vm),
        cmocka_unit_test(a_chain_of_32),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
