/* Serves the exits that the kernel does not handle, by table: kind, then port or page.
 *
 * On the event loop, before anything else it does. */
#ifndef BULKHEAD_VMM_EXITS_H
#define BULKHEAD_VMM_EXITS_H

#include "kernel/abi/types.h"
#include "vmm/vm.h"

void exits_init(void); /* once: builds the port index */

/* vCPUs (bits) of a VM whose pages are EXIT_PENDING; loop_on_vcpus() calls it. */
void exits_serve(u32 slot, u64 vcpus);
/* Completes exits that were held against a flood, if their time has come (VM_TIMER_HOLD). */
void exits_release(struct vm *vm);
/* Registers, segments and the bytes at RIP of a vCPU that does not run, into the VM's log. */
void exits_dump(struct vm *vm, u32 vcpu);

#endif
