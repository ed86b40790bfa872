/* Clones of VMs that have a home on a datastore. */
#pragma once

#include "vmm/vm_home.h"

/* What a clone of `from` (of its snapshot, or what is now: NULL) begins as: its settings with a new
 * UUID, number and addresses; no name and home yet. */
MUST_CHECK bool vm_clone_config(struct vm *from, const char *snapshot, struct vm_config *out,
                                struct vm_error *e);
/* Makes the VM *c, with its home, disks as those of `from`, and enters it in the inventory.
 * linked: the disks hold only what will change; else all is copied (within a store shared until one
 * of them changes).  Of a running VM, and for linked clones of a VM that is no template, a snapshot
 * "clone-NAME" is taken; a full clone deletes it again.  Needs a fiber.
 * E_EXISTS, E_TWO_STORES, E_STATE, E_NOSPACE, E_CANCELLED. */
MUST_CHECK bool vm_clone(struct vm *from, const char *snapshot, const struct vm_config *c,
                         bool linked, struct merge_job *job, struct vm **out, struct vm_error *e);
