/* Which entity runs next on this core: ring 3 if it is ready here, else the vCPU with the least
 * weighted run time, else idle. */
#pragma once

#include "kernel/cpu.h"

struct vcpu;

/* Pick and enter; drops the current stack.  Own core, no lock held. */
void sched_run(void) NORETURN;
/* From the vendor's exit path when an exit handler blocked the vCPU, or cpu->attention is set, or
 * cpu->deadline has passed: account it, fire timers, requeue it if it still may run, sched_run().
 */
void sched_leave_guest(struct vcpu *v) NORETURN;
/* Own core: v only waits for another vCPU, so whoever is queued here runs before it. */
void sched_spins(struct vcpu *v);
/* v->lock held, nothing blocks it, it is neither queued nor on a CPU: put on its home's queue and
 * make that core look.  Any core. */
void sched_enqueue(struct vcpu *v);
void sched_dequeue(struct vcpu *v); /* any core: take off its queue if it is on one */
/* Own core.  The vCPU whose exit was handed to ring 3 here lost its place: put it where any other
 * blocked or ready vCPU is.  To be called before waiting for a vCPU to leave its core. */
void sched_end_handoff(void);
/* Own core, ring 3 just blocked: enter the guest again whose exit it answered. */
void sched_resume_handoff(struct vcpu *v, u64 now) NORETURN;
/* The core with least to do that v may use; this one: it may use none. */
struct cpu *sched_place(const struct vcpu *v);
/* Own core: hand waiting vCPUs to idle cores.  Called on a kick that found ring 3 running. */
void sched_balance(void);
