/* The timer of the virtual local APIC; on the vCPU's own core or while it does not run, except that
 * v->apic_timer itself is only touched on the home core (vlapic_merge). */
#include "kernel/vlapic_timer.h"

#include "kernel/timer.h"

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

static u32 mode(const struct vlapic *l)
{
    return (u32)FIELD_GET(APIC_LVT_TIMER_MODE, vlapic_reg(l, APIC_LVT_TIMER));
}

/* Divide configuration register, SDM 3A figure 11-10: log2 of the divisor. */
static u32 divide_shift(const struct vlapic *l)
{
    u32 r = vlapic_reg(l, APIC_TIMER_DIVIDE);
    return ((r & 3) | (r & 8) >> 1) == 7 ? 0 : ((r & 3) | (r & 8) >> 1) + 1;
}

static void stop(struct vlapic *l)
{
    l->timer_deadline = l->timer_period = l->guest_deadline = 0;
    l->timer_dirty = true;
}

static void fired(struct timer *t)
{
    struct vcpu *v = (struct vcpu *)((u8 *)t - offsetof(struct vcpu, apic_timer));
    struct vlapic *l = v->lapic;
    u32 lvt = vlapic_reg(l, APIC_LVT_TIMER);
    u64 now = tsc_read();

    if (l->timer_dirty) /* the guest has set another one, which vlapic_merge() is to arm */
        return;
    if (l->timer_period) {
        l->timer_deadline += l->timer_period;
        /* Periods missed while the vCPU did not run are not made up for. */
        if (l->timer_deadline <= now)
            l->timer_deadline = now + l->timer_period;
        timer_set(t, l->timer_deadline);
    } else {
        l->timer_deadline = l->guest_deadline = 0;
    }
    if (!(lvt & APIC_LVT_MASKED))
        vlapic_post(v, lvt & (u32)APIC_LVT_VECTOR, false);
}

/* Count `count` down from now. */
static void start(struct vcpu *v, u32 count)
{
    struct vlapic *l = v->lapic;
    u64 ticks = (u64)count << divide_shift(l);

    v->apic_timer.fire = fired;
    l->timer_dirty = true;
    l->timer_period = 0;
    l->timer_deadline = 0;
    if (!count)
        return;
    if (mode(l) == TIMER_PERIODIC)
        l->timer_period = ticks = MAX(ticks, tsc_hz / VLAPIC_TIMER_MAX_HZ);
    l->timer_deadline = tsc_read() + ticks;
}

u32 vlapic_timer_count(struct vcpu *v)
{
    struct vlapic *l = v->lapic;
    u64 now = tsc_read();

    if (mode(l) == TIMER_TSC_DEADLINE || l->timer_deadline <= now)
        return 0;
    return (u32)((l->timer_deadline - now) >> divide_shift(l));
}

void vlapic_timer_write(struct vcpu *v, u32 offset, u32 value)
{
    struct vlapic *l = v->lapic;
    u32 left;

    switch (offset) {
    case APIC_LVT_TIMER: {
        u32 before = mode(l);
        vlapic_set_reg(l, APIC_LVT_TIMER, value);
        /* SDM 3A 11.5.4.1: entering or leaving TSC-deadline mode disarms. */
        if (mode(l) != before && (mode(l) >= TIMER_TSC_DEADLINE || before >= TIMER_TSC_DEADLINE))
            stop(l);
        else if (mode(l) != before && l->timer_deadline)
            l->timer_period = mode(l) == TIMER_PERIODIC
                                  ? MAX((u64)vlapic_reg(l, APIC_TIMER_INITIAL) << divide_shift(l),
                                        tsc_hz / VLAPIC_TIMER_MAX_HZ)
                                  : 0;
        break;
    }
    case APIC_TIMER_INITIAL:
        if (mode(l) >= TIMER_TSC_DEADLINE)
            break;
        vlapic_set_reg(l, APIC_TIMER_INITIAL, value);
        start(v, value);
        break;
    default: /* APIC_TIMER_DIVIDE */
        left = vlapic_timer_count(v);
        vlapic_set_reg(l, APIC_TIMER_DIVIDE, value);
        if (left)
            start(v, left);
        if (l->timer_period)
            l->timer_period = MAX((u64)vlapic_reg(l, APIC_TIMER_INITIAL) << divide_shift(l),
                                  tsc_hz / VLAPIC_TIMER_MAX_HZ);
    }
}

u64 vlapic_deadline_read(struct vcpu *v)
{
    return mode(v->lapic) == TIMER_TSC_DEADLINE ? v->lapic->guest_deadline : 0;
}

void vlapic_deadline_write(struct vcpu *v, u64 value)
{
    if (mode(v->lapic) != TIMER_TSC_DEADLINE)
        return;
    v->lapic->guest_deadline = value;
    vlapic_deadline_moved(v);
}

void vlapic_deadline_moved(struct vcpu *v)
{
    struct vlapic *l = v->lapic;
    /* Guest TSC = host TSC + offset.  A deadline of the past must still fire, so never 0. */
    u64 host = l->guest_deadline - v->msrs.tsc_offset;

    if (mode(l) != TIMER_TSC_DEADLINE)
        return;
    v->apic_timer.fire = fired;
    l->timer_period = 0;
    l->timer_deadline = l->guest_deadline ? ((i64)host > 0 ? host : 1) : 0;
    l->timer_dirty = true;
}
