/* Physical interrupts: vectors, the I/O APIC, IPIs. */
#ifndef BULKHEAD_KERNEL_IRQ_H
#define BULKHEAD_KERNEL_IRQ_H

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

enum irq_vector {
    VECTOR_DEVICE_FIRST = 0x30, /* SYS_IRQ_BIND hands these out */
    VECTOR_DEVICE_LAST = 0x6f,
    VECTOR_TIMER = 0xf0,
    VECTOR_KICK = 0xf1,   /* look at cpu->attention; nothing else */
    VECTOR_CALL = 0xf2,   /* run a function (cpu_call) */
    VECTOR_POSTED = 0xf3, /* posted-interrupt notification */
    VECTOR_SPURIOUS = 0xff,
};

/* Handle and acknowledge one vector: from the IDT in ring 3 or idle, or from a guest exit with
 * acknowledge-on-exit.  May set attention and wake the control partition. */
void irq_dispatch(u32 vector);
void irq_kick(u32 cpu); /* IPI VECTOR_KICK */
/* Run fn(arg) on every other online core and wait.  Never with a lock held that they may want. */
void cpu_call_others(void (*fn)(void *), void *arg);
MUST_CHECK enum hv_status irq_bind(u32 gsi, u32 bit); /* for SYS_IRQ_BIND */

#endif
