/* The event loop of the control partition: one thread, one loop, bounded work an iteration.
 *
 * An iteration takes the events that are there, serves interrupts and vCPU exits, runs the timers
 * that are due, runs each fiber that was ready when the iteration began, and sleeps in SYS_WAIT
 * only when nothing is left.  Handlers run on the loop's own stack: they must not wait; work that
 * waits belongs in a fiber.
 *
 * A loop that polls looks at memory for whatever may be news and makes system calls only to hand
 * over answers; once a millisecond it sees that it is still alone on its CPU. */
#pragma once

#include "kernel/abi/types.h"

#define LOOP_NEVER (~0ull)
#define LOOP_IRQS 64

struct loop_timer { /* owned by the caller; zeroed = not armed */
    u64 deadline;   /* TSC */
    void (*fn)(void *owner);
    void *owner;
    struct loop_timer *next, *prev;
    bool armed;
};

/* Arm (or move) a timer: fn(owner) is called once, on the loop, at or after `deadline` (TSC). */
void loop_timer_set(struct loop_timer *t, u64 deadline);
void loop_timer_cancel(struct loop_timer *t); /* harmless when not armed */

/* Called when bit `bit` of control_page.irq_pending was set (see SYS_IRQ_BIND). */
void loop_on_irq(u32 bit, void (*fn)(void *owner), void *owner);
/* Called for each vCPU whose page is EXIT_PENDING.  True: it is EXIT_COMPLETE; else loop_complete()
 * is called later, or never. */
void loop_on_exit(bool (*fn)(u32 vm, u32 vcpu));
/* Called for each doorbell that a guest rang (kernel/abi/doorbell.h). */
void loop_on_doorbell(void (*fn)(u32 vm, u32 doorbell));
/* Called in each iteration while the loop polls: whether there was anything to do. */
void loop_on_poll(bool (*fn)(void));
/* Called when the kernel log has grown a record of level NOTICE or worse. */
void loop_on_log(void (*fn)(void));

/* Marks a vCPU's page as served: the kernel takes it at the next SYS_WAIT. */
void loop_complete(u32 vm, u32 vcpu);

/* Time that handlers took, and the longest of them: what `host top` shows. */
enum loop_part { LOOP_INTERRUPTS, LOOP_TIMERS, LOOP_DOORBELLS, LOOP_PARTS };
struct loop_load {
    u64 ticks, longest; /* TSC */
    u64 count;          /* of handlers, or of wakes with doorbells */
};
struct loop_load loop_load(enum loop_part part);

/* From now on the loop never sleeps, but polls on that CPU, which no vCPU may use;
 * LOOP_NO_CPU: it sleeps again. */
#define LOOP_NO_CPU (~0u)
void loop_poll(u32 cpu);

void loop_step(void);         /* one iteration; tests drive the loop with it */
void loop_run(void) NORETURN; /* for ever */
