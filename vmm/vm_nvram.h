/* NAME.nvram in a VM's directory: the CMOS memory of its clock and what the guest has set that
 * clock to.  A damaged file counts as none.  Load and save wait: they need a fiber. */
#pragma once

#include "vmm/vm.h"

/* Before a start: the state's clock gets what the file has. */
void vm_nvram_load(struct vm *vm);
/* Writes the file if r->changed, and clears that.  `r`: of the VM's state, or a copy of it. */
void vm_nvram_save(const struct vm *vm, struct rtc *r);
/* The file gets what the guest has changed until now, running or not. */
void vm_nvram_keep(struct vm *vm);
/* The guest has changed something: it is saved a second later.  Needs no fiber. */
void vm_nvram_changed(struct vm *vm);
