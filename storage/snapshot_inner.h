/* What the parts of snapshots share: the plan of a change, and small helpers.  For snapshot.c,
 * snapshot_delete.c and snapshot_plan.c; on the storage fibers. */
#pragma once

#include "storage/snapshot.h"

#define SNAPSHOT_CHANGES 256u

struct snapshot_plan {
    struct store_change change[SNAPSHOT_CHANGES];
    u32 count;
    char *kept[SNAPSHOT_CHANGES * 2]; /* the strings of the changes */
    u32 kept_count;
    char *made[VM_DIR_DISKS * 2]; /* new files, removed if it all fails */
    u32 made_count;
    bool no_memory;
};

/* Adds a change; its strings are copied. */
void snapshot_plan_add(struct snapshot_plan *p, enum store_change_kind kind, const char *path,
                       const char *to, const char *format);
/* A new file, which is removed if it all fails. */
/* STORE_IMAGE: the file `path` is an image over `parent`, of a disk of `size` bytes. */
void snapshot_plan_add_image(struct snapshot_plan *p, const char *path, const char *parent,
                             const char *format, u64 size);
void snapshot_plan_made(struct snapshot_plan *p, const char *path);
/* v's `as` (a snapshot, or "": what is now) gets the NAME.nvram that `from` of directory `of` has,
 * or none if that has none or `of` is NULL. */
enum hv_status snapshot_plan_nvram(struct snapshot_plan *p, struct vm_dir *v, const char *as,
                                   const struct vm_dir *of, const char *from);
/* Applies it with the new NAME.conf, or takes the new files away and v back to what it was. */
enum hv_status snapshot_plan_end(struct snapshot_plan *p, struct vm_dir *v, enum hv_status status);
/* NULL: no memory, and v->error says so. */
struct snapshot_plan *snapshot_plan_new(struct vm_dir *v);
/* Is the file to be dropped already? */
bool snapshot_planned(const struct snapshot_plan *p, const char *path);
/* "web1-disk0-000003.delta": the lowest number that is free. */
enum hv_status snapshot_new_name(struct vm_dir *v, u32 disk, const char *extension,
                                 char name[STORE_PATH_MAX], char path[STORE_PATH_MAX]);
/* Is the path one of the directory? */
bool snapshot_inside(const struct vm_dir *v, const char *path);
/* Is this the file of one of the VM's states but `but`? */
bool snapshot_is_state_file(struct vm_dir *v, const char *path, const struct vm_dir_state *but);
/* The disks of a VM that runs are opened anew: stop, change, go.  go: passes `status` on. */
bool snapshot_is_running(const struct snapshot_vm *vm);
enum hv_status snapshot_vm_stop(struct vm_dir *v, const struct snapshot_vm *vm);
enum hv_status snapshot_vm_go(struct vm_dir *v, const struct snapshot_vm *vm,
                              enum hv_status status);
/* New tops for what is now; `name` (NULL: none) is a snapshot of what was. */
enum hv_status snapshot_freeze(struct vm_dir *v, const char *name, const char *description);
/* The VM's own images from the top of a disk down to what another state names; unless `whole`, a
 * disk of which no other state has a part is kept. */
enum hv_status snapshot_drop_segment(struct vm_dir *v, struct snapshot_plan *p,
                                     const struct vm_dir_state *s, const struct vm_dir_disk *d,
                                     bool whole);
