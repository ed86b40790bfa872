/* Serves the exits that the kernel does not handle, by table: kind, then port or page.
 *
 * On the event loop, before anything else it does. */
#pragma once

#include "kernel/abi/types.h"
#include "vmm/vm.h"

extern struct vcpu_page exits_nobody; /* has no room for messages: they are sent at once */

void exits_init(void); /* once: builds the port index */

/* A vCPU whose page is EXIT_PENDING; loop_on_exit() has it called. */
bool exits_serve(u32 slot, u32 vcpu);
/* Completes exits that were held against a flood, if their time has come (VM_TIMER_HOLD). */
void exits_release(struct vm *vm);
/* Tells, once each, of a port or page that nobody claims; `what` is "read" or "write". */
void exits_unclaimed_port(struct vm *vm, u16 port, u8 size, const char *what);
void exits_unclaimed_page(struct vm *vm, u64 gpa, const char *what);
/* Registers, segments and the bytes at RIP of a vCPU that does not run, into the VM's log. */
void exits_dump(struct vm *vm, u32 vcpu);
