/* Vectors: what each means, IPIs, and the bindings of device interrupts to the control page. */
#include "kernel/irq.h"

#include "kernel/apic.h"
#include "kernel/control.h"
#include "kernel/device.h"
#include "kernel/health.h"
#include "kernel/host.h"
#include "kernel/ioapic.h"
#include "kernel/log.h"
#include "kernel/timer.h"
#include "kernel/vtd.h"
#include "kernel/x86.h"

/* What is bound to each bit; changed by the control thread's core only. */
static struct {
    bool bound, level;
    u32 gsi;
} bits[IRQ_BITS];

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
        health_waiting();
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
    while (__atomic_load_n(&call.left, __ATOMIC_ACQUIRE)) {
        health_waiting();
        cpu_relax();
    }
    __atomic_store_n(&call.taken, 0, __ATOMIC_RELEASE);
}

static void device_fired(u32 bit)
{
    if (!bits[bit].bound)
        return;
    if (bits[bit].level)
        ioapic_mask(bits[bit].gsi, true);
    __atomic_or_fetch(&control.page->irq_pending, BIT(bit), __ATOMIC_SEQ_CST);
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
    case VECTOR_PING:
        this_cpu()->quiet = 0;
        break;
    case VECTOR_IOMMU:
        vtd_fault();
        break;
    case VECTOR_DEVICE_FIRST ... VECTOR_DEVICE_LAST:
        device_fired(vector - VECTOR_DEVICE_FIRST);
        break;
    default:
        unexpected(vector);
    }
}

enum hv_status irq_bind(u32 source, u32 bit, struct irq_message *message)
{
    u32 vector = VECTOR_DEVICE_FIRST + bit, target = cpus[0]->apic_id;
    bool edge = true, low = false;

    if (source & IRQ_MSI) {
        u32 requester = device_source(source & ~(u32)IRQ_MSI);
        if (requester == DEVICE_UNCLAIMED)
            return HV_EPERM;
        bits[bit] = (typeof(bits[bit])){.bound = true};
        /* VT-d 5.1.2.2: the index in place of the address; else SDM 3A 11.11. */
        bool remapped = vtd_remap(bit, vector, target, false, requester);
        message->address = 0xfee00000u | (remapped ? bit << 5 | 1 << 4 : (target & 0xff) << 12);
        message->data = remapped ? 0 : vector;
        return HV_OK;
    }
    if (source != host_info->uart_gsi && !device_has_line(source, &edge))
        return HV_EPERM;
    for (u32 n = 0; n < BOOT_ISA_IRQS; n++)
        if (host_platform.isa[n].gsi == source)
            low = host_platform.isa[n].active_low;
    low |= !edge; /* as PCI's lines are */
    bits[bit] = (typeof(bits[bit])){.bound = true, .level = !edge, .gsi = source};
    bool remapped = vtd_remap(bit, vector, target, !edge, ~0u);
    return ioapic_route(source, vector, remapped ? bit << 17 | 1 << 16 : target << 24, !edge, low)
               ? HV_OK
               : HV_ENOENT;
}

i64 irq_unmask(const u64 args[6])
{
    if (args[0] >= IRQ_BITS)
        return HV_EINVAL;
    if (!bits[args[0]].bound || !bits[args[0]].level)
        return HV_EPERM;
    ioapic_mask(bits[args[0]].gsi, false);
    return HV_OK;
}

void irq_release_all(void)
{
    for (u32 i = 0; i < IRQ_BITS; i++) {
        if (bits[i].gsi)
            ioapic_mask(bits[i].gsi, true);
        bits[i] = (typeof(bits[i])){0};
    }
}
