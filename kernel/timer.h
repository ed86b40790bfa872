/* One-shot timers on the core that sets them, in TSC ticks.
 *
 * cpu->deadline is always the earliest; the hardware timer (local APIC) is armed for it while the
 * core idles or runs ring 3, the VMX preemption timer (or the APIC timer where there is none)
 * while it runs a guest. */
#pragma once

#include "kernel/apic.h"
#include "kernel/cpu.h"

struct timer {
    struct timer *next;
    u64 deadline;
    void (*fire)(struct timer *); /* on the core that set it, IF=0; may set timers */
    bool armed;
};

static inline u64 tsc_read(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

extern u64 tsc_hz; /* as the loader measured it */

void timer_set(struct timer *t, u64 deadline); /* own core; re-arms if armed */
void timer_cancel(struct timer *t);            /* own core; harmless if not armed */
void timer_run(void);                          /* fire what is due; own core */
void timer_delay(u64 microseconds);            /* waits */
/* Program the APIC timer for cpu->deadline. */
static inline void timer_arm_hardware(void)
{
    struct cpu *c = this_cpu();

    if (c->armed != c->deadline)
        apic_timer_arm(c->armed = c->deadline);
}
