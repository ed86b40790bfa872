/* Deleting snapshots: the images of one state are merged with those of the next, in the background,
 * and swapped in by one transaction.  Called by the shell's tasks, one at a time for a VM. */
#include "storage/snapshot_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/qcow2_parent.h"

/* ---- delete ---------------------------------------------------------------------------------- */

struct merged { /* images of one disk of one state that became one */
    struct vm_dir_state *state;
    u32 disk;                  /* index in state->disk */
    bool below;                /* the state's own file stays, over the new image */
    char name[STORE_PATH_MAX]; /* the new image, in the directory */
    char format[12];
    char top[STORE_PATH_MAX]; /* the uppermost of the old ones */
    char old[IMAGE_CHAIN_MAX][STORE_PATH_MAX];
    u32 old_count;
};

struct merging {
    struct vm_dir *v;
    struct vm_dir_state *gone; /* the snapshot that is deleted; NULL: none */
    struct merge_job *job;
    struct merged *list[VM_DIR_DISKS * (VM_DIR_SNAPSHOTS + 1)];
    u32 count;
};

/* The last image of the chain that belongs to the state at its top, or to the snapshot that goes.
 */
static u32 last_of(struct merging *m, const struct chain *c, const struct vm_dir_state *of)
{
    u32 last = 0;

    for (u32 i = 1; i < c->count; i++) {
        if (!snapshot_inside(m->v, c->image[i].path))
            break;
        bool other = false;
        for (u32 n = 0; n <= m->v->snapshot_count; n++) {
            struct vm_dir_state *s = n < m->v->snapshot_count ? m->v->snapshot[n] : &m->v->now;
            char path[STORE_PATH_MAX];

            for (u32 d = 0; d < s->disk_count && s != of && s != m->gone; d++) {
                vm_dir_path(m->v, s->disk[d].file, path);
                other |= !strcmp(path, c->image[i].path);
            }
        }
        if (other)
            break;
        last = i;
    }
    return last;
}

/* r->old_count stays 0: there is nothing to merge. */
static enum hv_status merge_open(struct merging *m, struct chain *c, struct merged *r)
{
    struct vm_dir *v = m->v;
    char path[STORE_PATH_MAX];
    u32 last = last_of(m, c, r->state), number = r->state->disk[r->disk].number;
    const char *base = c->image[last].format;
    bool plain = last + 1 == c->count && strcmp(base, "qcow2");

    if (!last)
        return HV_OK;
    enum hv_status status =
        snapshot_new_name(v, number, plain && base[0] ? base : "delta", r->name, path);
    if (status == HV_OK)
        status = merge_images(v->store, c, last, path, m->job, r->format, v->error);
    if (status != HV_OK)
        return status;
    memcpy(r->top, c->image[0].path, sizeof(r->top));
    for (u32 i = 0; i <= last; i++)
        memcpy(r->old[r->old_count++], c->image[i].path, STORE_PATH_MAX);
    return HV_OK;
}

/* The image under the top of a disk, if it is the state's own.  path: "" if not. */
static enum hv_status look_below(struct vm_dir *v, char path[STORE_PATH_MAX])
{
    struct store_image two[2];
    u32 count;
    enum hv_status status = store_chain(v->store, path, two, 2, &count);

    if (status != HV_OK && !(status == HV_E2BIG && count == 2))
        return vm_dir_store_failed(v, status);
    if (count < 2 || snapshot_is_state_file(v, two[1].path, NULL))
        path[0] = 0;
    else
        memcpy(path, two[1].path, sizeof(two[1].path));
    return HV_OK;
}

/* One disk of one state.  below: what lies under its file is merged, since a VM is writing that. */
static enum hv_status merge_disk(struct merging *m, struct vm_dir_state *s, u32 disk, bool below)
{
    struct vm_dir *v = m->v;
    struct merged *r = calloc(1, sizeof(*r));
    struct chain *c = NULL;
    char path[STORE_PATH_MAX];
    enum hv_status status = r ? HV_OK : HV_ENOMEM;

    vm_dir_path(v, s->disk[disk].file, path);
    if (status == HV_OK && below)
        status = look_below(v, path);
    if (status == HV_OK && path[0])
        status =
            chain_open(v->store, path, below ? NULL : s->disk[disk].format, true, &c, v->error);
    if (status == HV_OK && c) {
        *r = (struct merged){.state = s, .disk = disk, .below = below};
        status = merge_open(m, c, r);
        chain_close(c);
    }
    if (status == HV_OK && r->old_count)
        m->list[m->count++] = r;
    else
        free(r);
    return status;
}

struct adoption {
    struct snapshot_plan *p;
    const char *to;
};

static void on_child(void *arg, const char *child)
{
    struct adoption *a = arg;

    snapshot_plan_add(a->p, STORE_IMAGE, child, a->to, NULL);
}

#define ORPHANS 32u

struct orphans {
    char path[ORPHANS][STORE_PATH_MAX];
    u32 count, all;
};

static void on_orphan(void *arg, const char *child)
{
    struct orphans *o = arg;

    if (o->all++ < ORPHANS)
        snprintf(o->path[o->count++], STORE_PATH_MAX, "%s", child);
}

static bool write_parent(struct store *s, const char *path, const struct merged *r)
{
    struct disk *file;

    if (store_open(s, path, false, &file) != HV_OK)
        return false;
    bool ok = qcow2_set_parent(file, r->name, r->format) == HV_OK;
    return disk_close(file) == HV_OK && ok;
}

/* A copy of the child that names its new parent, and in the transaction takes the child's place.
 * False: it cannot be, and the child keeps the old name in it. */
static bool adopt_copy(struct vm_dir *v, struct snapshot_plan *p, const struct merged *r,
                       const char *child, const char *to)
{
    struct store_image img;
    char name[STORE_PATH_MAX], copy[STORE_PATH_MAX];
    struct adoption a = {p, copy};
    u32 count;

    enum hv_status status = store_chain(v->store, child, &img, 1, &count);
    if ((status != HV_OK && status != HV_E2BIG) || !count || strcmp(img.format, "qcow2") ||
        p->count > SNAPSHOT_CHANGES / 2 ||
        snapshot_new_name(v, r->state->disk[r->disk].number, "delta", name, copy) != HV_OK ||
        store_copy(v->store, child, copy) != HV_OK)
        return false;
    if (!write_parent(v->store, copy, r)) {
        if (store_remove(v->store, copy) != HV_OK)
            return false; /* snapshot_sweep() finds it */
        return false;
    }
    snapshot_plan_made(p, copy);
    snapshot_plan_add_image(p, copy, to, img.format, img.size);
    if (store_children(v->store, child, on_child, &a) != HV_OK)
        p->no_memory = true; /* half of it would be wrong */
    snapshot_plan_add(p, STORE_DROP, child, NULL, NULL);
    snapshot_plan_add(p, STORE_MOVE, copy, child, NULL);
    return true;
}

/* The new image takes the place of the old ones. */
static enum hv_status swap_in(struct vm_dir *v, struct snapshot_plan *p, struct merged *r)
{
    char path[STORE_PATH_MAX];
    struct adoption a = {p, path};
    struct orphans *o = calloc(1, sizeof(*o));
    enum hv_status status = o ? HV_OK : HV_ENOMEM;

    vm_dir_path(v, r->name, path);
    snapshot_plan_made(p, path);
    if (status == HV_OK)
        status = store_children(v->store, r->top, on_orphan, o);
    if (status == HV_OK && o->all > ORPHANS)
        status = store_children(v->store, r->top, on_child, &a);
    for (u32 i = 0; status == HV_OK && o->all <= ORPHANS && i < o->count; i++)
        if (!adopt_copy(v, p, r, o->path[i], path))
            on_child(&a, o->path[i]);
    free(o);
    if (!r->below) {
        struct vm_dir_disk *d = &r->state->disk[r->disk];

        memcpy(d->file, r->name, sizeof(d->file));
        memcpy(d->format, r->format, sizeof(d->format));
    }
    return vm_dir_store_failed(v, status);
}

static void forget(struct vm_dir *v, struct vm_dir_state *s)
{
    u32 at = 0;

    for (u32 i = 0; i <= v->snapshot_count; i++) {
        struct vm_dir_state *child = i < v->snapshot_count ? v->snapshot[i] : &v->now;

        if (child != s && !strcmp(child->parent, s->name))
            memcpy(child->parent, s->parent, sizeof(s->parent));
        if (child == s)
            at = i;
    }
    memmove(&v->snapshot[at], &v->snapshot[at + 1],
            (--v->snapshot_count - at) * sizeof(v->snapshot[0]));
    free(s->settings);
    free(s);
}

static void drop_old(struct vm_dir *v, struct snapshot_plan *p, const struct merged *r)
{
    for (u32 i = 0; i < r->old_count; i++)
        if (!snapshot_planned(p, r->old[i]) && !snapshot_is_state_file(v, r->old[i], NULL))
            snapshot_plan_add(p, STORE_DROP, r->old[i], NULL, NULL);
}

static enum hv_status swap_all(struct merging *m, enum hv_status status)
{
    struct vm_dir *v = m->v;
    struct snapshot_plan *p = snapshot_plan_new(v);

    if (!p)
        return HV_ENOMEM;
    for (u32 i = 0; i < m->count && status == HV_OK; i++)
        status = swap_in(v, p, m->list[i]);
    for (u32 d = 0; m->gone && d < m->gone->disk_count && status == HV_OK; d++)
        status = snapshot_drop_segment(v, p, m->gone, &m->gone->disk[d], true);
    if (status == HV_OK && m->gone)
        status = snapshot_plan_nvram(p, v, m->gone->name, NULL, NULL);
    if (status == HV_OK && m->gone)
        forget(v, m->gone);
    for (u32 i = 0; i < m->count && status == HV_OK; i++)
        drop_old(v, p, m->list[i]);
    return snapshot_plan_end(p, v, status);
}

static void end_merging(struct merging *m, bool failed)
{
    char path[STORE_PATH_MAX];

    for (u32 i = 0; i < m->count; i++) {
        vm_dir_path(m->v, m->list[i]->name, path);
        if (failed && store_remove(m->v->store, path) != HV_OK)
            path[0] = 0; /* snapshot_sweep() finds it */
        free(m->list[i]);
    }
    free(m);
}

/* Merges what was made from `gone` with it, and swaps.  live: what is now is being written. */
static enum hv_status merge_states(struct vm_dir *v, struct vm_dir_state *gone, bool live,
                                   struct merge_job *job, const struct snapshot_vm *vm)
{
    struct merging *m = calloc(1, sizeof(*m));
    enum hv_status status = m ? HV_OK : HV_ENOMEM;

    if (!m)
        return vm_dir_fail(v, status, "no memory");
    *m = (struct merging){.v = v, .gone = gone, .job = job};
    for (u32 i = 0; i <= v->snapshot_count && status == HV_OK; i++) {
        struct vm_dir_state *s = i < v->snapshot_count ? v->snapshot[i] : &v->now;

        if (gone ? strcmp(s->parent, gone->name) : s != &v->now)
            continue;
        for (u32 d = 0; d < s->disk_count && status == HV_OK; d++)
            status = merge_disk(m, s, d, live && s == &v->now);
    }
    if (status != HV_OK) {
        end_merging(m, true);
        return status;
    }
    if (!m->count && !gone) {
        end_merging(m, false);
        return HV_OK;
    }
    status = snapshot_vm_stop(v, vm);
    bool stopped = status == HV_OK;
    if (stopped)
        status = swap_all(m, status);
    end_merging(m, status != HV_OK);
    return stopped ? snapshot_vm_go(v, vm, status) : status;
}

/* ---- under a running VM ---------------------------------------------------------------------- */

#define ROUNDS 6u
#define SMALL (4 * MIB) /* so much may be merged while the VM's disks stand still */

/* Bytes of the top images' files, and whether the state has more images than it needs. */
static bool has_more(struct vm_dir *v, u64 *bytes)
{
    struct chain *c = calloc(1, sizeof(*c));
    struct merging *m = calloc(1, sizeof(*m));
    bool more = false;

    *bytes = 0;
    for (u32 d = 0; d < v->now.disk_count && c && m; d++) {
        struct store_stat st;
        char path[STORE_PATH_MAX];

        m->v = v;
        vm_dir_path(v, v->now.disk[d].file, path);
        if (store_chain(v->store, path, c->image, IMAGE_CHAIN_MAX, &c->count) != HV_OK ||
            store_stat(v->store, path, &st) != HV_OK)
            break;
        more |= last_of(m, c, &v->now) > 0;
        *bytes += st.allocated;
    }
    free(c);
    free(m);
    return more;
}

/* What the VM wrote meanwhile is merged in rounds, each shorter than the one before; the last one
 * while its disks stand still. */
static enum hv_status catch_up(struct vm_dir *v, struct merge_job *job,
                               const struct snapshot_vm *vm)
{
    enum hv_status status = HV_OK;
    u64 bytes;

    for (u32 round = 0; status == HV_OK && has_more(v, &bytes); round++) {
        if (!snapshot_is_running(vm))
            return snapshot_collapse(v, job);
        bool last = bytes <= SMALL + MIB * v->now.disk_count || round == ROUNDS;

        status = snapshot_vm_stop(v, vm);
        if (status == HV_OK && !last) {
            status = snapshot_vm_go(v, vm, snapshot_freeze(v, NULL, NULL));
            if (status == HV_OK)
                status = merge_states(v, NULL, true, job, vm);
        } else if (status == HV_OK) {
            return snapshot_vm_go(v, vm, merge_states(v, NULL, false, job, NULL));
        }
    }
    return status;
}

enum hv_status snapshot_collapse(struct vm_dir *v, struct merge_job *job)
{
    return merge_states(v, NULL, false, job, NULL);
}

enum hv_status snapshot_delete(struct vm_dir *v, const char *name, struct merge_job *job,
                               const struct snapshot_vm *vm)
{
    struct vm_dir_state *s = vm_dir_find(v, name);
    char who[STORE_PATH_MAX];
    bool live;
    enum hv_status status = HV_OK;

    if (!s)
        return vm_dir_fail(v, HV_ENOENT, "there is no snapshot '%.40s'", name);
    if (snapshot_has_clones(v, s, who))
        return vm_dir_fail(v, HV_EBUSY, "'%.80s' is made from snapshot '%s'", who, name);
    live = snapshot_is_running(vm) && !strcmp(v->now.parent, name);
    if (live) {
        status = snapshot_vm_stop(v, vm);
        if (status == HV_OK)
            status = snapshot_vm_go(v, vm, snapshot_freeze(v, NULL, NULL));
        s = vm_dir_find(v, name);
    }
    if (status == HV_OK)
        status = merge_states(v, s, live, job, vm);
    return status == HV_OK && live ? catch_up(v, job, vm) : status;
}
