/* Sorted one-shot timers of a core.  Own core only, so no lock. */
#include "kernel/timer.h"

#include "kernel/x86.h"

u64 tsc_hz;

static void unlink_timer(struct cpu *c, struct timer *t)
{
    for (struct timer **p = &c->timers; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            break;
        }
    t->armed = false;
}

void timer_set(struct timer *t, u64 deadline)
{
    struct cpu *c = this_cpu();
    struct timer **p = &c->timers;

    if (t->armed)
        unlink_timer(c, t);
    while (*p && (*p)->deadline <= deadline)
        p = &(*p)->next;
    t->deadline = deadline;
    t->next = *p;
    t->armed = true;
    *p = t;
    c->deadline = c->timers->deadline;
}

void timer_cancel(struct timer *t)
{
    struct cpu *c = this_cpu();
    if (!t->armed)
        return;
    unlink_timer(c, t);
    c->deadline = c->timers ? c->timers->deadline : ~0ull;
}

void timer_run(void)
{
    struct cpu *c = this_cpu();
    u64 now = tsc_read();

    while (c->timers && c->timers->deadline <= now) {
        struct timer *t = c->timers;
        c->timers = t->next;
        t->armed = false;
        t->fire(t);
    }
    c->deadline = c->timers ? c->timers->deadline : ~0ull;
}

void timer_delay(u64 microseconds)
{
    u64 end = tsc_read() + tsc_hz / 1000000 * microseconds;
    while (tsc_read() < end)
        cpu_relax();
}
