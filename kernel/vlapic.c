/* Registers and priorities of the virtual local APIC; on the vCPU's own core or while it does not
 * run.  vlapic_route.c delivers, vlapic_timer.c keeps time. */
#include "kernel/vlapic.h"

#include "kernel/mem.h"
#include "kernel/vlapic_timer.h"
#include "kernel/x86.h"

#define ESR_ILLEGAL_REGISTER 0x80u
#define VERSION 0x00050014u /* integrated, six LVT entries */
#define PAGE_STATE 0x800u   /* the CPU uses only the first 1 KiB of the page: our struct follows */

_Static_assert(PAGE_STATE + sizeof(struct vlapic) <= PAGE_SIZE, "one page a local APIC");

enum hv_status vlapic_init(struct vcpu *v, bool virtual_delivery)
{
    u8 *page = mem_page(&v->vm->quota);

    if (!page)
        return HV_ENOMEM;
    v->lapic = (struct vlapic *)(page + PAGE_STATE);
    v->lapic->regs = page;
    v->lapic->virtual_delivery = virtual_delivery;
    return HV_OK;
}

void vlapic_fini(struct vcpu *v)
{
    if (!v->lapic)
        return;
    mem_free(&v->vm->quota, virt_to_phys(v->lapic->regs), PAGE_SIZE);
    v->lapic = NULL;
}

/* ID and LDR in the form of the current mode; SDM 3A 11.12.10.2. */
void vlapic_set_identity(struct vcpu *v)
{
    struct vlapic *l = v->lapic;

    if (vlapic_mode(l) == VLAPIC_X2APIC) {
        vlapic_set_reg(l, APIC_ID, v->index);
        vlapic_set_reg(l, APIC_LDR, (v->index >> 4) << 16 | 1u << (v->index & 15));
    } else {
        vlapic_set_reg(l, APIC_ID, v->index << 24);
        vlapic_set_reg(l, APIC_LDR, 0);
    }
}

static void reset_registers(struct vcpu *v)
{
    struct vlapic *l = v->lapic;

    for (u32 off = 0; off < 0x400; off += 4)
        vlapic_set_reg(l, off, 0);
    for (u32 i = 0; i < 4; i++)
        l->posted.edge[i] = l->level[i] = 0;
    vlapic_set_reg(l, APIC_VERSION, VERSION);
    vlapic_set_reg(l, APIC_DFR, ~0u);
    vlapic_set_reg(l, APIC_SVR, 0xff);
    for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
        vlapic_set_reg(l, lvt, APIC_LVT_MASKED);
    vlapic_set_identity(v);
    l->timer_deadline = l->timer_period = l->guest_deadline = 0;
    l->timer_dirty = true;
    l->isr_changed = l->tmr_changed = true;
    l->errors = 0;
}

void vlapic_reset(struct vcpu *v, bool init)
{
    struct vlapic *l = v->lapic;

    if (!init)
        l->base = VLAPIC_BASE_DEFAULT | APIC_BASE_ENABLE | (v->index ? 0 : APIC_BASE_BSP);
    reset_registers(v);
    /* Firmware leaves the boot CPU in virtual wire mode; a directly loaded kernel relies on it. */
    if (!init && v->index == 0)
        vlapic_set_reg(l, APIC_LVT_LINT0, (u32)FIELD_PUT(APIC_DELIVERY, DELIVER_EXTINT));
}

static int highest(const struct vlapic *l, u32 base)
{
    const volatile u32 *w = (const volatile u32 *)(l->regs + base); /* a word every 16 bytes */

    /* On the path of every interrupt: halves first, most are empty. */
    for (int half = 4; half >= 0; half -= 4) {
        if (!(w[4 * half] | w[4 * half + 4] | w[4 * half + 8] | w[4 * half + 12]))
            continue;
        for (int i = half + 3; i >= half; i--)
            if (w[4 * i])
                return i * 32 + 31 - __builtin_clz(w[4 * i]);
    }
    return -1;
}

int vlapic_highest_irr(const struct vlapic *l)
{
    return highest(l, APIC_IRR);
}

int vlapic_highest_isr(const struct vlapic *l)
{
    return highest(l, APIC_ISR);
}

/* SDM 3A 11.8.3.1. */
static u32 update_ppr(struct vlapic *l)
{
    u32 tpr = vlapic_reg(l, APIC_TPR) & 0xff;
    int isr = vlapic_highest_isr(l);
    u32 isrv = isr < 0 ? 0 : (u32)isr & 0xf0;
    u32 ppr = (tpr & 0xf0) >= isrv ? tpr : isrv;

    vlapic_set_reg(l, APIC_PPR, ppr);
    return ppr;
}

int vlapic_pending(struct vcpu *v)
{
    int irr = vlapic_highest_irr(v->lapic);

    if (irr < 0)
        return -1;
    return ((u32)irr & 0xf0) > (update_ppr(v->lapic) & 0xf0) ? irr : -1;
}

void vlapic_ack(struct vcpu *v, u32 vector)
{
    vlapic_set_bit(v->lapic, APIC_IRR, vector, false);
    vlapic_set_bit(v->lapic, APIC_ISR, vector, true);
    update_ppr(v->lapic);
}

/* 32 vectors from a bitmap word. */
static void accept_word(struct vcpu *v, u32 first, u64 bits, bool level)
{
    while (bits) {
        vlapic_accept(v, first + (u32)__builtin_ctzll(bits), level);
        bits &= bits - 1;
    }
}

void vlapic_merge(struct vcpu *v)
{
    struct vlapic *l = v->lapic;

    bool posted = __atomic_fetch_and(&l->posted.control, ~POSTED_ON, __ATOMIC_SEQ_CST) & POSTED_ON;

    for (u32 i = 0; posted && i < 4; i++) {
        if (l->posted.edge[i])
            accept_word(v, i * 64, __atomic_exchange_n(&l->posted.edge[i], 0, __ATOMIC_SEQ_CST),
                        false);
        if (l->level[i])
            accept_word(v, i * 64, __atomic_exchange_n(&l->level[i], 0, __ATOMIC_SEQ_CST), true);
    }
    if (!l->timer_dirty)
        return;
    l->timer_dirty = false;
    if (l->timer_deadline)
        timer_set(&v->apic_timer, l->timer_deadline);
    else if (v->apic_timer.armed)
        timer_cancel(&v->apic_timer);
}

u32 vlapic_eoi(struct vcpu *v)
{
    struct vlapic *l = v->lapic;
    int vector = vlapic_highest_isr(l);

    if (vector < 0)
        return 0;
    vlapic_set_bit(l, APIC_ISR, (u32)vector, false);
    update_ppr(l);
    if (!vlapic_bit(l, APIC_TMR, (u32)vector))
        return VLAPIC_EVENTS;
    l->eoi_vector = (u32)vector;
    return VLAPIC_EVENTS | VLAPIC_EOI;
}

u64 vlapic_tpr(struct vcpu *v)
{
    return (vlapic_reg(v->lapic, APIC_TPR) >> 4) & 0xf;
}

u32 vlapic_set_tpr(struct vcpu *v, u64 cr8)
{
    vlapic_set_reg(v->lapic, APIC_TPR, (u32)(cr8 & 0xf) << 4);
    update_ppr(v->lapic);
    return VLAPIC_EVENTS;
}

#define R VLAPIC_R
#define W VLAPIC_W
#define RW (R | W)
const struct vlapic_register vlapic_registers[0x40] = {
    [APIC_ID / 16] = {R, 0, 0},
    [APIC_VERSION / 16] = {R, 0, 0},
    [APIC_TPR / 16] = {RW, 0xff, 0},
    [APIC_PPR / 16] = {R, 0, 0},
    [APIC_EOI / 16] = {W, 0, 0},
    [APIC_LDR / 16] = {R, 0xff000000, 0},
    [APIC_DFR / 16] = {0, 0xf0000000, 0},
    [APIC_SVR / 16] = {RW, 0x1ff, 0},
    [APIC_ISR / 16 ... APIC_IRR / 16 + 7] = {R, 0, 0},
    [APIC_ESR / 16] = {RW, 0, 0},
    [APIC_ICR / 16] = {RW, 0x000ccfff, 0},
    [APIC_ICR_HIGH / 16] = {0, 0xff000000, 0},
    [APIC_LVT_TIMER / 16] = {RW, 0x000700ff, 0x1000},
    [APIC_LVT_THERMAL / 16 ... APIC_LVT_PERF / 16] = {RW, 0x000107ff, 0x1000},
    [APIC_LVT_LINT0 / 16 ... APIC_LVT_LINT1 / 16] = {RW, 0x0001a7ff, 0x5000},
    [APIC_LVT_ERROR / 16] = {RW, 0x000100ff, 0x1000},
    [APIC_TIMER_INITIAL / 16] = {RW, ~0u, 0},
    [APIC_TIMER_CURRENT / 16] = {R, 0, 0},
    [APIC_TIMER_DIVIDE / 16] = {RW, 0xb, 0},
    [APIC_SELF_IPI / 16] = {W, 0xff, 0},
};

static void write_svr(struct vlapic *l, u32 value)
{
    vlapic_set_reg(l, APIC_SVR, value);
    /* SDM 3A 11.4.7.2: a disabled local APIC has every LVT masked. */
    for (u32 lvt = APIC_LVT_TIMER; !(value & APIC_SVR_ENABLE) && lvt <= APIC_LVT_ERROR; lvt += 16)
        vlapic_set_reg(l, lvt, vlapic_reg(l, lvt) | (u32)APIC_LVT_MASKED);
}

u32 vlapic_write(struct vcpu *v, u32 offset, u32 value)
{
    struct vlapic *l = v->lapic;
    u32 masked = value & vlapic_registers[offset / 16 % ARRAY_LEN(vlapic_registers)].writable;

    if (offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR &&
        !(vlapic_reg(l, APIC_SVR) & APIC_SVR_ENABLE))
        masked |= (u32)APIC_LVT_MASKED;
    switch (offset) {
    case APIC_EOI:
        return vlapic_eoi(v);
    case APIC_TPR:
        vlapic_set_reg(l, APIC_TPR, masked);
        update_ppr(l);
        return VLAPIC_EVENTS;
    case APIC_ID: /* read-only, but a CPU with APIC-register virtualisation lets it be written */
        vlapic_set_reg(l, APIC_ID, v->index << 24);
        return 0;
    case APIC_LDR:
    case APIC_ICR_HIGH:
        vlapic_set_reg(l, offset, masked);
        return 0;
    case APIC_DFR:
        vlapic_set_reg(l, offset, masked | 0x0fffffff);
        return 0;
    case APIC_SVR:
        write_svr(l, masked);
        return VLAPIC_EVENTS;
    case APIC_ESR:
        vlapic_set_reg(l, APIC_ESR, __atomic_exchange_n(&l->errors, 0, __ATOMIC_RELAXED));
        return 0;
    case APIC_ICR:
        vlapic_set_reg(l, offset, masked);
        return vlapic_send(v, masked, vlapic_reg(l, APIC_ICR_HIGH) >> 24);
    case APIC_LVT_TIMER:
    case APIC_TIMER_INITIAL:
    case APIC_TIMER_DIVIDE:
        vlapic_timer_write(v, offset, masked);
        return VLAPIC_EVENTS;
    case APIC_LVT_THERMAL ... APIC_LVT_ERROR:
        vlapic_set_reg(l, offset, masked);
        return VLAPIC_EVENTS; /* LINT0 may have opened for the PIC */
    default:
        return 0; /* read-only or reserved: dropped */
    }
}

u32 vlapic_read(struct vcpu *v, u32 offset)
{
    struct vlapic *l = v->lapic;

    switch (offset) {
    case APIC_PPR:
        return update_ppr(l);
    case APIC_TIMER_CURRENT:
        return vlapic_timer_count(v);
    case APIC_EOI:
    case APIC_SELF_IPI:
        return 0;
    default:
        return vlapic_reg(l, offset);
    }
}

enum hv_status vlapic_access(struct vcpu *v, u32 offset, bool write, u32 *value)
{
    if (offset >= 0x400 || offset % 16)
        return HV_EINVAL;
    if (vlapic_mode(v->lapic) != VLAPIC_XAPIC) {
        *value = write ? 0 : ~0u; /* nothing answers at that address */
        return HV_OK;
    }
    const struct vlapic_register *r = &vlapic_registers[offset / 16];
    if ((!r->x2apic && !r->writable) || offset == APIC_SELF_IPI)
        vlapic_error(v, ESR_ILLEGAL_REGISTER);
    if (!write) {
        *value = vlapic_read(v, offset);
        return HV_OK;
    }
    u32 effect = vlapic_write(v, offset, *value);
    *value = effect & VLAPIC_EOI ? VCPU_APIC_EOI_LEVEL | v->lapic->eoi_vector : 0;
    if (effect & VLAPIC_EVENTS)
        vcpu_request(v, REQUEST_EVENT);
    return HV_OK;
}

/* As MSRs: x2APIC registers, IA32_APIC_BASE, IA32_TSC_DEADLINE (SDM 3A 11.12). */

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
