/* MSR accesses to the virtual local APIC; on the vCPU's own core. */
#include "kernel/vlapic_msr.h"

#include "kernel/vlapic_timer.h"
#include "kernel/x86.h"

enum access { NONE = 0, R = 1, W = 2, RW = 3 };

/* Registers by MSR number - 800H: SDM 3A table 11-6. */
static const struct {
    u8 access;
    u32 reserved; /* bits 31:0 whose write raises #GP; bits 63:32 do always, but in the ICR */
} x2apic[0x40] = {
    [0x02] = {R, 0},
    [0x03] = {R, 0},
    [0x08] = {RW, ~0xffu},
    [0x0a] = {R, 0},
    [0x0b] = {W, ~0u},
    [0x0d] = {R, 0},
    [0x0f] = {RW, ~0x1ffu},
    [0x10 ... 0x27] = {R, 0},
    [0x28] = {RW, ~0u},
    [0x30] = {RW, ~0x000ccfffu},
    [0x32] = {RW, ~0x000710ffu},
    [0x33] = {RW, ~0x000117ffu},
    [0x34] = {RW, ~0x000117ffu},
    [0x35] = {RW, ~0x0001f7ffu},
    [0x36] = {RW, ~0x0001f7ffu},
    [0x37] = {RW, ~0x000110ffu},
    [0x38] = {RW, 0},
    [0x39] = {R, 0},
    [0x3e] = {RW, ~0xbu},
    [0x3f] = {W, ~0xffu},
};

#define X2_ICR 0x30u

static u8 access_of(const struct vlapic *l, u32 index)
{
    return vlapic_mode(l) == VLAPIC_X2APIC && index < ARRAY_LEN(x2apic) ? x2apic[index].access
                                                                        : NONE;
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
    u32 index = msr - MSR_X2APIC_FIRST;

    if (msr == MSR_APIC_BASE) {
        *value = l->base;
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = vlapic_deadline_read(v);
        return 0;
    }
    if (!(access_of(l, index) & R))
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
    u32 index = msr - MSR_X2APIC_FIRST;

    if (msr == MSR_APIC_BASE)
        return write_base(v, value);
    if (msr == MSR_TSC_DEADLINE) {
        vlapic_deadline_write(v, value);
        return VLAPIC_EVENTS;
    }
    if (!(access_of(l, index) & W) || (value & x2apic[index].reserved) ||
        (index != X2_ICR && value >> 32))
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
