/* Taking, reverting and deleting snapshots of a VM's directory; called by the shell's commands, one
 * at a time for a VM. */
#include "storage/snapshot_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/qcow2_parent.h"

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
static enum hv_status new_tops(struct vm_dir *v, struct snapshot_plan *p, const struct vm_dir *of,
                               const struct vm_dir_state *from, u32 most)
{
    struct vm_dir_state *now = &v->now;
    enum hv_status status = HV_OK;

    for (u32 i = 0; i < from->disk_count && status == HV_OK; i++) {
        const struct vm_dir_disk *d = &from->disk[i];
        char base[STORE_PATH_MAX], name[STORE_PATH_MAX], path[STORE_PATH_MAX];
        struct image_options o = {.parent_format = qcow2_parent_format(d->format)};

        vm_dir_path(of, d->file, base);
        if (!image_format(d->format))
            return vm_dir_fail(v, HV_ENOSYS, "'%s' is not a format of images", d->format);
        status = look_at_base(v, base, d->format, most, &o);
        if (status == HV_OK)
            status = snapshot_new_name(v, d->number, "delta", name, path);
        if (status != HV_OK)
            break;
        o.parent_name = chain_base_name(base);
        status = chain_create(v->store, path, "qcow2", &o, NULL, v->error);
        if (status != HV_OK)
            break;
        snapshot_plan_made(p, path);
        struct store_image first;
        u32 count;
        if (store_chain(v->store, base, &first, 1, &count) == HV_OK && !first.format[0])
            snapshot_plan_add_image(p, base, NULL, d->format, o.size); /* known from now on */
        snapshot_plan_add_image(p, path, base, "qcow2", o.size);
        now->disk[i] = (struct vm_dir_disk){.number = d->number, .format = "qcow2"};
        memcpy(now->disk[i].file, name, sizeof(name));
        now->disk_count = i + 1;
    }
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
enum hv_status snapshot_freeze(struct vm_dir *v, const char *name, const char *description)
{
    struct snapshot_plan *p = snapshot_plan_new(v);
    struct vm_dir_state *s = p && name ? calloc(1, sizeof(*s)) : NULL;
    struct vm_dir_state before = {0};
    enum hv_status status = p && (s || !name) ? HV_OK : HV_ENOMEM;

    if (status == HV_OK && !vm_dir_copy_state(&before, &v->now))
        status = HV_ENOMEM;
    if (status == HV_OK)
        status = new_tops(v, p, v, &before, name ? SNAPSHOT_CHAIN_MAX : IMAGE_CHAIN_MAX);
    if (status == HV_OK && name)
        status = snapshot_plan_nvram(p, v, name, v, "");
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
    return p ? snapshot_plan_end(p, v, status) : status;
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
    status = snapshot_vm_stop(v, vm);
    if (status == HV_OK)
        status = snapshot_vm_go(v, vm, snapshot_freeze(v, name, description));
    return status;
}

/* The VM's own images from the top of a disk down to what another state names; unless `whole`, a
 * disk of which no other state has a part is kept. */
enum hv_status snapshot_drop_segment(struct vm_dir *v, struct snapshot_plan *p,
                                     const struct vm_dir_state *s, const struct vm_dir_disk *d,
                                     bool whole)
{
    struct store_image *chain = calloc(IMAGE_CHAIN_MAX, sizeof(*chain));
    char path[STORE_PATH_MAX];
    u32 count = 0, own = 0;
    enum hv_status status = chain ? HV_OK : HV_ENOMEM;

    vm_dir_path(v, d->file, path);
    if (status == HV_OK)
        status = store_chain(v->store, path, chain, IMAGE_CHAIN_MAX, &count);
    while (status == HV_OK && own < count && snapshot_inside(v, chain[own].path) &&
           !snapshot_is_state_file(v, chain[own].path, s))
        own++;
    for (u32 i = 0; i < own && (whole || own < count); i++)
        if (!snapshot_planned(p, chain[i].path))
            snapshot_plan_add(p, STORE_DROP, chain[i].path, NULL, NULL);
    free(chain);
    return vm_dir_store_failed(v, status);
}

enum hv_status snapshot_revert(struct vm_dir *v, const char *name)
{
    struct vm_dir_state *s = vm_dir_find(v, name);
    struct snapshot_plan *p = s ? snapshot_plan_new(v) : NULL;
    enum hv_status status = HV_OK;

    if (!s)
        return vm_dir_fail(v, HV_ENOENT, "there is no snapshot '%.40s'", name);
    if (!p)
        return HV_ENOMEM;
    for (u32 i = 0; i < v->now.disk_count && status == HV_OK; i++)
        status = snapshot_drop_segment(v, p, &v->now, &v->now.disk[i], false);
    if (status == HV_OK && !vm_dir_set_settings(&v->now, s->settings))
        status = HV_ENOMEM;
    v->now.disk_count = 0;
    memcpy(v->now.parent, s->name, sizeof(s->name));
    if (status == HV_OK)
        status = new_tops(v, p, v, s, SNAPSHOT_CHAIN_MAX);
    if (status == HV_OK)
        status = snapshot_plan_nvram(p, v, "", v, name);
    return snapshot_plan_end(p, v, status);
}

enum hv_status snapshot_link(struct vm_dir *v, const struct vm_dir *from_dir,
                             const struct vm_dir_state *from)
{
    struct snapshot_plan *p = snapshot_plan_new(v);

    if (!p)
        return HV_ENOMEM;
    enum hv_status status = new_tops(v, p, from_dir, from, SNAPSHOT_CHAIN_MAX);
    if (status == HV_OK)
        status = snapshot_plan_nvram(p, v, "", from_dir, from->name);
    return snapshot_plan_end(p, v, status);
}

enum hv_status snapshot_save_clone(struct vm_dir *v, const struct vm_dir *from_dir,
                                   const struct vm_dir_state *from)
{
    struct snapshot_plan *p = snapshot_plan_new(v);

    return p ? snapshot_plan_end(p, v, snapshot_plan_nvram(p, v, "", from_dir, from->name))
             : HV_ENOMEM;
}

bool snapshot_is_old(const struct vm_dir_state *s, i64 now, u32 hours)
{
    return s->time > 0 && now > s->time && now - s->time >= (i64)hours * 3600;
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

    if (snapshot_inside(c->v, child) || c->any)
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

    /* Only names that snapshot_new_name() gives. */
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
