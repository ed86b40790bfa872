/* Physical interrupts: vectors, the I/O APIC, IPIs. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/abi/status.h"
#include "kernel/abi/syscall.h"

enum irq_vector {
    VECTOR_DEVICE_FIRST = 0x30, /* + bit of control_page.irq_pending */
    VECTOR_DEVICE_LAST = 0x6f,
    VECTOR_TIMER = BOOT_TIMER_VECTOR,
    VECTOR_KICK = 0xf1,   /* look at cpu->attention; nothing else */
    VECTOR_CALL = 0xf2,   /* run a function (cpu_call) */
    VECTOR_POSTED = 0xf3, /* posted-interrupt notification */
    VECTOR_IOMMU = 0xf4,  /* a fault was recorded */
    VECTOR_PING = 0xf5,   /* of the watchdog */
    VECTOR_SPURIOUS = 0xff,
};

/* Handle and acknowledge one vector: from the IDT in ring 3 or idle, or from a guest exit with
 * acknowledge-on-exit.  May set attention and wake the control partition. */
void irq_dispatch(u32 vector);
void irq_kick(u32 cpu); /* IPI VECTOR_KICK */
/* Run fn(arg) on every other online core and wait.  Never with a lock held that they may want. */
void cpu_call_others(void (*fn)(void *), void *arg);

/* SYS_IRQ_BIND, SYS_IRQ_UNMASK: bit < IRQ_BITS.  On the control thread's core. */
#define IRQ_BITS 64
MUST_CHECK enum hv_status irq_bind(u32 source, u32 bit, struct irq_message *message);
i64 irq_unmask(const u64 args[6]);
void irq_release_all(void); /* masks every line; messages have no effect any more */
