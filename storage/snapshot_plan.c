/* What changes of a VM's directory have in common: changes that are collected and then applied in
 * one transaction, names of new files, a VM that is held meanwhile.  For snapshot.c and
 * snapshot_delete.c. */
#include "storage/snapshot_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *keep(struct snapshot_plan *p, const char *text)
{
    char *copy = text && p->kept_count < ARRAY_LEN(p->kept) ? strdup(text) : NULL;

    if (copy)
        p->kept[p->kept_count++] = copy;
    else if (text)
        p->no_memory = true;
    return copy;
}

void snapshot_plan_add(struct snapshot_plan *p, enum store_change_kind kind, const char *path,
                       const char *to, const char *format)
{
    if (p->count == SNAPSHOT_CHANGES - 1) { /* the last one is the configuration's */
        p->no_memory = true;
        return;
    }
    struct store_change *c = &p->change[p->count++];
    c->kind = kind;
    c->path = keep(p, path);
    c->to = keep(p, to);
    c->format = keep(p, format);
}

void snapshot_plan_add_image(struct snapshot_plan *p, const char *path, const char *parent,
                             const char *format, u64 size)
{
    u32 had = p->count;

    snapshot_plan_add(p, STORE_IMAGE, path, parent, format);
    if (p->count > had)
        p->change[had].size = size;
}

enum hv_status snapshot_plan_nvram(struct snapshot_plan *p, struct vm_dir *v, const char *as,
                                   const struct vm_dir *of, const char *from)
{
    char to[STORE_PATH_MAX], path[STORE_PATH_MAX], *text;
    struct store_stat st;
    u32 length, had = p->count;
    enum hv_status status = HV_ENOENT;

    vm_dir_nvram(v, as, to);
    if (of) {
        vm_dir_nvram(of, from, path);
        status = store_get(of->store, path, &text, &length);
        if (status != HV_OK && status != HV_ENOENT)
            return vm_dir_fail(v, status, "%.80s: %.100s", path, store_error(of->store));
    }
    if (status == HV_ENOENT) { /* as before the guest had written any */
        if (store_stat(v->store, to, &st) == HV_OK)
            snapshot_plan_add(p, STORE_DROP, to, NULL, NULL);
        return HV_OK;
    }
    snapshot_plan_add(p, STORE_PUT, to, NULL, NULL);
    if (p->count == had || p->kept_count == ARRAY_LEN(p->kept)) {
        free(text);
        p->no_memory = true;
        return HV_OK;
    }
    p->kept[p->kept_count++] = text;
    p->change[had].text = text;
    p->change[had].length = length;
    return HV_OK;
}

void snapshot_plan_made(struct snapshot_plan *p, const char *path)
{
    if (p->made_count < ARRAY_LEN(p->made))
        p->made[p->made_count++] = strdup(path);
}

/* Applies it with the new NAME.conf, or takes the new files away and v back to what it was. */
enum hv_status snapshot_plan_end(struct snapshot_plan *p, struct vm_dir *v, enum hv_status status)
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

struct snapshot_plan *snapshot_plan_new(struct vm_dir *v)
{
    struct snapshot_plan *p = calloc(1, sizeof(*p));

    v->error[0] = 0;
    if (!p)
        vm_dir_fail(v, HV_ENOMEM, "no memory");
    return p;
}

bool snapshot_planned(const struct snapshot_plan *p, const char *path)
{
    for (u32 i = 0; i < p->count; i++)
        if (p->change[i].kind == STORE_DROP && p->change[i].path &&
            !strcmp(p->change[i].path, path))
            return true;
    return false;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* "web1-disk0-000003.delta": the lowest number that is free. */
enum hv_status snapshot_new_name(struct vm_dir *v, u32 disk, const char *extension,
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

bool snapshot_inside(const struct vm_dir *v, const char *path)
{
    u64 len = strlen(v->path);

    return !strncmp(path, v->path, len) && path[len] == '/';
}

/* Is this the file of one of the VM's states but `but`? */
bool snapshot_is_state_file(struct vm_dir *v, const char *path, const struct vm_dir_state *but)
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

/* ---- a running VM ---------------------------------------------------------------------------- */

bool snapshot_is_running(const struct snapshot_vm *vm)
{
    return vm && vm->running(vm->owner);
}

enum hv_status snapshot_vm_stop(struct vm_dir *v, const struct snapshot_vm *vm)
{
    if (!snapshot_is_running(vm))
        return HV_OK;
    enum hv_status status = vm->stop(vm->owner);
    return status == HV_OK ? status : vm_dir_fail(v, status, "the VM's disks do not come to rest");
}

enum hv_status snapshot_vm_go(struct vm_dir *v, const struct snapshot_vm *vm, enum hv_status status)
{
    if (!snapshot_is_running(vm))
        return status;
    enum hv_status gone = vm->go(vm->owner, &v->now);
    if (gone != HV_OK && status == HV_OK)
        return vm_dir_fail(v, gone, "it is done, but the VM's disks cannot be opened again");
    return status;
}
