/* NICs and disks of a VM that runs: put in, taken out, changed, by a command.
 *
 * In a fiber: a device leaves when the guest lets it go, which is waited for, and a disk is opened
 * before the guest sees it.  ACPI's part is pci_hotplug.c. */
#pragma once

#include "vmm/vm.h"

/* What of *to vm_plug_change() will see to, in a VM that runs: bits of vm->changing. */
u32 vm_plug_asked(const struct vm *vm, const struct vm_config *to);
/* Those settings of *c become what they are in *from. */
void vm_plug_keep(struct vm_config *c, const struct vm_config *from, u32 asked);
/* Of a VM that runs, what its configuration has and the guest has let go: the same bits. */
u32 vm_plug_let_go(struct vm *vm);
/* E_BUSY: another command works on a device that *to would change.  E_STATE: the VM starts or
 * stops, or boots from the disk. */
MUST_CHECK bool vm_plug_may_change(const struct vm *vm, const struct vm_config *to,
                                   struct vm_error *e);
/* Makes the devices of vm->config that differ what *to has, one after the other, without any other
 * setting; nothing has waited since vm_plug_may_change().  Afterwards vm may be gone.
 * E_NOENT, E_NOSPACE, E_EXIST, E_NO_STORE...: as at a start, or the VM is gone.  E_TIMEOUT: the
 * guest keeps it.  E_STATE: no room, or the VM was started again meanwhile.  At an error the
 * devices before that one have changed. */
MUST_CHECK bool vm_plug_change(struct vm *vm, const struct vm_config *to, struct vm_error *e);
