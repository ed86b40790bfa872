/* Per-CPU data: one struct a core, found through GS.
 *
 * The kernel runs with IF=0 throughout (only idle opens it for one instruction) and has one stack
 * a CPU, emptied at every scheduling point: nothing in the kernel ever blocks.
 *
 * Lock order: vcpu->lock, then a CPU's runq lock, then mem lock, then log lock.
 * Never take two locks of one kind. */
#pragma once

#include "kernel/abi/fault.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/syscall.h"
#include "kernel/runq.h"
#include "kernel/spinlock.h"

struct vcpu;
struct timer;

/* Reasons for the slow path, checked before every return to a guest or to ring 3. */
#define ATTENTION_RESCHED BIT(0) /* another entity may deserve this CPU */
#define ATTENTION_KICK BIT(1)    /* the running vCPU has new events or must stop */

struct cpu {
    struct cpu *self;       /* offset 0: this_cpu() */
    u64 stack_top;          /* entry.S and vmx_exit.S load RSP from here */
    u64 *guest_regs;        /* regs[] of the vCPU being run; vmx_exit.S saves there */
    struct vcpu *running;   /* vCPU whose guest state is loaded and that was entered last */
    volatile u64 attention; /* ATTENTION_*; set by any core, cleared by its own */
    u64 deadline;           /* TSC of the next timer here; ~0 none.  Compared at every exit */
    u64 armed;              /* deadline the APIC timer is programmed for; ~0 none */
    u64 space_generation;   /* of control.space when ring 3 last ran here */
    void *fpu_owner;        /* area whose contents the FPU registers hold; NULL: nobody's (fpu.c) */
    struct vcpu *fpu_vcpu;  /* the vCPU of that area; NULL: ring 3's */
    u64 xcr0;               /* XCR0 here */
    u32 id;                 /* dense index, 0 = boot CPU */
    u32 apic_id;
    u32 entered_vm; /* 1 + slot of the VM whose branches are in the predictors here */
    bool online;
    bool hvm_enabled;
    bool tss_stale; /* TR's limit may have been cut by a VM exit since ring 3 ran */
    u64 started;    /* TSC when `running` was put on */
    u64 mark;       /* TSC when `accounting` last changed */
    u32 accounting; /* index into struct cpu_stat's four counters */
    struct cpu_stat stat;

    /* Run queue; others take runq_lock to add a vCPU. */
    struct spinlock runq_lock;
    struct runq runq;
    struct vcpu *last;    /* vCPU that ran here last: kept on while it is not far ahead */
    struct vcpu *handoff; /* its exit is being served by ring 3 here; it keeps on_cpu meanwhile */
    volatile bool idle;   /* halted or about to: a good home for a waiting vCPU */

    struct timer *timers; /* sorted by deadline; own core only */

    u64 vendor[8];        /* what the backend keeps here */
    u64 last_exit_reason; /* for the panic report */
    u64 last_exit_rip;
    u64 last_exit_qualification;
    volatile u32 ipi_call_pending;
    volatile u32 quiet; /* pings of the watchdog (health.c) in a row that it has not answered */
} __attribute__((aligned(4096)));

_Static_assert(offsetof(struct cpu, self) == 0, "this_cpu()");
_Static_assert(offsetof(struct cpu, stack_top) == 8, "entry.S");

extern struct cpu *cpus[CPU_MAX];
extern u32 cpu_count; /* CPUs online; fixed after boot */

static inline struct cpu *this_cpu(void)
{
    struct cpu *c;
    asm("mov %%gs:0, %0" : "=r"(c));
    return c;
}

/* Index of struct cpu_stat's counters. */
enum cpu_activity { CPU_IDLE, CPU_CONTROL, CPU_GUEST, CPU_KERNEL };

/* Charge the time since the last call to what the core did until `now` (TSC). */
static inline void cpu_account(struct cpu *c, enum cpu_activity next, u64 now)
{
    c->stat.ticks[c->accounting] += now - c->mark;
    c->mark = now;
    c->accounting = next;
}
