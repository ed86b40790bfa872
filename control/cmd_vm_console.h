/* `vm console`: the serial line of a VM on the host's console. */
#pragma once

#include "control/out.h"
#include "vmm/vm.h"

/* In the shell's fiber: shows the end of the scroll-back and what comes, sends what is typed,
 * until the user leaves or the VM stops. */
enum hv_status cmd_vm_console(struct vm *vm, u32 port, struct out *out);

/* What a port has said; NULL: the VM has no such port now. */
const struct text_ring *cmd_vm_console_said(struct vm *vm, u32 port);
