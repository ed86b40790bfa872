/* Cloning a VM: its disks linked or copied into a directory of its own.  Called by commands in a
 * fiber. */
#include "vmm/vm_clone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/inventory.h"
#include "vmm/vm_disk.h"

struct cloning {
    struct vm *from;
    struct vm_dir *source, *target;
    const struct vm_dir_state *state; /* of the source */
    struct merge_job *job;
    struct vm_error *e;
};

bool vm_clone_config(struct vm *from, const char *snapshot, struct vm_config *out,
                     struct vm_error *e)
{
    struct vm_dir *v;

    if (!vm_home_open(from, &v, e))
        return false;
    const struct vm_dir_state *s = snapshot ? vm_dir_find(v, snapshot) : &v->now;
    bool ok = s ? vm_home_config(v, s, out, e)
                : vm_error(e, HV_ENOENT, "E_NOENT", "vm snapshot list VM",
                           "there is no snapshot '%.40s'", snapshot);
    vm_dir_free(v);
    if (!ok)
        return false;
    out->name[0] = out->home[0] = 0;
    out->number = 0;
    out->is_template = false;
    out->autostart = false;
    for (u32 i = 0; i < VM_NICS; i++)
        out->nic[i].mac = 0;
    vm_home_new_uuid(out->uuid);
    return true;
}

/* ---- copies -----------------------------------------------------------------------------------
 */

static bool copy_chain(struct cloning *k, const struct vm_dir_disk *d, struct vm_dir_disk *to)
{
    struct store *s = k->target->store;
    struct chain *c = NULL;
    char error[IMAGE_ERROR_MAX] = "", from[STORE_PATH_MAX], path[STORE_PATH_MAX];

    vm_dir_path(k->source, d->file, from);
    enum hv_status status = chain_open(s, from, d->format, true, &c, error);
    if (status != HV_OK)
        return vm_home_failed(k->e, status, error);
    const char *base = c->image[c->count - 1].format, *format = base[0] ? base : "raw";
    if (c->count == 1)
        format = d->format;
    snprintf(to->file, sizeof(to->file), "%s-disk%u.%s", k->target->name, d->number, format);
    memcpy(to->format, format, strlen(format) + 1); /* at most as long as in the store */
    vm_dir_path(k->target, to->file, path);
    if (c->count == 1)
        status = store_copy(s, from, path);
    else
        status = merge_images(s, c, c->count - 1, path, k->job, to->format, error);
    if (status == HV_OK) {
        struct store_change change = {
            .kind = STORE_IMAGE, .path = path, .format = to->format, .size = c->disk->size};

        status = store_apply(s, &change, 1);
    }
    chain_close(c);
    return status == HV_OK ? true : vm_home_failed(k->e, status, error[0] ? error : store_error(s));
}

#define PIECE (256 * KIB)

static enum hv_status copy_bytes(struct cloning *k, struct disk *from, struct disk *to)
{
    u8 *buf = malloc(PIECE);
    enum hv_status status = buf ? HV_OK : HV_ENOMEM;

    k->job->total += from->size;
    for (u64 at = 0, n; at < from->size && status == HV_OK; at += n) {
        n = MIN(from->size - at, PIECE);
        status = disk_read(from, at, buf, n);
        if (status == HV_OK && (buf[0] || memcmp(buf, buf + 1, n - 1)))
            status = disk_write(to, at, buf, n);
        k->job->done += n;
        if (k->job->cancel)
            status = HV_ETIMEDOUT;
        fiber_yield();
    }
    free(buf);
    return status == HV_OK ? disk_flush(to) : status;
}

/* Into another store: nothing can be shared. */
static bool copy_over(struct cloning *k, const struct vm_dir_disk *d, struct vm_dir_disk *to)
{
    struct chain *from = NULL, *c = NULL;
    char error[IMAGE_ERROR_MAX] = "", path[STORE_PATH_MAX];
    struct image_options o = {0};

    vm_dir_path(k->source, d->file, path);
    enum hv_status status = chain_open(k->source->store, path, d->format, true, &from, error);
    if (status == HV_OK) {
        o.size = from->disk->size;
        snprintf(to->format, sizeof(to->format), "qcow2");
        snprintf(to->file, sizeof(to->file), "%s-disk%u.qcow2", k->target->name, d->number);
        vm_dir_path(k->target, to->file, path);
        status = chain_create(k->target->store, path, to->format, &o, NULL, error);
    }
    if (status == HV_OK)
        status = chain_open(k->target->store, path, to->format, false, &c, error);
    if (status == HV_OK) {
        status = copy_bytes(k, from->disk, c->disk);
        enum hv_status closed = chain_close(c);
        status = status == HV_OK ? closed : status;
    }
    if (from)
        chain_close(from);
    return status == HV_OK ? true : vm_home_failed(k->e, status, error);
}

static bool copy_disks(struct cloning *k)
{
    struct vm_dir_state *now = &k->target->now;
    bool same = k->source->store == k->target->store, ok = true;

    for (u32 i = 0; i < k->state->disk_count && ok; i++) {
        struct vm_dir_disk *to = &now->disk[i];

        *to = (struct vm_dir_disk){.number = k->state->disk[i].number};
        ok = same ? copy_chain(k, &k->state->disk[i], to) : copy_over(k, &k->state->disk[i], to);
        now->disk_count = i + 1;
    }
    enum hv_status status = ok ? snapshot_save_clone(k->target, k->source, k->state) : HV_OK;
    return status == HV_OK ? ok : vm_home_failed(k->e, status, k->target->error);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

/* The directory of the clone, with settings and no disks yet. */
static bool make_target(struct cloning *k, const struct vm_config *c)
{
    struct store *s;
    const char *path;
    char error[IMAGE_ERROR_MAX];

    if (!vm_disk_find(c->home, &s, &path, k->e))
        return false;
    struct vm_config *bare = malloc(sizeof(*bare));
    if (!bare)
        return vm_home_failed(k->e, HV_ENOMEM, "no memory");
    enum hv_status status = vm_dir_make(s, path, c->name, &k->target, error);
    bool ok = status == HV_OK ? true : vm_home_failed(k->e, status, error);
    *bare = *c;
    for (u32 i = 0; i < VM_DISKS; i++)
        bare->disk[i].file[0] = 0; /* those of the source */
    ok = ok && vm_home_state(k->target, bare, &k->target->now, k->e);
    free(bare);
    return ok;
}

static bool fill(struct cloning *k, const struct vm_config *c, bool linked, struct vm **out)
{
    if (linked && k->source->store != k->target->store)
        return vm_error(k->e, HV_ENOSYS, "E_TWO_STORES", "home= on the same store, or a full clone",
                        "a linked clone lies on its base's store");
    if (linked) {
        enum hv_status status = snapshot_link(k->target, k->source, k->state);

        if (status != HV_OK)
            return vm_home_failed(k->e, status, k->target->error);
    } else if (!copy_disks(k)) {
        return false;
    }
    return vm_home_register(c->home, false, out, k->e);
}

static bool take_point(struct cloning *k, const char *name)
{
    struct snapshot_vm vm = vm_home_snapshot_vm(k->from);
    enum hv_status status = snapshot_take(k->source, name, "for a clone", &vm);

    k->state = status == HV_OK ? vm_dir_find(k->source, name) : NULL;
    if (status == HV_OK && k->from->phase == PHASE_STOPPED) {
        struct vm_config *c = calloc(1, sizeof(*c)); /* the VM's disks are the new images */

        if (c && vm_home_config(k->source, &k->source->now, c, k->e))
            memcpy(k->from->config.disk, c->disk, sizeof(c->disk));
        free(c);
    }
    return k->state ? true : vm_home_failed(k->e, status, k->source->error);
}

static void drop_point(struct cloning *k, const char *name)
{
    struct snapshot_vm vm = vm_home_snapshot_vm(k->from);
    struct merge_job job = {0};

    if (snapshot_delete(k->source, name, &job, &vm) == HV_OK && k->from->phase == PHASE_STOPPED) {
        struct vm_config *c = calloc(1, sizeof(*c));
        struct vm_error ignored;

        if (c && vm_home_config(k->source, &k->source->now, c, &ignored))
            memcpy(k->from->config.disk, c->disk, sizeof(c->disk));
        free(c);
    }
}

bool vm_clone(struct vm *from, const char *snapshot, const struct vm_config *c, bool linked,
              struct merge_job *job, struct vm **out, struct vm_error *e)
{
    struct cloning k = {.from = from, .job = job, .e = e};
    struct vm_error ignored;
    char point[VM_DIR_NAME];
    bool own_point = false, ok;

    if (inventory_find(c->name))
        return vm_error(e, HV_EEXIST, "E_EXISTS", "vm list", "there is already a VM %s", c->name);
    if (snprintf(point, sizeof(point), "clone-%s", c->name) >= (int)sizeof(point))
        return vm_error(e, HV_EINVAL, "E_CONFIG", "at most 25 characters", "the name is too long");
    if (!vm_home_open(from, &k.source, e))
        return false;
    k.state = snapshot ? vm_dir_find(k.source, snapshot) : &k.source->now;
    ok = k.state != NULL;
    if (!ok)
        vm_error(e, HV_ENOENT, "E_NOENT", "vm snapshot list VM", "there is no snapshot '%.40s'",
                 snapshot);
    if (ok && !snapshot && k.state->disk_count && !from->config.is_template &&
        (linked || from->phase != PHASE_STOPPED))
        ok = own_point = take_point(&k, point);
    if (ok) {
        ok = make_target(&k, c) && fill(&k, c, linked, out);
        if (!ok && k.target && !vm_home_remove(k.target, &ignored))
            ok = false; /* what is left is told by the next attempt */
    }
    if (own_point && (!linked || !ok))
        drop_point(&k, point);
    if (k.target)
        vm_dir_free(k.target);
    vm_dir_free(k.source);
    return ok;
}
