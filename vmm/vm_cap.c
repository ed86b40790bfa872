/* The arithmetic of cpu.cap.  Pure; called by vm_sched.c. */
#include "vmm/vm_cap.h"

u64 vm_cap_step(struct vm_cap *c, u64 now, u64 used, u64 period, u32 percent, u32 vcpus)
{
    u64 budget = period * percent / 100, spent = used - c->base;

    if (now - c->start >= period) {
        u64 debt = spent > budget ? spent - budget : 0;
        c->start = now;
        c->base = used - MIN(debt, budget);
        spent = used - c->base;
    }
    c->held = spent >= budget;
    u64 end = c->start + period;
    if (c->held)
        return end;
    return MIN(end, now + MAX((budget - spent) / vcpus, period / 100));
}
