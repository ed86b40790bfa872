/* MSR accesses to the virtual local APIC; on the vCPU's own core. */
#include "kernel/vlapic_msr.h"

#include "kernel/vlapic_timer.h"
#include "kernel/x86.h"

#define X2_ICR 0x30u

/* Registers by MSR number - 800H. */
static u8 access_of(const struct vlapic *l, u32 index)
{
    return vlapic_mode(l) == VLAPIC_X2APIC && index < ARRAY_LEN(vlapic_registers)
               ? vlapic_registers[index].x2apic
               : 0;
}

/* Bits 63:32 are reserved but in the ICR. */
static bool reserved(u32 index, u64 value)
{
    const struct vlapic_register *r = &vlapic_registers[index];
    return ((u32)value & ~(r->writable | r->read_only)) || (index != X2_ICR && value >> 32);
}

static u32 write_base(struct vcpu *v, u64 value)
{
    struct vlapic *l = v->lapic;
    u64 flags = value & (APIC_BASE_ENABLE | APIC_BASE_EXTD);
    enum vlapic_mode before = vlapic_mode(l);

    /* The register page cannot be moved; reserved bits are reserved. */
    if ((value & ~(APIC_BASE_BSP | APIC_BASE_ENABLE | APIC_BASE_EXTD)) != VLAPIC_BASE_DEFAULT)
        return VLAPIC_GP;
    /* SDM 3A 11.12.5: what is no transition. */
    if (flags == APIC_BASE_EXTD || (before == VLAPIC_X2APIC && flags == APIC_BASE_ENABLE) ||
        (before == VLAPIC_DISABLED && (flags & APIC_BASE_EXTD)))
        return VLAPIC_GP;
    l->base = VLAPIC_BASE_DEFAULT | (l->base & APIC_BASE_BSP) | flags;
    if (vlapic_mode(l) == before)
        return 0;
    if (vlapic_mode(l) == VLAPIC_X2APIC) {
        vlapic_set_identity(v);
        vlapic_set_reg(l, APIC_ICR + 4, vlapic_reg(l, APIC_ICR_HIGH) >> 24);
    } else {
        vlapic_reset(v, true);
    }
    return VLAPIC_MODE | VLAPIC_EVENTS;
}

u32 vlapic_msr_read(struct vcpu *v, u32 msr, u64 *value)
{
    struct vlapic *l = v->lapic;
    u32 index = msr - MSR_X2APIC;

    if (msr == MSR_APIC_BASE) {
        *value = l->base;
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = vlapic_deadline_read(v);
        return 0;
    }
    if (!(access_of(l, index) & VLAPIC_R))
        return VLAPIC_GP;
    *value = vlapic_read(v, index * 16);
    /* The CPU, too, keeps the destination half right behind the command half. */
    if (index == X2_ICR)
        *value |= (u64)vlapic_reg(l, APIC_ICR + 4) << 32;
    return 0;
}

u32 vlapic_msr_write(struct vcpu *v, u32 msr, u64 value)
{
    struct vlapic *l = v->lapic;
    u32 index = msr - MSR_X2APIC;

    if (msr == MSR_APIC_BASE)
        return write_base(v, value);
    if (msr == MSR_TSC_DEADLINE) {
        vlapic_deadline_write(v, value);
        return VLAPIC_EVENTS;
    }
    if (!(access_of(l, index) & VLAPIC_W) || reserved(index, value))
        return VLAPIC_GP;
    if (index == X2_ICR) {
        vlapic_set_reg(l, APIC_ICR, (u32)value);
        vlapic_set_reg(l, APIC_ICR + 4, (u32)(value >> 32));
        return vlapic_send(v, (u32)value, (u32)(value >> 32));
    }
    if (index == APIC_SELF_IPI / 16) {
        vlapic_accept(v, (u32)value, false);
        return VLAPIC_EVENTS;
    }
    return vlapic_write(v, index * 16, (u32)value);
}
