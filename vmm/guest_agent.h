/* QEMU's guest agent in a guest, on the console port org.qemu.guest_agent.0: asked to let file
 * systems rest while a snapshot is taken.  All calls wait: they need a fiber. */
#pragma once

#include "vmm/vm.h"

/* The guest's file systems are flushed and take no more writes; *count of them.  E_NO_AGENT: the VM
 * has no such port, or nobody answers; E_AGENT: the agent refuses.  On failure they were thawed
 * again if they may have been frozen. */
MUST_CHECK bool guest_agent_freeze(struct vm *vm, u32 *count, struct vm_error *e);
MUST_CHECK bool guest_agent_thaw(struct vm *vm, struct vm_error *e);
