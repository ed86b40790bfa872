/* Segments, task state and stacks of each CPU. */
#pragma once

/* Selectors; entry.S has the first two too. */
#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS 0x30

#ifndef __ASSEMBLER__
#include "kernel/cpu.h"

#define CPU_STACK_SIZE (16 * KIB)

enum cpu_ist { CPU_IST_NONE, CPU_IST_NMI, CPU_IST_DOUBLE_FAULT, CPU_IST_MACHINE_CHECK };

/* Boot CPU: map GDT, TSS and stacks of CPU c->id.  Panics when memory is out. */
void cpu_tables_create(struct cpu *c);
/* Own CPU: load them. */
void cpu_tables_load(struct cpu *c);
/* Own CPU: a VM exit cuts TR's limit to 67H (SDM 3C 28.5.2), which takes away ring 3's ports
 * until TR is loaded again. */
void cpu_tables_reload_tss(void);
/* For a backend's host state. */
u64 cpu_tables_gdt(const struct cpu *c);
u64 cpu_tables_tss(const struct cpu *c);
/* All CPUs: let ring 3 use the console's ports and no others. */
void cpu_tables_reset_ports(void);
/* All CPUs: let ring 3 use ports [first, first + count). */
void cpu_tables_grant_ports(u32 first, u32 count);
#endif
