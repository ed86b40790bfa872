/* links: tests/unit/image_lab.c tests/unit/store_lab.c tests/unit/chain_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/qcow2_parent.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/chain.c storage/merge.c storage/vm_dir.c storage/snapshot.c storage/snapshot_delete.c storage/snapshot_plan.c */
/* Trees of snapshots against a model in memory: random operations, a VM that goes on writing, the
 * power cut at every write.  One file, since the model, the VM that writes and the cuts are the
 * same for all of them. */
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

#define DISKS 2u
#define STATES 40u

static const u64 sizes[DISKS] = {512 * KIB, 768 * KIB};
static const char *const formats[DISKS] = {"raw", "qcow2"};

/* ---- the model: what every state's disks hold ------------------------------------------------ */

struct state {
    char name[VM_DIR_NAME], parent[VM_DIR_NAME]; /* [0] is what is now: no name */
    struct lab_model disk[DISKS];
};

struct model {
    struct state *state[STATES];
    u32 count;
};

static struct state *new_state(const char *name, const char *parent, const struct state *from)
{
    struct state *s = calloc(1, sizeof(*s));

    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(s->parent, sizeof(s->parent), "%s", parent);
    for (u32 i = 0; i < DISKS; i++) {
        lab_model_init(&s->disk[i], sizes[i]);
        if (from)
            memcpy(s->disk[i].bytes, from->disk[i].bytes, sizes[i]);
    }
    return s;
}

static void free_state(struct state *s)
{
    for (u32 i = 0; i < DISKS; i++)
        lab_model_free(&s->disk[i]);
    free(s);
}

static void model_init(struct model *m)
{
    m->count = 1;
    m->state[0] = new_state("", "", NULL);
}

static void model_free(struct model *m)
{
    while (m->count)
        free_state(m->state[--m->count]);
}

static u32 model_find(const struct model *m, const char *name)
{
    for (u32 i = 1; i < m->count; i++)
        if (!strcmp(m->state[i]->name, name))
            return i;
    fail_msg("no snapshot %s", name);
    return 0;
}

static void model_take(struct model *m, const char *name)
{
    m->state[m->count++] = new_state(name, m->state[0]->parent, m->state[0]);
    snprintf(m->state[0]->parent, VM_DIR_NAME, "%s", name);
}

static void model_revert(struct model *m, const char *name)
{
    struct state *now = new_state("", name, m->state[model_find(m, name)]);

    free_state(m->state[0]);
    m->state[0] = now;
}

static void model_delete(struct model *m, const char *name)
{
    u32 at = model_find(m, name);

    for (u32 i = 0; i < m->count; i++)
        if (!strcmp(m->state[i]->parent, name))
            memcpy(m->state[i]->parent, m->state[at]->parent, VM_DIR_NAME);
    free_state(m->state[at]);
    m->state[at] = m->state[--m->count];
}

/* ---- a store with a VM ----------------------------------------------------------------------- */

static struct vm_dir *load(struct store *s)
{
    char error[IMAGE_ERROR_MAX];
    struct vm_dir *v = NULL;
    enum hv_status status = vm_dir_load(s, "web1", "web1", &v, error);

    if (status != HV_OK)
        print_message("load: %s\n", error);
    assert_int_equal(status, HV_OK);
    return v;
}

static struct vm_dir *make_vm(struct store *s)
{
    struct vm_dir *v = NULL;
    char error[IMAGE_ERROR_MAX], path[STORE_PATH_MAX];

    assert_int_equal(vm_dir_make(s, "web1", "web1", &v, error), HV_OK);
    for (u32 i = 0; i < DISKS; i++) {
        struct vm_dir_disk *d = &v->now.disk[i];
        struct image_options o = {.size = sizes[i]};

        d->number = i;
        snprintf(d->file, sizeof(d->file), "web1-disk%u.%s", i, formats[i]);
        snprintf(d->format, sizeof(d->format), "%s", formats[i]);
        vm_dir_path(v, d->file, path);
        assert_int_equal(chain_create(s, path, formats[i], &o, NULL, error), HV_OK);
    }
    v->now.disk_count = DISKS;
    assert_true(vm_dir_set_settings(&v->now, "mem: 256M\ncpu: 2,weight=50\n"));
    assert_int_equal(vm_dir_save(v), HV_OK);
    return v;
}

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

static void expect_at(u32 line, struct vm_dir *v, enum hv_status status, enum hv_status wanted)
{
    if (status != wanted)
        print_message("line %u: %d, not %d: %s\n", line, status, wanted, v->error);
    assert_int_equal(status, wanted);
}
#define expect(v, call, wanted) expect_at(__LINE__, v, call, wanted)

static bool was_full; /* there may have been no room to write a name */

/* Every state of the tree holds what the model has. */
static void compare_with(struct vm_dir *v, const struct model *m, bool qemu)
{
    assert_int_equal(v->snapshot_count + 1, m->count);
    for (u32 i = 0; i < m->count; i++) {
        const struct vm_dir_state *s = i ? vm_dir_find(v, m->state[i]->name) : &v->now;

        assert_non_null(s);
        assert_string_equal(s->parent, m->state[i]->parent);
        assert_int_equal(s->disk_count, DISKS);
        for (u32 d = 0; d < DISKS; d++) {
            struct chain *c = chain_lab_open(v, s, d, true);

            lab_compare(c->disk, &m->state[i]->disk[d]);
            if (!was_full)
                chain_lab_names(c);
            if (qemu)
                chain_lab_ask_qemu(c, &m->state[i]->disk[d]);
            assert_int_equal(chain_close(c), HV_OK);
        }
    }
}

static void compare(struct vm_dir *v, const struct model *m)
{
    compare_with(v, m, false);
}

static u32 files_in(struct store *s);

/* ---- a VM that is running -------------------------------------------------------------------- */

struct guest {
    struct vm_dir *v;
    struct model *m;
    struct chain *chain[DISKS];
    bool on, stopped, writing, end;
    u32 writes, stops;
};

static bool guest_running(void *owner)
{
    return ((struct guest *)owner)->on;
}

static void guest_open(struct guest *g, const struct vm_dir_state *now)
{
    for (u32 i = 0; i < DISKS; i++)
        g->chain[i] = chain_lab_open(g->v, now, i, false);
}

static enum hv_status guest_stop(void *owner)
{
    struct guest *g = owner;

    g->stopped = true;
    g->stops++;
    while (g->writing)
        fiber_yield();
    for (u32 i = 0; i < DISKS; i++)
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
            u32 d = lab_random() % DISKS;

            g->writing = true;
            lab_step(g->chain[d]->disk, &g->m->state[0]->disk[d], 40000);
            g->writing = false;
            g->writes++;
        }
        fiber_yield();
    }
    g->end = false;
}

static struct snapshot_vm guest_start(struct guest *g, struct vm_dir *v, struct model *m)
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
    for (u32 i = 0; i < DISKS; i++)
        assert_int_equal(chain_close(g->chain[i]), HV_OK);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void write_some(struct vm_dir *v, struct model *m, u32 steps)
{
    for (u32 d = 0; d < DISKS; d++) {
        struct chain *c = chain_lab_open(v, &v->now, d, false);

        for (u32 i = 0; i < steps; i++)
            lab_step(c->disk, &m->state[0]->disk[d], 60000);
        assert_int_equal(chain_close(c), HV_OK);
    }
}

static u32 file_count;

static void on_file(void *arg, const char *name, const struct store_stat *st)
{
    (void)arg, (void)name, (void)st;
    file_count++;
}

static u32 files_in(struct store *s)
{
    file_count = 0;
    assert_int_equal(store_list(s, "web1", on_file, NULL), HV_OK);
    return file_count;
}

/* Names and numbers of one tree, told step by step. */
static void by_hand(void *arg)
{
    struct disk *d = store_lab_device(96 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = make_vm(s);
    struct model m;
    struct merge_job job = {0};
    struct store_stat st;
    char path[STORE_PATH_MAX];

    (void)arg;
    lab_seed(5);
    model_init(&m);
    write_some(v, &m, 10);
    expect(v, snapshot_take(v, "s1", "before the patch", NULL), HV_OK);
    refuses_another_format(v);
    model_take(&m, "s1");
    assert_string_equal(v->now.disk[0].file, "web1-disk0-000001.delta");
    vm_dir_path(v, v->now.disk[0].file, path);
    assert_int_equal(store_stat(s, path, &st), HV_OK);
    assert_true(st.allocated <= MIB);
    expect(v, snapshot_take(v, "s1", "", NULL), HV_EEXIST);
    expect(v, snapshot_take(v, "no good", "", NULL), HV_EINVAL);
    expect(v, snapshot_take(v, "bad", "two\nlines", NULL), HV_EINVAL);
    write_some(v, &m, 10);
    expect(v, snapshot_take(v, "s2", "", NULL), HV_OK);
    model_take(&m, "s2");
    write_some(v, &m, 10);
    expect(v, snapshot_revert(v, "s1"), HV_OK);
    model_revert(&m, "s1");
    expect(v, snapshot_revert(v, "nobody"), HV_ENOENT);
    write_some(v, &m, 10);
    expect(v, snapshot_take(v, "s3", "", NULL), HV_OK); /* a second child of s1 */
    model_take(&m, "s3");
    compare(v, &m);
    vm_dir_free(v);
    v = load(s);
    compare(v, &m);
    assert_string_equal(vm_dir_find(v, "s1")->description, "before the patch");
    assert_string_equal(v->now.settings, "mem: 256M\ncpu: 2,weight=50\n");
    /* The base of a snapshot is not written. */
    struct disk *f;
    assert_int_equal(store_open(s, "web1/web1-disk0.raw", false, &f), HV_EBUSY);
    assert_int_equal(store_remove(s, "web1/web1-disk0.raw"), HV_EBUSY);
    compare_with(v, &m, true);
    expect(v, snapshot_delete(v, "s1", &job, NULL), HV_OK);
    model_delete(&m, "s1");
    compare_with(v, &m, true);
    assert_int_equal(job.done, job.total);
    expect(v, snapshot_delete(v, "s2", &job, NULL), HV_OK); /* a leaf */
    model_delete(&m, "s2");
    compare(v, &m);
    job.cancel = true;
    expect(v, snapshot_delete(v, "s3", &job, NULL), HV_ETIMEDOUT);
    compare(v, &m);
    job.cancel = false;
    expect(v, snapshot_delete(v, "s3", &job, NULL), HV_OK);
    model_delete(&m, "s3");
    compare(v, &m);
    write_some(v, &m, 10);
    compare(v, &m);
    assert_int_equal(files_in(s), DISKS + 1); /* nothing is left over */
    store_lab_check(s);
    vm_dir_free(v);
    model_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void a_tree_by_hand(void **state)
{
    (void)state;
    lab_run(by_hand, NULL);
}

/* One random operation on both. */
static void random_step(struct vm_dir *v, struct model *m, u32 number, const struct snapshot_vm *vm)
{
    u32 what = lab_random() % 100, pick = m->count > 1 ? 1 + lab_random() % (m->count - 1) : 0;
    struct merge_job job = {.direction = (enum merge_direction)(lab_random() % 3)};
    char name[VM_DIR_NAME];

    if (what < 35 && m->count < 8) {
        snprintf(name, sizeof(name), "s%u", number);
        expect(v, snapshot_take(v, name, "", vm), HV_OK);
        model_take(m, name);
    } else if (what < 55 && pick && !vm) {
        memcpy(name, m->state[pick]->name, sizeof(name));
        expect(v, snapshot_revert(v, name), HV_OK);
        model_revert(m, name);
    } else if (what < 85 && pick) {
        memcpy(name, m->state[pick]->name, sizeof(name));
        expect(v, snapshot_delete(v, name, &job, vm), HV_OK);
        model_delete(m, name);
    } else if (!vm) {
        write_some(v, m, 4);
    }
}

static void random_trees(void *arg)
{
    struct disk *d = store_lab_device(160 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = make_vm(s);
    struct model m;

    (void)arg;
    lab_seed(11);
    model_init(&m);
    for (u32 i = 0; i < 120; i++) {
        random_step(v, &m, i, NULL);
        if (i % 10 == 9)
            compare(v, &m);
    }
    while (m.count > 1) { /* what is left goes, from the oldest on */
        struct merge_job job = {0};
        char name[VM_DIR_NAME];

        memcpy(name, m.state[1]->name, sizeof(name));
        expect(v, snapshot_delete(v, name, &job, NULL), HV_OK);
        model_delete(&m, name);
    }
    compare(v, &m);
    assert_int_equal(files_in(s), DISKS + 1);
    store_lab_check(s);
    vm_dir_free(v);
    model_free(&m);
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
    struct vm_dir *v = make_vm(s);
    struct model m;
    struct guest g;

    (void)arg;
    lab_seed(23);
    model_init(&m);
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
    compare(v, &m);
    struct merge_job job = {0};
    expect(v, snapshot_collapse(v, &job), HV_OK);
    compare(v, &m);
    store_lab_check(s);
    vm_dir_free(v);
    model_free(&m);
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
    struct vm_dir *v = make_vm(s);
    struct model m;
    char name[VM_DIR_NAME];
    struct merge_job job = {0};
    struct guest g;

    (void)arg;
    lab_seed(29);
    model_init(&m);
    for (u32 i = 1; i < SNAPSHOT_CHAIN_MAX; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        write_some(v, &m, 2);
        expect(v, snapshot_take(v, name, "", NULL), HV_OK);
        model_take(&m, name);
    }
    expect(v, snapshot_take(v, "more", "", NULL), HV_E2BIG);
    compare(v, &m);
    struct snapshot_vm vm = guest_start(&g, v, &m); /* deleting still works under a VM */
    expect(v, snapshot_delete(v, "s31", &job, &vm), HV_OK);
    guest_end(&g);
    model_delete(&m, "s31");
    expect(v, snapshot_delete(v, "s1", &job, NULL), HV_OK);
    model_delete(&m, "s1");
    expect(v, snapshot_delete(v, "s16", &job, NULL), HV_OK);
    model_delete(&m, "s16");
    compare(v, &m);
    vm_dir_free(v);
    model_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void a_chain_of_32(void **state)
{
    (void)state;
    lab_run(deep, NULL);
}

/* ---- power cuts ------------------------------------------------------------------------------ */

struct moment { /* after an operation: the tree, and a checksum of each disk */
    u32 event;  /* recorded when it had returned */
    bool wrote; /* it changed what is now, without a transaction */
    u32 count;
    struct {
        char name[VM_DIR_NAME], parent[VM_DIR_NAME];
        u64 sum[DISKS];
    } state[STATES];
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

static void remember(struct moment *t, const struct model *m, u32 event, bool wrote)
{
    *t = (struct moment){.event = event, .wrote = wrote, .count = m->count};
    for (u32 i = 0; i < m->count; i++) {
        memcpy(t->state[i].name, m->state[i]->name, VM_DIR_NAME);
        memcpy(t->state[i].parent, m->state[i]->parent, VM_DIR_NAME);
        for (u32 d = 0; d < DISKS; d++)
            t->state[i].sum[d] = sum(m->state[i]->disk[d].bytes, sizes[d]);
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

    assert_int_equal(c->disk->size, sizes[disk]);
    assert_int_equal(disk_read(c->disk, 0, buf, sizes[disk]), HV_OK);
    assert_int_equal(chain_close(c), HV_OK);
    return sum(buf, sizes[disk]);
}

/* now_too: nothing was being written, so what is now is known as well. */
static bool holds(struct vm_dir *v, const struct moment *t, bool now_too)
{
    if (!same_tree(v, t))
        return false;
    for (u32 i = now_too ? 0 : 1; i < t->count; i++)
        for (u32 d = 0; d < DISKS; d++)
            if (sum_of(v, i ? vm_dir_find(v, t->state[i].name) : &v->now, d) != t->state[i].sum[d])
                return false;
    return true;
}

static struct moment moments[64];
static u32 moment_count;

static void work(struct disk *d, struct vm_dir *v, struct model *m)
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
            write_some(v, m, 2);
        } else if (script[i] == 'T') {
            snprintf(name, sizeof(name), "s%u", ++number);
            expect(v, snapshot_take(v, name, "", NULL), HV_OK);
            model_take(m, name);
        } else if (script[i] == 'R' && pick) {
            expect(v, snapshot_revert(v, name), HV_OK);
            model_revert(m, name);
        } else if (pick) {
            expect(v, snapshot_delete(v, name, &job, NULL), HV_OK);
            model_delete(m, name);
        }
        remember(&moments[moment_count++], m, lab_events(d), script[i] == 'w');
    }
}

static void verify_cut(struct disk *after, u32 cut)
{
    struct store *s = store_lab_mount(after);
    struct vm_dir *v = load(s);
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
        u32 needed = files_in(s);
        expect(v, snapshot_sweep(v), HV_OK);
        assert_int_equal(files_in(s), needed); /* nothing else was lying about */
    }
    vm_dir_free(v);
    assert_int_equal(store_unmount(s), HV_OK);
}

static void cuts(void *arg)
{
    struct disk *d = store_lab_device(40 * MIB);
    struct store *s = store_lab_fresh(d);
    struct vm_dir *v = make_vm(s);
    struct model m;

    (void)arg;
    lab_seed(37);
    model_init(&m);
    lab_record(d);
    remember(&moments[moment_count++], &m, 0, false);
    work(d, v, &m);
    vm_dir_free(v);
    model_free(&m);
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
    struct vm_dir *v = make_vm(s);
    struct merge_job job = {0};
    struct model m;
    u32 failed = 0;

    lab_seed(9);
    model_init(&m);
    write_some(v, &m, 10);
    for (u32 i = 1; i < 3; i++) {
        const char *name = i == 1 ? "s1" : "s2";

        expect(v, snapshot_take(v, name, "", NULL), HV_OK);
        model_take(&m, name);
        write_some(v, &m, 6);
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
            model_take(&m, name);
        else if (status == HV_OK)
            model_delete(&m, name);
        compare(v, &m);
        store_lab_check(s);
    }
    full_failures += failed;
    assert_int_equal(disk_close(filler), HV_OK);
    assert_int_equal(store_remove(s, "filler"), HV_OK);
    expect(v, snapshot_take(v, "last", "", NULL), HV_OK);
    model_take(&m, "last");
    compare(v, &m);
    vm_dir_free(v);
    model_free(&m);
    assert_int_equal(store_unmount(s), HV_OK);
    disk_close(d);
}

static void full(void *arg)
{
    (void)arg;
    was_full = true;
    for (u64 left = 0; left < 14; left++)
        full_with(left);
    print_message("%u refused\n", full_failures);
    assert_true(full_failures > 5);
    was_full = false;
}

static void a_full_store_changes_nothing(void **state)
{
    (void)state;
    lab_run(full, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_by_hand),
        cmocka_unit_test(random_trees_hold_what_the_model_has),
        cmocka_unit_test(snapshots_of_a_running_vm),
        cmocka_unit_test(a_chain_of_32),
        cmocka_unit_test(a_full_store_changes_nothing),
        cmocka_unit_test(a_power_cut_at_any_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
