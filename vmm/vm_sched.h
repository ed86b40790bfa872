/* Which CPUs a VM may use and how much of them: cpu.weight, cpu.pin, cpu.cap, cpu.reserve and
 * what CPUs are for. */
#pragma once

#include "vmm/vm.h"

/* Hand weights and CPUs to the kernel, of all VMs that run, after a change of vm's. */
void vm_sched_apply(struct vm *vm);
/* May vm run as *c says?  E_FULL: its cpu.reserve does not fit beside the others'. */
MUST_CHECK bool vm_sched_admit(const struct vm *vm, const struct vm_config *c, struct vm_error *e);
/* Percent of a CPU that is reserved for VMs that run. */
u32 vm_sched_reserved(u32 cpu);
/* After a restart of the control partition: modes as a VM that was there before has noted them. */
void vm_sched_restore(const struct vm_state *s);
/* Look at its cpu.cap now and from now on; without one: no longer. */
void vm_sched_watch(struct vm *vm);

/* Ticks that a vCPU, or all of them, have had a CPU; up to this moment. */
u64 vm_sched_ran(const struct vm *vm, u32 vcpu);
u64 vm_sched_ran_all(const struct vm *vm);

/* What a CPU is for: all; VMs that name it in cpu.pin; the control partition, which then polls the
 * queues of all guests there and never sleeps.  It polls on one CPU at most: another before is
 * shared again. */
enum vm_sched_mode { VM_SCHED_SHARED, VM_SCHED_DEDICATED, VM_SCHED_POLLING };
u64 vm_sched_dedicated(void); /* a bit a CPU */
u32 vm_sched_polling(void);   /* LOOP_NO_CPU: none */
/* E_NOENT no such CPU; E_STATE none would be left for the others, or a running VM is pinned to it;
 * E_FULL reservations would not fit. */
MUST_CHECK bool vm_sched_mode(u32 cpu, enum vm_sched_mode mode, struct vm_error *e);
