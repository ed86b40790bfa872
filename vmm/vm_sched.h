/* Which CPUs a VM may use and how much of them: cpu.weight, cpu.pin, cpu.cap, cpu.reserve and
 * dedicated CPUs. */
#pragma once

#include "vmm/vm.h"

/* Hand weights and CPUs to the kernel, of all VMs that run, after a change of vm's. */
void vm_sched_apply(struct vm *vm);
/* May vm run as *c says?  E_FULL: its cpu.reserve does not fit beside the others'. */
MUST_CHECK bool vm_sched_admit(const struct vm *vm, const struct vm_config *c, struct vm_error *e);
/* Percent of a CPU that is reserved for VMs that run. */
u32 vm_sched_reserved(u32 cpu);
/* After a restart of the control partition: these were dedicated. */
void vm_sched_restore(u64 cpus);
/* Look at its cpu.cap now and from now on; without one: no longer. */
void vm_sched_watch(struct vm *vm);

/* Ticks that a vCPU, or all of them, have had a CPU; up to this moment. */
u64 vm_sched_ran(const struct vm *vm, u32 vcpu);
u64 vm_sched_ran_all(const struct vm *vm);

/* CPUs that only VMs run on which name them in cpu.pin.  E_NOENT no such CPU; E_STATE none would be
 * left for the others; E_FULL reservations would not fit. */
u64 vm_sched_dedicated(void);
MUST_CHECK bool vm_sched_dedicate(u32 cpu, bool on, struct vm_error *e);
