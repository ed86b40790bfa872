/* NAME.nvram in a VM's directory: the CMOS memory of its clock, what the guest has set that clock
 * to, and the variables of its UEFI firmware.  A damaged file counts as none.  Load and save wait:
 * they need a fiber. */
#pragma once

#include "vmm/vm.h"

/* Before a start, when flash memory is there: the state gets what the file has. */
void vm_nvram_load(struct vm *vm);
/* What is to be saved, if it has changed since it last was; else, and without memory, NULL. */
char *vm_nvram_text(struct vm *vm);
/* Writes that text, which may be NULL, and frees it.  False: it is not kept, and that was logged.
 */
bool vm_nvram_save(const struct vm *vm, char *text);
/* The file gets what the guest has changed until now, running or not. */
void vm_nvram_keep(struct vm *vm);
/* The guest has changed something: it is saved a second later.  Needs no fiber. */
void vm_nvram_changed(struct vm *vm);
