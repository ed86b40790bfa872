/* The arithmetic of cpu.reserve: on which CPU each vCPU has its reservation, and the weights by
 * which the kernel's proportional scheduler gives it. */
#pragma once

#include "kernel/abi/types.h"

#define VM_RESERVE_LIMIT                                                                           \
    90 /* percent of a CPU; the rest is for the control partition and others                       \
        */
#define VM_RESERVE_NONE 0xffu
#define VM_RESERVE_WEIGHT_MAX 10000u

struct vm_reserve { /* one vCPU */
    u64 mask;       /* CPUs it may use */
    u32 percent;    /* of one CPU that it is sure to get; 0: no reservation */
    u32 weight;     /* as configured */
    u8 cpu;         /* that has its reservation and that it stays on; VM_RESERVE_NONE */
    u32 given;      /* the weight that the kernel is told */
};

/* Pure.  Places every reservation on one of `cpus` CPUs: those that have a place keep it if they
 * can.  False: they do not all fit, and nothing has changed. */
MUST_CHECK bool vm_reserve_place(struct vm_reserve *list, u32 count, u32 cpus);
/* Pure.  Fills `given` after vm_reserve_place(): even if every other vCPU that may use its CPU is
 * busy there, each gets its percentage; what is left is shared by the configured weights. */
void vm_reserve_weigh(struct vm_reserve *list, u32 count);
/* Percent of a CPU that is reserved. */
u32 vm_reserve_on(const struct vm_reserve *list, u32 count, u32 cpu);
