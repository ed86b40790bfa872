/* Taking, reverting and deleting snapshots of a VM's directory; called by the shell's commands, one
 * at a time for a VM. */
#include "storage/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"

/* ---- changes that are collected, then applied in one transaction ----------------------------- */

#define PLAN_MAX 256u

struct plan {
    struct store_change change[PLAN_MAX];
    u32 count;
    char *kept[PLAN_MAX * 2]; /* the strings of the changes */
    u32 kept_count;
    char *made[VM_DIR_DISKS * 2]; /* new files, removed if it all fails */
    u32 made_count;
    bool no_memory;
};

static const char *keep(struct plan *p, const char *text)
{
    char *copy = text && p->kept_count < ARRAY_LEN(p->kept) ? strdup(text) : NULL;

    if (copy)
        p->kept[p->kept_count++] = copy;
    else if (text)
        p->no_memory = true;
    return copy;
}

static void plan(struct plan *p, enum store_change_kind kind, const char *path, const char *to,
                 const char *format)
{
    if (p->count == PLAN_MAX - 1) { /* the last one is the configuration's */
        p->no_memory = true;
        return;
    }
    struct store_change *c = &p->change[p->count++];
    c->kind = kind;
    c->path = keep(p, path);
    c->to = keep(p, to);
    c->format = keep(p, format);
}

static void plan_made(struct plan *p, const char *path)
{
    if (p->made_count < ARRAY_LEN(p->made))
        p->made[p->made_count++] = strdup(path);
}

/* Applies it with the new NAME.conf, or takes the new files away and v back to what it was. */
static enum hv_status plan_end(struct plan *p, struct vm_dir *v, enum hv_status status)
{
    char path[STORE_PATH_MAX], name[VM_DIR_NAME + 8], *text = vm_dir_text(v);

    snprintf(name, sizeof(name), "%s.conf", v->name);
    vm_dir_path(v, name, path);
    if (status == HV_OK && !text)
        status = vm_dir_fail(v, HV_E2BIG, "its configuration would be longer than 64 KiB");
    if (status == HV_OK && p->no_memory)
        status = vm_dir_fail(v, HV_ENOMEM, "no memory for so many changes at once");
    if (status == HV_OK) {
        p->change[p->count++] = (struct store_change){
            .kind = STORE_PUT, .path = path, .text = text, .length = (u32)strlen(text)};
        status = vm_dir_store_failed(v, store_apply(v->store, p->change, p->count));
    }
    if (status != HV_OK) {
        char why[IMAGE_ERROR_MAX];

        memcpy(why, v->error, sizeof(why));
        for (u32 i = 0; i < p->made_count; i++)
            if (p->made[i] && store_remove(v->store, p->made[i]) != HV_OK)
                continue; /* snapshot_sweep() finds it */
        if (vm_dir_reload(v) == HV_OK || why[0])
            memcpy(v->error, why, sizeof(why));
    }
    for (u32 i = 0; i < p->kept_count; i++)
        free(p->kept[i]);
    for (u32 i = 0; i < p->made_count; i++)
        free(p->made[i]);
    free(text);
    free(p);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* "web1-disk0-000003.delta": the lowest number that is free. */
static enum hv_status new_name(struct vm_dir *v, u32 disk, const char *extension,
                               char name[STORE_PATH_MAX], char path[STORE_PATH_MAX])
{
    struct store_stat st;
    enum hv_status status = HV_OK;

    for (u32 n = 1; status == HV_OK; n++) {
        snprintf(name, STORE_PATH_MAX, "%s-disk%u-%06u.%s", v->name, disk, n, extension);
        vm_dir_path(v, name, path);
        status = path[0] ? store_stat(v->store, path, &st) : HV_EINVAL;
    }
    return status == HV_ENOENT ? HV_OK : vm_dir_store_failed(v, status);
}

static bool inside(const struct vm_dir *v, const char *path)
{
    u64 len = strlen(v->path);

    return !strncmp(path, v->path, len) && path[len] == '/';
}

/* Is this the file of one of the VM's states but `but`? */
static bool is_state_file(struct vm_dir *v, const char *path, const struct vm_dir_state *but)
{
    char file[STORE_PATH_MAX];

    for (u32 i = 0; i <= v->snapshot_count; i++) {
        const struct vm_dir_state *s = i < v->snapshot_count ? v->snapshot[i] : &v->now;

        for (u32 d = 0; d < s->disk_count && s != but; d++) {
            vm_dir_path(v, s->disk[d].file, file);
            if (!strcmp(file, path))
                return true;
        }
    }
    return false;
}

/* The top of a state's disk as the base of something new.  size: of the disk. */
static enum hv_status look_at_base(struct vm_dir *v, const char *path, const char *format, u32 most,
                                   struct image_options *o)
{
    struct store_image *chain = calloc(IMAGE_CHAIN_MAX, sizeof(*chain));
    struct disk *file;
    struct image *img = calloc(1, sizeof(*img));
    u32 count = 0;
    enum hv_status status = chain && img ? HV_OK : HV_ENOMEM;

    if (status == HV_OK)
        status = store_chain(v->store, path, chain, IMAGE_CHAIN_MAX, &count);
    vm_dir_store_failed(v, status);
    if (status == HV_OK && count >= most)
        status = vm_dir_fail(v, HV_E2BIG, "%.80s is the top of a chain of %u images", path, count);
    if (status == HV_OK)
        status = vm_dir_store_failed(v, store_open(v->store, path, true, &file));
    if (status == HV_OK) {
        status = image_layer_open(img, file, image_format(format), NULL, true);
        o->size = img->size;
        if (status == HV_OK)
            image_layer_close(img);
        else
            vm_dir_fail(v, status, "%.80s: %.100s", path, img->error);
        disk_close(file);
    }
    free(chain);
    free(img);
    return status;
}

/* New empty images over the disks of `from` (of directory `of`), as the disks of what is now. */
static enum hv_status new_tops(struct vm_dir *v, struct plan *p, const struct vm_dir *of,
                               const struct vm_dir_state *from, u32 most)
{
    struct vm_dir_state *now = &v->now;
    enum hv_status status = HV_OK;

    for (u32 i = 0; i < from->disk_count && status == HV_OK; i++) {
        const struct vm_dir_disk *d = &from->disk[i];
        char base[STORE_PATH_MAX], name[STORE_PATH_MAX], path[STORE_PATH_MAX];
        const char *slash;
        struct image_options o = {.parent_format = d->format};

        vm_dir_path(of, d->file, base);
        if (!image_format(d->format))
            return vm_dir_fail(v, HV_ENOSYS, "'%s' is not a format of images", d->format);
        status = look_at_base(v, base, d->format, most, &o);
        if (status == HV_OK)
            status = new_name(v, d->number, "delta", name, path);
        if (status != HV_OK)
            break;
        slash = strrchr(base, '/');
        o.parent_name = slash ? slash + 1 : base;
        status = chain_create(v->store, path, "qcow2", &o, NULL, v->error);
        if (status != HV_OK)
            break;
        plan_made(p, path);
        struct store_image first;
        u32 count;
        if (store_chain(v->store, base, &first, 1, &count) == HV_OK && !first.format[0])
            plan(p, STORE_IMAGE, base, NULL, d->format); /* known from now on */
        plan(p, STORE_IMAGE, path, base, "qcow2");
        now->disk[i] = (struct vm_dir_disk){.number = d->number, .format = "qcow2"};
        memcpy(now->disk[i].file, name, sizeof(name));
        now->disk_count = i + 1;
    }
    return status;
}

static struct plan *new_plan(struct vm_dir *v)
{
    struct plan *p = calloc(1, sizeof(*p));

    v->error[0] = 0;
    if (!p)
        vm_dir_fail(v, HV_ENOMEM, "no memory");
    return p;
}

/* ---- a running VM ---------------------------------------------------------------------------- */

static bool is_running(const struct snapshot_vm *vm)
{
    return vm && vm->running(vm->owner);
}

static enum hv_status stop(struct vm_dir *v, const struct snapshot_vm *vm)
{
    if (!is_running(vm))
        return HV_OK;
    enum hv_status status = vm->stop(vm->owner);
    return status == HV_OK ? status : vm_dir_fail(v, status, "the VM's disks do not come to rest");
}

static enum hv_status go(struct vm_dir *v, const struct snapshot_vm *vm, enum hv_status status)
{
    if (!is_running(vm))
        return status;
    enum hv_status gone = vm->go(vm->owner, &v->now);
    if (gone != HV_OK && status == HV_OK)
        return vm_dir_fail(v, gone, "it is done, but the VM's disks cannot be opened again");
    return status;
}

/* ---- take, revert, link ---------------------------------------------------------------------- */

/* Has what is written to a configuration no byte that would end a line or begin a comment? */
static bool is_line(const char *text)
{
    for (const char *at = text; *at; at++)
        if ((u8)*at < 0x20 || *at == 0x7f || *at == '#')
            return false;
    return strlen(text) < VM_DIR_DESCRIPTION;
}

/* New tops for what is now; `name` (NULL: none) is a snapshot of what was. */
static enum hv_status freeze(struct vm_dir *v, const char *name, const char *description)
{
    struct plan *p = new_plan(v);
    struct vm_dir_state *s = p && name ? calloc(1, sizeof(*s)) : NULL;
    struct vm_dir_state before = {0};
    enum hv_status status = p && (s || !name) ? HV_OK : HV_ENOMEM;

    if (status == HV_OK && !vm_dir_copy_state(&before, &v->now))
        status = HV_ENOMEM;
    if (status == HV_OK)
        status = new_tops(v, p, v, &before, name ? SNAPSHOT_CHAIN_MAX : IMAGE_CHAIN_MAX);
    if (status == HV_OK && name) {
        *s = before;
        before.settings = NULL;
        snprintf(s->name, sizeof(s->name), "%s", name);
        snprintf(s->description, sizeof(s->description), "%s", description);
        s->time = clock_unix();
        memcpy(v->now.parent, s->name, sizeof(s->name));
        v->snapshot[v->snapshot_count++] = s;
        s = NULL;
    }
    free(s);
    free(before.settings);
    return p ? plan_end(p, v, status) : status;
}

enum hv_status snapshot_take(struct vm_dir *v, const char *name, const char *description,
                             const struct snapshot_vm *vm)
{
    enum hv_status status;

    if (!vm_dir_name_valid(name))
        return vm_dir_fail(v, HV_EINVAL, "'%.40s' is not a name for a snapshot", name);
    if (!is_line(description))
        return vm_dir_fail(v, HV_EINVAL, "a description is one line of at most 127 bytes, no '#'");
    if (vm_dir_find(v, name))
        return vm_dir_fail(v, HV_EEXIST, "there is a snapshot '%s' already", name);
    if (v->snapshot_count == VM_DIR_SNAPSHOTS)
        return vm_dir_fail(v, HV_E2BIG, "it has %u snapshots", v->snapshot_count);
    status = stop(v, vm);
    if (status == HV_OK)
        status = go(v, vm, freeze(v, name, description));
    return status;
}

static bool planned(const struct plan *p, const char *path)
{
    for (u32 i = 0; i < p->count; i++)
        if (p->change[i].kind == STORE_DROP && p->change[i].path &&
            !strcmp(p->change[i].path, path))
            return true;
    return false;
}

/* The VM's own images from the top of a disk down to what another state names; unless `whole`, a
 * disk of which no other state has a part is kept. */
static enum hv_status drop_segment(struct vm_dir *v, struct plan *p, const struct vm_dir_state *s,
                                   const struct vm_dir_disk *d, bool whole)
{
    struct store_image *chain = calloc(IMAGE_CHAIN_MAX, sizeof(*chain));
    char path[STORE_PATH_MAX];
    u32 count = 0, own = 0;
    enum hv_status status = chain ? HV_OK : HV_ENOMEM;

    vm_dir_path(v, d->file, path);
    if (status == HV_OK)
        status = store_chain(v->store, path, chain, IMAGE_CHAIN_MAX, &count);
    while (status == HV_OK && own < count && inside(v, chain[own].path) &&
           !is_state_file(v, chain[own].path, s))
        own++;
    for (u32 i = 0; i < own && (whole || own < count); i++)
        if (!planned(p, chain[i].path))
            plan(p, STORE_DROP, chain[i].path, NULL, NULL);
    free(chain);
    return vm_dir_store_failed(v, status);
}

enum hv_status snapshot_revert(struct vm_dir *v, const char *name)
{
    struct vm_dir_state *s = vm_dir_find(v, name);
    struct plan *p = s ? new_plan(v) : NULL;
    enum hv_status status = HV_OK;

    if (!s)
        return vm_dir_fail(v, HV_ENOENT, "there is no snapshot '%.40s'", name);
    if (!p)
        return HV_ENOMEM;
    for (u32 i = 0; i < v->now.disk_count && status == HV_OK; i++)
        status = drop_segment(v, p, &v->now, &v->now.disk[i], false);
    if (status == HV_OK && !vm_dir_set_settings(&v->now, s->settings))
        status = HV_ENOMEM;
    v->now.disk_count = 0;
    memcpy(v->now.parent, s->name, sizeof(s->name));
    if (status == HV_OK)
        status = new_tops(v, p, v, s, SNAPSHOT_CHAIN_MAX);
    return plan_end(p, v, status);
}

enum hv_status snapshot_link(struct vm_dir *v, const struct vm_dir *from_dir,
                             const struct vm_dir_state *from)
{
    struct plan *p = new_plan(v);

    return p ? plan_end(p, v, new_tops(v, p, from_dir, from, SNAPSHOT_CHAIN_MAX)) : HV_ENOMEM;
}

/* ---- clones ---------------------------------------------------------------------------------- */

struct clones {
    const struct vm_dir *v;
    char *who;
    bool any;
};

static void on_child(void *arg, const char *child)
{
    struct clones *c = arg;

    if (inside(c->v, child) || c->any)
        return;
    c->any = true;
    snprintf(c->who, STORE_PATH_MAX, "%s", child);
}

bool snapshot_has_clones(struct vm_dir *v, const struct vm_dir_state *s, char who[STORE_PATH_MAX])
{
    struct clones c = {v, who, false};
    char path[STORE_PATH_MAX];

    for (u32 i = 0; i <= v->snapshot_count; i++) {
        const struct vm_dir_state *at = i < v->snapshot_count ? v->snapshot[i] : &v->now;

        for (u32 d = 0; d < at->disk_count && (!s || s == at); d++) {
            vm_dir_path(v, at->disk[d].file, path);
            if (store_children(v->store, path, on_child, &c) != HV_OK)
                snprintf(who, STORE_PATH_MAX, "an image that cannot be told");
        }
    }
    return c.any;
}

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
        if (!inside(m->v, c->image[i].path))
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
    enum hv_status status = new_name(v, number, plain && base[0] ? base : "delta", r->name, path);
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
    if (count < 2 || is_state_file(v, two[1].path, NULL))
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
    struct plan *p;
    const char *to;
};

static void on_orphan(void *arg, const char *child)
{
    struct adoption *a = arg;

    plan(a->p, STORE_IMAGE, child, a->to, NULL);
}

/* The new image takes the place of the old ones. */
static enum hv_status swap_in(struct vm_dir *v, struct plan *p, struct merged *r)
{
    char path[STORE_PATH_MAX];
    struct adoption a = {p, path};
    enum hv_status status;

    vm_dir_path(v, r->name, path);
    plan_made(p, path);
    status = store_children(v->store, r->top, on_orphan, &a);
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

static void drop_old(struct vm_dir *v, struct plan *p, const struct merged *r)
{
    for (u32 i = 0; i < r->old_count; i++)
        if (!planned(p, r->old[i]) && !is_state_file(v, r->old[i], NULL))
            plan(p, STORE_DROP, r->old[i], NULL, NULL);
}

static enum hv_status swap_all(struct merging *m, enum hv_status status)
{
    struct vm_dir *v = m->v;
    struct plan *p = new_plan(v);

    if (!p)
        return HV_ENOMEM;
    for (u32 i = 0; i < m->count && status == HV_OK; i++)
        status = swap_in(v, p, m->list[i]);
    for (u32 d = 0; m->gone && d < m->gone->disk_count && status == HV_OK; d++)
        status = drop_segment(v, p, m->gone, &m->gone->disk[d], true);
    if (status == HV_OK && m->gone)
        forget(v, m->gone);
    for (u32 i = 0; i < m->count && status == HV_OK; i++)
        drop_old(v, p, m->list[i]);
    return plan_end(p, v, status);
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
    status = stop(v, vm);
    bool stopped = status == HV_OK;
    if (stopped)
        status = swap_all(m, status);
    end_merging(m, status != HV_OK);
    return stopped ? go(v, vm, status) : status;
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
        if (!is_running(vm))
            return snapshot_collapse(v, job);
        bool last = bytes <= SMALL + MIB * v->now.disk_count || round == ROUNDS;

        status = stop(v, vm);
        if (status == HV_OK && !last) {
            status = go(v, vm, freeze(v, NULL, NULL));
            if (status == HV_OK)
                status = merge_states(v, NULL, true, job, vm);
        } else if (status == HV_OK) {
            return go(v, vm, merge_states(v, NULL, false, job, NULL));
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
    live = is_running(vm) && !strcmp(v->now.parent, name);
    if (live) {
        status = stop(v, vm);
        if (status == HV_OK)
            status = go(v, vm, freeze(v, NULL, NULL));
        s = vm_dir_find(v, name);
    }
    if (status == HV_OK)
        status = merge_states(v, s, live, job, vm);
    return status == HV_OK && live ? catch_up(v, job, vm) : status;
}

/* ---- what a power cut left ------------------------------------------------------------------- */

struct sweep {
    struct vm_dir *v;
    char name[64][101];
    u32 count;
};

static void on_file(void *arg, const char *name, const struct store_stat *st)
{
    struct sweep *s = arg;
    char prefix[VM_DIR_NAME + 8];
    int len = snprintf(prefix, sizeof(prefix), "%s-disk", s->v->name);
    const char *dot = strrchr(name, '.');

    /* Only names that new_name() gives. */
    if (!st->directory && !st->text && !strncmp(name, prefix, (size_t)len) && dot &&
        dot - name > 8 && dot[-7] == '-' && strspn(dot - 6, "0123456789") == 6 && s->count < 64)
        snprintf(s->name[s->count++], sizeof(s->name[0]), "%s", name);
}

static bool is_needed(struct vm_dir *v, const char *path)
{
    struct store_image *chain = calloc(IMAGE_CHAIN_MAX, sizeof(*chain));
    bool needed = !chain;

    for (u32 i = 0; i <= v->snapshot_count && !needed; i++) {
        const struct vm_dir_state *s = i < v->snapshot_count ? v->snapshot[i] : &v->now;

        for (u32 d = 0; d < s->disk_count && !needed; d++) {
            char top[STORE_PATH_MAX];
            u32 count;

            vm_dir_path(v, s->disk[d].file, top);
            needed = store_chain(v->store, top, chain, IMAGE_CHAIN_MAX, &count) != HV_OK;
            for (u32 n = 0; n < count && !needed; n++)
                needed = !strcmp(chain[n].path, path);
        }
    }
    free(chain);
    return needed;
}

enum hv_status snapshot_sweep(struct vm_dir *v)
{
    struct sweep *s = calloc(1, sizeof(*s));
    enum hv_status status = s ? HV_OK : HV_ENOMEM;
    char path[STORE_PATH_MAX];

    if (!s)
        return status;
    s->v = v;
    status = vm_dir_store_failed(v, store_list(v->store, v->path, on_file, s));
    for (u32 i = 0; i < s->count && status == HV_OK; i++) {
        vm_dir_path(v, s->name[i], path);
        if (!is_needed(v, path))
            status = vm_dir_store_failed(v, store_remove(v->store, path));
        if (status == HV_EBUSY) /* open, or the base of what comes later in the list */
            status = HV_OK;
    }
    free(s);
    return status;
}
