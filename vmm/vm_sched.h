/* Which CPUs a VM may use and how much of them: cpu.weight, cpu.pin, cpu.cap and dedicated CPUs. */
#ifndef BULKHEAD_VMM_VM_SCHED_H
#define BULKHEAD_VMM_VM_SCHED_H

#include "vmm/vm.h"

/* Hand weight and CPUs of vm->config to the kernel, if it runs. */
void vm_sched_apply(struct vm *vm);
/* Look at its cpu.cap now and from now on; without one: no longer. */
void vm_sched_watch(struct vm *vm);

/* Ticks that a vCPU, or all of them, have had a CPU; up to this moment. */
u64 vm_sched_ran(const struct vm *vm, u32 vcpu);
u64 vm_sched_ran_all(const struct vm *vm);

/* CPUs that only VMs run on which name them in cpu.pin; all are shared after a restart of the
 * control partition.  E_NOENT no such CPU; E_STATE none would be left for the others. */
u64 vm_sched_dedicated(void);
MUST_CHECK bool vm_sched_dedicate(u32 cpu, bool on, struct vm_error *e);

#endif
