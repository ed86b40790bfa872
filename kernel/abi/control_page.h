/* Events between kernel and control partition: one page, writable by both, trusted by neither.
 *
 * Kernel to control: the kernel sets bits; the control partition clears them with an atomic
 * exchange before it handles them.  Control to kernel: the other way round.  SYS_WAIT returns at
 * once when any kernel-to-control word is non-zero, and first takes every completion. */
#pragma once

#include "kernel/abi/doorbell.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/types.h"

/* Bits of control_page.events. */
#define EVENT_IRQ BIT(0)      /* irq_pending has news */
#define EVENT_VCPU BIT(1)     /* vcpu_pending has news */
#define EVENT_LOG BIT(2)      /* the kernel log grew a record of level NOTICE or worse */
#define EVENT_DOORBELL BIT(3) /* doorbells has news; ring 3 may be woken a little later */

struct control_page {
    /* kernel to control */
    volatile u64 events;                 /* EVENT_* */
    volatile u64 irq_pending;            /* bit = the one given to SYS_IRQ_BIND */
    volatile u64 vm_pending;             /* bit = VM slot with bits in vcpu_pending */
    volatile u64 vcpu_pending[VM_SLOTS]; /* bit = vCPU index whose page is EXIT_PENDING */
    volatile u64 vm_doorbells;           /* bit = VM slot with bits in doorbells */
    volatile u64 doorbells[VM_SLOTS][DOORBELL_WORDS]; /* bit = number of the doorbell */
    /* control to kernel */
    volatile u64 vm_complete;             /* bit = VM slot with bits in vcpu_complete */
    volatile u64 vcpu_complete[VM_SLOTS]; /* bit = vCPU index whose page is EXIT_COMPLETE */
};

_Static_assert(sizeof(struct control_page) <= PAGE_SIZE, "one page");
