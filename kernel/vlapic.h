/* One local APIC a vCPU: xAPIC and x2APIC, SDM 3A chapter 11.
 *
 * Its registers live in the virtual-APIC page, so that a CPU with APIC-register virtualisation and
 * virtual-interrupt delivery serves most of them without an exit; the same code does all of it in
 * software elsewhere.  Requests from other cores go through two atomic bitmaps (`edge`, in the
 * format of a posted-interrupt descriptor, and `level`) and are merged by the vCPU's own core. */
#pragma once

#include "kernel/apic_registers.h"
#include "kernel/vcpu.h"

#define VLAPIC_BASE_DEFAULT 0xfee00000ull

/* What the backend must do after an access; bits. */
#define VLAPIC_EVENTS BIT(0) /* pending interrupts, TPR or timer changed: look before entry */
#define VLAPIC_EOI BIT(1)    /* a level-triggered interrupt ended: l->eoi_vector, tell the owner */
#define VLAPIC_MODE BIT(2)   /* xAPIC, x2APIC or disabled changed */
#define VLAPIC_GP BIT(3)     /* refuse the MSR access with #GP(0); nothing changed */

#define APIC_LVT_MASKED BIT(16)
#define APIC_LVT_VECTOR BITS(7, 0)
#define APIC_LVT_TIMER_MODE BITS(18, 17)
#define APIC_SVR_ENABLE BIT(8)
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_EXTD BIT(10)
#define APIC_BASE_ENABLE BIT(11)

/* Delivery modes of LVT, ICR and MSI. */
#define APIC_DELIVERY BITS(10, 8)
enum apic_delivery {
    DELIVER_FIXED,
    DELIVER_LOWEST,
    DELIVER_SMI,
    DELIVER_NMI = 4,
    DELIVER_INIT,
    DELIVER_STARTUP,
    DELIVER_EXTINT,
};

enum vlapic_mode { VLAPIC_DISABLED, VLAPIC_XAPIC, VLAPIC_X2APIC };

struct vlapic {
    /* Posted-interrupt descriptor, SDM 3C table 30-1: 64 bytes, aligned. */
    struct {
        volatile u64 edge[4];
        volatile u64 control; /* ON, SN, notification vector and destination */
        u64 reserved[3];
    } posted __attribute__((aligned(64)));
#define POSTED_ON BIT(0)   /* of control: something was posted */
    volatile u64 level[4]; /* level-triggered ones: only software merges them */

    u8 *regs;              /* the virtual-APIC page */
    u64 base;              /* IA32_APIC_BASE */
    bool virtual_delivery; /* the CPU evaluates and delivers: IRR/ISR are only merged here */
    bool isr_changed;      /* by software: the CPU's idea of what is in service is stale */
    bool tmr_changed;      /* EOI-exit bitmap is stale */
    bool timer_dirty;      /* arm or cancel v->apic_timer on the home core */
    u32 eoi_vector;
    u32 errors;         /* ESR bits since the last write to it; any core adds to them */
    u64 timer_deadline; /* host TSC; 0: not running */
    u64 timer_period;   /* host TSC ticks; 0: not periodic */
    u64 guest_deadline; /* IA32_TSC_DEADLINE as written */
};

static inline u32 vlapic_reg(const struct vlapic *l, u32 offset)
{
    return *(volatile u32 *)(l->regs + offset);
}
static inline void vlapic_set_reg(struct vlapic *l, u32 offset, u32 value)
{
    *(volatile u32 *)(l->regs + offset) = value;
}

static inline enum vlapic_mode vlapic_mode(const struct vlapic *l)
{
    if (!(l->base & APIC_BASE_ENABLE))
        return VLAPIC_DISABLED;
    return l->base & APIC_BASE_EXTD ? VLAPIC_X2APIC : VLAPIC_XAPIC;
}

/* One bit of ISR, TMR or IRR; its word. */
static inline volatile u32 *vlapic_word(const struct vlapic *l, u32 base, u32 vector)
{
    return (volatile u32 *)(l->regs + (u64)(vector >> 5) * 16 + base);
}
static inline bool vlapic_bit(const struct vlapic *l, u32 base, u32 vector)
{
    return *vlapic_word(l, base, vector) >> (vector & 31) & 1;
}
static inline void vlapic_set_bit(struct vlapic *l, u32 base, u32 vector, bool on)
{
    volatile u32 *word = vlapic_word(l, base, vector);
    u32 bit = 1u << (vector & 31);

    l->isr_changed |= base == APIC_ISR;
    *word = on ? *word | bit : *word & ~bit;
}

/* Own core or not running: a vector for v itself, straight into IRR.  False: it is dropped. */
static inline bool vlapic_accept(struct vcpu *v, u32 vector, bool level)
{
    struct vlapic *l = v->lapic;

    if (vector < 16 || !(vlapic_reg(l, APIC_SVR) & APIC_SVR_ENABLE))
        return false;
    if (vlapic_bit(l, APIC_TMR, vector) != level) {
        vlapic_set_bit(l, APIC_TMR, vector, level);
        l->tmr_changed = true;
    }
    vlapic_set_bit(l, APIC_IRR, vector, true);
    if (l->virtual_delivery)
        v->page->stats.injected++;
    return true;
}

/* Used by the backend's vcpu_init, vcpu_fini and vcpu_reset. */
MUST_CHECK enum hv_status vlapic_init(struct vcpu *v, bool virtual_delivery);
void vlapic_fini(struct vcpu *v);
void vlapic_reset(struct vcpu *v, bool init); /* init: keep the APIC id and base enable */

/* From any core. */
/* One MSI (SDM 3A 11.11).  HV_EINVAL: not an interrupt message. */
MUST_CHECK enum hv_status vlapic_msi(struct vm *vm, u64 address, u64 data);
void vlapic_post(struct vcpu *v, u32 vector, bool level); /* and request, kick */
void vlapic_take_messages(struct vcpu *v);                /* those of the reply in its page */
void vlapic_take_messages_here(struct vcpu *v);           /* the same; v is this_cpu()->handoff */
void vlapic_lint0(struct vcpu *v, bool level);            /* the PIC's INTR output */
void vlapic_error(struct vcpu *v,
                  u32 error); /* a bit of ESR, and what its LVT says: SDM 3A 11.5.3 */

/* The vCPU does not run (SYS_VCPU_APIC), or on its own core.  32-bit register at `offset` of the
 * xAPIC page.  The write returns VLAPIC_* bits for the caller to act on. */
u32 vlapic_read(struct vcpu *v, u32 offset);
u32 vlapic_write(struct vcpu *v, u32 offset, u32 value);
/* For SYS_VCPU_APIC: an access while the vCPU waits for its MMIO exit.  HV_EINVAL: bad offset.
 * After a write *value is 0, or VCPU_APIC_EOI_LEVEL | vector when it ended a level-triggered one.
 */
MUST_CHECK enum hv_status vlapic_access(struct vcpu *v, u32 offset, bool write, u32 *value);

void vlapic_set_identity(struct vcpu *v); /* ID and LDR of the current mode */
/* Own core: what an ICR or a self-IPI write sends; used by vlapic.c. */
u32 vlapic_send(struct vcpu *v, u32 icr, u32 dest);
void vlapic_timer_write(struct vcpu *v, u32 offset, u32 value); /* LVT timer, count, divider */
u32 vlapic_timer_count(struct vcpu *v);

/* By offset / 16: what a guest may do with a register. */
#define VLAPIC_R 1
#define VLAPIC_W 2
extern const struct vlapic_register {
    u8 x2apic;     /* VLAPIC_R, VLAPIC_W: as an MSR (SDM 3A table 11-6) */
    u32 writable;  /* bits; in x2APIC mode others raise #GP ... */
    u32 read_only; /* ... but these */
} vlapic_registers[0x40];

/* MSRs 800H..8FFH, IA32_APIC_BASE, IA32_TSC_DEADLINE; own core or not running. */
u32 vlapic_msr_read(struct vcpu *v, u32 msr, u64 *value);
u32 vlapic_msr_write(struct vcpu *v, u32 msr, u64 value);
u64 vlapic_tpr(struct vcpu *v); /* CR8 */
u32 vlapic_set_tpr(struct vcpu *v, u64 cr8);
u32 vlapic_eoi(struct vcpu *v);

/* Own core. */
void vlapic_merge(struct vcpu *v);              /* bitmaps to IRR/TMR; arm or cancel the timer */
int vlapic_highest_irr(const struct vlapic *l); /* -1: none */
int vlapic_highest_isr(const struct vlapic *l);
int vlapic_pending(struct vcpu *v);          /* vector above PPR, or -1 */
void vlapic_ack(struct vcpu *v, u32 vector); /* it is being injected: IRR to ISR */
bool vlapic_extint(struct vcpu *v);          /* the PIC's request reaches this CPU */
