/* Fills a VM with what it boots: devices in reset state, ACPI tables, kernel, initrd; and sets its
 * first vCPU to the entry.  On the event loop's thread; the VM must be paused. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/abi/vm_policy.h"
#include "vmm/vm.h"

/* A boot module by its path below \bulkhead; NULL: not on the boot medium. */
const struct host_module *vm_boot_module(const char *path);
/* E_NOENT, E_IMAGE, E_INTERNAL. */
MUST_CHECK bool vm_boot(struct vm *vm, struct vm_error *e);
/* Bochs, by what no other machine seen has: a preemption timer that counts each TSC tick (SDM 3D
 * A.6). */
bool vm_boot_on_bochs(void);
void vm_boot_policy(const struct vm_config *c, struct vm_policy *p);
