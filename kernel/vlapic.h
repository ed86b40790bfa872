/* One local APIC a vCPU: xAPIC and x2APIC, SDM 3A chapter 11.
 *
 * Its registers live in the virtual-APIC page, so that a CPU with APIC-register virtualisation and
 * virtual-interrupt delivery serves most of them without an exit; the same code does all of it in
 * software elsewhere.  Requests from other cores go through two atomic bitmaps (`edge`, in the
 * format of a posted-interrupt descriptor, and `level`) and are merged by the vCPU's own core. */
#ifndef BULKHEAD_KERNEL_VLAPIC_H
#define BULKHEAD_KERNEL_VLAPIC_H

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"
#include "kernel/vcpu.h"

/* The timer's input clock is the guest's TSC divided by this (before the divide register). */
#define VLAPIC_TIMER_SHIFT 4 /* POLICY_APIC_TIMER_DIVISOR */
#define VLAPIC_BASE_DEFAULT 0xfee00000ull

/* What the backend must do after an access; bits. */
#define VLAPIC_EVENTS BIT(0) /* pending interrupts, TPR or timer changed: look before entry */
#define VLAPIC_EOI BIT(1)    /* a level-triggered interrupt ended: l->eoi_vector, tell the owner */
#define VLAPIC_MODE BIT(2)   /* xAPIC, x2APIC or disabled changed */
#define VLAPIC_GP BIT(3)     /* refuse the MSR access with #GP(0); nothing changed */

enum vlapic_mode { VLAPIC_DISABLED, VLAPIC_XAPIC, VLAPIC_X2APIC };

struct vlapic {
    /* Posted-interrupt descriptor, SDM 3C table 30-1: 64 bytes, aligned. */
    struct {
        volatile u64 edge[4];
        volatile u64 control; /* ON, SN, notification vector and destination */
        u64 reserved[3];
    } posted __attribute__((aligned(64)));
    volatile u64 level[4]; /* level-triggered ones: only software merges them */

    u8 *regs;              /* the virtual-APIC page */
    u64 base;              /* IA32_APIC_BASE */
    bool virtual_delivery; /* the CPU evaluates and delivers: IRR/ISR are only merged here */
    bool tmr_changed;      /* EOI-exit bitmap is stale */
    bool timer_dirty;      /* arm or cancel v->apic_timer on the home core */
    u32 eoi_vector;
    u64 timer_deadline; /* host TSC; 0: not running */
    u64 timer_period;   /* host TSC ticks; 0: not periodic */
    u64 timer_start;    /* host TSC at which the count was the initial count */
    u64 guest_deadline; /* IA32_TSC_DEADLINE as written */
};

/* Used by the backend's vcpu_init, vcpu_fini and vcpu_reset. */
MUST_CHECK enum hv_status vlapic_init(struct vcpu *v, bool virtual_delivery);
void vlapic_fini(struct vcpu *v);
void vlapic_reset(struct vcpu *v, bool init); /* init: keep the APIC id and base enable */

/* From any core. */
/* One MSI (SDM 3A 11.11).  HV_EINVAL: not an interrupt message. */
MUST_CHECK enum hv_status vlapic_msi(struct vm *vm, u64 address, u64 data);
void vlapic_post(struct vcpu *v, u32 vector, bool level); /* and request, kick */
void vlapic_lint0(struct vcpu *v, bool level);            /* the PIC's INTR output */

/* The vCPU does not run (SYS_VCPU_APIC), or on its own core.  32-bit register at `offset` of the
 * xAPIC page.  Returns VLAPIC_* bits; the caller passes them to vlapic_settle() or handles them. */
u32 vlapic_read(struct vcpu *v, u32 offset, u32 *value);
u32 vlapic_write(struct vcpu *v, u32 offset, u32 value);
/* For SYS_VCPU_APIC: an access while the vCPU waits for its MMIO exit.  HV_EINVAL: bad offset. */
MUST_CHECK enum hv_status vlapic_access(struct vcpu *v, u32 offset, bool write, u32 *value);

/* MSRs 800H..8FFH, IA32_APIC_BASE, IA32_TSC_DEADLINE; own core or not running. */
u32 vlapic_msr_read(struct vcpu *v, u32 msr, u64 *value);
u32 vlapic_msr_write(struct vcpu *v, u32 msr, u64 value);
u64 vlapic_tpr(struct vcpu *v); /* CR8 */
u32 vlapic_set_tpr(struct vcpu *v, u64 cr8);
u32 vlapic_eoi(struct vcpu *v);
enum vlapic_mode vlapic_mode(const struct vlapic *l);

/* Own core. */
void vlapic_merge(struct vcpu *v);              /* bitmaps to IRR/TMR; arm or cancel the timer */
int vlapic_highest_irr(const struct vlapic *l); /* -1: none */
int vlapic_highest_isr(const struct vlapic *l);
int vlapic_pending(struct vcpu *v);            /* vector above PPR, or -1 */
void vlapic_ack(struct vcpu *v, u32 vector);   /* it is being injected: IRR to ISR */
void vlapic_unack(struct vcpu *v, u32 vector); /* injection did not happen after all */
bool vlapic_extint(struct vcpu *v);            /* the PIC's request reaches this CPU */
void vlapic_timer_stop(struct vcpu *v); /* before the vCPU leaves this core; re-armed by merge */

#endif
