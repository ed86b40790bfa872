/* The list of VMs: by number, name and slot.  On the event loop's thread. */
#pragma once

#include "vmm/vm.h"

/* Each NULL at the end or if there is none. */
struct vm *inventory_first(void); /* in order of number; next: vm->next */
struct vm *inventory_find(const char *name_or_number);
struct vm *inventory_by_id(u64 id); /* vm->id, from before a wait: NULL: deleted meanwhile */
extern struct vm *inventory_slots[VM_SLOTS];
static inline struct vm *inventory_by_slot(u32 slot)
{
    return slot < VM_SLOTS ? inventory_slots[slot] : NULL;
}
const char *inventory_name(u32 i); /* the i-th name, for completion */

/* slot >= 0: vm has it from now on; vm NULL: nobody. */
void inventory_set_slot(u32 slot, struct vm *vm);

/* Below: true if done; false: *e says why, nothing changed, but for inventory_change().
 * E_EXIST name or number taken; E_CONFIG the settings do not hold together; E_NOMEM. */
MUST_CHECK bool inventory_define(const struct vm_config *c, struct vm **out, struct vm_error *e);
/* New settings: weight and pinning at once, the rest only while stopped (E_STATE).  Nothing waits
 * since *c was copied from vm->config.  What differs there is changed, and nothing else: a running
 * VM's NICs, and disks that come and go, last and one by one, which may wait, in a fiber, as
 * vm_plug_change() does; vm may be gone afterwards.  vm->edits tells how much has changed, whatever
 * is returned. */
MUST_CHECK bool inventory_change(struct vm *vm, const struct vm_config *c, struct vm_error *e);
/* Forget it.  E_STATE unless stopped. */
MUST_CHECK bool inventory_delete(struct vm *vm, struct vm_error *e);
