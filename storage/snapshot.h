/* Snapshots of a VM's disks, settings and NAME.nvram: take, revert, delete.
 *
 * A snapshot keeps the images that were on top; new ones lie over them and hold what changes. Every
 * change of the tree is one transaction of the store; whatever power cut, it is done or not.  A
 * delete puts the data of a snapshot and of what was made from it together in new files, which
 * share what they can with the old ones, and swaps them in at the end: until then nothing has
 * changed, so it can be cancelled.  All calls wait: they need a fiber. */
#pragma once

#include "storage/merge.h"
#include "storage/vm_dir.h"

#define SNAPSHOT_CHAIN_MAX 32u /* images over each other; take refuses more */

/* The VM that runs on the disks of what is now.  NULL where a parameter may be: it is off. */
struct snapshot_vm {
    void *owner;
    bool (*running)(void *owner);
    /* No request is under way and the chains are closed, until go(). */
    enum hv_status (*stop)(void *owner);
    /* The chains are opened again, as `now` has them; the VM goes on. */
    enum hv_status (*go)(void *owner, const struct vm_dir_state *now);
};

/* On failure v->error says why, and nothing has changed.
 * HV_EEXIST: the name is taken; HV_E2BIG: too many snapshots, or a chain of 32. */
MUST_CHECK enum hv_status snapshot_take(struct vm_dir *v, const char *name, const char *description,
                                        const struct snapshot_vm *vm);
/* What is now becomes what was then, settings too; what was written since is gone.  The VM is off.
 */
MUST_CHECK enum hv_status snapshot_revert(struct vm_dir *v, const char *name);
/* HV_EBUSY: linked clones were made from it. */
MUST_CHECK enum hv_status snapshot_delete(struct vm_dir *v, const char *name, struct merge_job *job,
                                          const struct snapshot_vm *vm);
/* Puts images that no snapshot needs any more together: what a delete under a running VM left.
 * The VM is off. */
MUST_CHECK enum hv_status snapshot_collapse(struct vm_dir *v, struct merge_job *job);
/* Deletes images of the directory that a power cut in a change left behind. */
enum hv_status snapshot_sweep(struct vm_dir *v);

#define SNAPSHOT_OLD_HOURS 72u
/* Was it taken so long ago?  Not, if nobody knew what time it was. */
bool snapshot_is_old(const struct vm_dir_state *s, i64 now, u32 hours);

/* Is another VM's disk made from this snapshot's (NULL: from any file of this VM)?  `who`: the path
 * of its image. */
bool snapshot_has_clones(struct vm_dir *v, const struct vm_dir_state *s, char who[STORE_PATH_MAX]);

/* Gives `v` one new image for each of its disks, over the files that `from` names (paths of the
 * store), and writes it all in one transaction.  For clones: `from` is of another VM. */
MUST_CHECK enum hv_status snapshot_link(struct vm_dir *v, const struct vm_dir *from_dir,
                                        const struct vm_dir_state *from);
/* As vm_dir_save() of a full clone, whose disks are copied already: with the other's NAME.nvram. */
MUST_CHECK enum hv_status snapshot_save_clone(struct vm_dir *v, const struct vm_dir *from_dir,
                                              const struct vm_dir_state *from);
