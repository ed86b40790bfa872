/* Vectors: what each means, IPIs, and the bindings of device interrupts to the control page. */
#include "kernel/irq.h"

#include "kernel/apic.h"
#include "kernel/control.h"
#include "kernel/host.h"
#include "kernel/ioapic.h"
#include "kernel/log.h"
#include "kernel/timer.h"
#include "kernel/x86.h"

#define DEVICES (VECTOR_DEVICE_LAST - VECTOR_DEVICE_FIRST + 1)

static struct {
    u32 gsi, bit;
} devices[DEVICES]; /* bound in order; changed by the control thread's core only */
static u32 device_count;

static struct {
    volatile u32 taken;
    void (*fn)(void *);
    void *arg;
    volatile u32 left;
} call;

void irq_kick(u32 cpu)
{
    apic_send(cpus[cpu]->apic_id, APIC_FIXED | VECTOR_KICK);
}

/* Run the function another core wants, if it does. */
static void serve_call(void)
{
    if (!__atomic_exchange_n(&this_cpu()->ipi_call_pending, 0, __ATOMIC_ACQUIRE))
        return;
    call.fn(call.arg);
    __atomic_sub_fetch(&call.left, 1, __ATOMIC_RELEASE);
}

void cpu_call_others(void (*fn)(void *), void *arg)
{
    u32 me = this_cpu()->id;

    if (cpu_count == 1)
        return;
    /* Two cores may want this at once, both with IF=0: each serves the other while it waits. */
    while (__atomic_exchange_n(&call.taken, 1, __ATOMIC_ACQUIRE)) {
        serve_call();
        cpu_relax();
    }
    call.fn = fn;
    call.arg = arg;
    __atomic_store_n(&call.left, cpu_count - 1, __ATOMIC_RELEASE);
    for (u32 i = 0; i < cpu_count; i++) {
        if (i == me)
            continue;
        __atomic_store_n(&cpus[i]->ipi_call_pending, 1, __ATOMIC_RELEASE);
        apic_send(cpus[i]->apic_id, APIC_FIXED | VECTOR_CALL);
    }
    while (__atomic_load_n(&call.left, __ATOMIC_ACQUIRE))
        cpu_relax();
    __atomic_store_n(&call.taken, 0, __ATOMIC_RELEASE);
}

static void device_fired(u32 vector)
{
    u32 i = vector - VECTOR_DEVICE_FIRST;
    if (i >= device_count)
        return;
    __atomic_or_fetch(&control.page->irq_pending, BIT(devices[i].bit), __ATOMIC_SEQ_CST);
    control_post(EVENT_IRQ);
}

static void unexpected(u32 vector)
{
    static bool seen[256];
    if (!seen[vector & 0xff])
        log_warn("interrupt vector %x has no owner", vector);
    seen[vector & 0xff] = true;
}

void irq_dispatch(u32 vector)
{
    if (vector == VECTOR_SPURIOUS) /* no EOI: SDM 3A 11.9 */
        return;
    apic_eoi();
    switch (vector) {
    case VECTOR_TIMER:
        this_cpu()->armed = ~0ull;
        timer_run();
        break;
    case VECTOR_KICK:
    case VECTOR_POSTED:
        break;
    case VECTOR_CALL:
        serve_call();
        break;
    case VECTOR_DEVICE_FIRST ... VECTOR_DEVICE_LAST:
        device_fired(vector);
        break;
    default:
        unexpected(vector);
    }
}

/* The console's UART is the only granted device with an interrupt. */
enum hv_status irq_bind(u32 gsi, u32 bit)
{
    u32 i = 0;

    if (host_info->uart_gsi == ~0u || gsi != host_info->uart_gsi)
        return HV_EPERM;
    while (i < device_count && devices[i].gsi != gsi)
        i++;
    if (i == DEVICES)
        return HV_ENOMEM;
    devices[i].gsi = gsi;
    devices[i].bit = bit;
    if (i < device_count)
        return HV_OK;
    device_count++;
    bool active_low = false;
    for (u32 n = 0; n < BOOT_ISA_IRQS; n++)
        if (host_platform.isa[n].gsi == gsi)
            active_low = host_platform.isa[n].active_low;
    if (ioapic_route(gsi, VECTOR_DEVICE_FIRST + i, cpus[0]->apic_id, false, active_low))
        return HV_OK;
    device_count--;
    return HV_ENOENT;
}
