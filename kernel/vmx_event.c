/* Events into the guest: the only writer of the VM-entry interruption field, and the order of
 * things before every slow entry.  Own core, VMCS loaded. */
#include "kernel/vmx_event.h"

#include "kernel/exit.h"
#include "kernel/exit_decode.h"
#include "kernel/vlapic.h"
#include "kernel/vmx_vcpu.h"
#include "kernel/x86.h"

static u32 pending_entry(void)
{
    u32 info = vmcs_read32(VMCS_ENTRY_INTR_INFO);
    return info & INTR_VALID ? info : 0;
}

/* An event whose delivery was cut short gives way: exceptions and software interrupts come again by
 * themselves, and an interrupt or NMI that meets an exception on its way is lost to its handler on
 * a processor as well, acknowledged as it is. */
void vmx_inject(struct vcpu *v, u32 info, u32 error)
{
    vmcs_write32(VMCS_ENTRY_INTR_INFO, info);
    if (info & INTR_HAS_ERROR)
        vmcs_write32(VMCS_ENTRY_ERROR, error);
    v->activity = VCPU_ACTIVE;
}

void vmx_exception(struct vcpu *v, u32 vector, bool has_error, u32 error)
{
    /* Real mode pushes no error code: SDM 3C 27.2.1.3. */
    if (!(vmcs_read(VMCS_GUEST_CR0) & BIT(0)))
        has_error = false;
    vmx_inject(v, INTR_INFO(INTR_EXCEPTION, vector) | (has_error ? (u32)INTR_HAS_ERROR : 0), error);
}

void vmx_interrupt(struct vcpu *v, u32 vector)
{
    vmx_inject(v, INTR_INFO(INTR_EXTERNAL, vector), 0);
    v->page->stats.injected++;
}

/* Nothing else can be waiting to be injected: no event was cut short, and an exit empties the field
 * (SDM 3C 28.2). */
void vmx_fault(u32 vector)
{
    bool has_error = vmcs_read(VMCS_GUEST_CR0) & BIT(0);

    vmcs_write32(VMCS_ENTRY_INTR_INFO,
                 INTR_INFO(INTR_EXCEPTION, vector) | (has_error ? (u32)INTR_HAS_ERROR : 0));
    vmcs_write32(VMCS_ENTRY_ERROR, 0);
}

void vmx_reinject(struct vcpu *v, u32 vectoring)
{
    /* Bit 12 is undefined here and must be 0 in the entry field (SDM 3C 27.2.1.3, 28.2.4). */
    u32 info = vectoring & (u32)(INTR_VALID | INTR_HAS_ERROR | INTR_TYPE | INTR_VECTOR);
    u64 type = FIELD_GET(INTR_TYPE, info);

    if (type >= INTR_SOFT && type <= INTR_SOFT_EXCEPTION)
        vmcs_write32(VMCS_ENTRY_INSN_LEN, vmcs_read32(VMCS_EXIT_INSN_LEN));
    /* An NMI cannot be injected while the guest already counts as in its handler. */
    if (type == INTR_NMI)
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
                     vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & ~(u32)BLOCKED_BY_NMI);
    vmx_inject(v, info, info & INTR_HAS_ERROR ? vmcs_read32(VMCS_VECTORING_ERROR) : 0);
}

bool vmx_reflect(struct vcpu *v, u32 info)
{
    u32 vector = (u32)FIELD_GET(INTR_VECTOR, info), type = (u32)FIELD_GET(INTR_TYPE, info);
    u32 error = info & INTR_HAS_ERROR ? vmcs_read32(VMCS_EXIT_INTR_ERROR) : 0;
    u32 becomes = exit_second_exception(pending_entry(), vector);
    u64 address = 0;

    if (vector == VECTOR_PF) { /* SDM 3C 28.2.1: the exit left CR2 as it was */
        address = vmcs_read(VMCS_EXIT_QUALIFICATION);
        asm volatile("mov %0, %%cr2" : : "r"(address));
    }
    exit_note_exception(v, vmcs_read(VMCS_GUEST_RIP), address, vector, error);
    if (becomes == EXCEPTION_SHUTDOWN)
        return false;
    if (becomes != vector) {
        vmx_exception(v, becomes, true, 0);
        return true;
    }
    if (type != INTR_EXCEPTION) /* INT1, INT3, INTO: pushed is the next instruction's RIP */
        vmcs_write32(VMCS_ENTRY_INSN_LEN, vmcs_read32(VMCS_EXIT_INSN_LEN));
    vmx_inject(v, (u32)(info & (INTR_VALID | INTR_HAS_ERROR | INTR_TYPE | INTR_VECTOR)), error);
    return true;
}

/* Virtual-interrupt delivery: the CPU takes it from here.  True: it will deliver at once. */
static bool hand_over(struct vcpu *v, bool open)
{
    struct vlapic *l = v->lapic;
    u32 status = vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS); /* SVI, RVI */
    int irr = vlapic_highest_irr(l);

    if (l->isr_changed) {
        l->isr_changed = false;
        status = (u32)MAX(vlapic_highest_isr(l), 0) << 8;
    }
    status = (status & 0xff00) | (u32)MAX(irr, 0);
    vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS, (u16)status);
    if (l->tmr_changed) {
        l->tmr_changed = false;
        for (u32 i = 0; i < 4; i++)
            vmwrite(VMCS_EOI_EXIT_0 + 2 * i, vlapic_reg(l, APIC_TMR + 32 * i) |
                                                 (u64)vlapic_reg(l, APIC_TMR + 32 * i + 16) << 32);
    }
    return open && (v->activity == VCPU_ACTIVE || (irr >= 0 && vlapic_pending(v) >= 0));
}

/* Without: inject the highest one, or ask for an exit when it can be.  True: injected. */
static bool inject_highest(struct vcpu *v, bool open, bool *window)
{
    int vector = vlapic_pending(v);
    bool injected = false;

    if (vector >= 0 && open) {
        vlapic_ack(v, (u32)vector);
        vmx_interrupt(v, (u32)vector);
        injected = true;
        vector = vlapic_pending(v);
    }
    if (vector >= 0)
        *window = true;
    if (vmx_of(v)->proc & PROC_TPR_SHADOW) {
        /* Exit when TPR falls below the class of what waits (SDM 3C 30.1.3). */
        int irr = vlapic_highest_irr(v->lapic);
        u32 class = irr < 0 || vector >= 0 ? 0 : (u32)irr >> 4;
        u32 tpr = vlapic_reg(v->lapic, APIC_TPR) >> 4;
        vmcs_write32(VMCS_TPR_THRESHOLD, MIN(class, tpr));
    }
    return injected;
}

bool vmx_interrupts_open(struct vcpu *v)
{
    (void)v;
    return !pending_entry() && (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
           !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_STI_MOVSS);
}

enum hvm_events vmx_take_events(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    u32 blocked = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
    bool busy = pending_entry(), delivers = busy, window = false;

    if (v->nmi_pending && !busy && !(blocked & (BLOCKED_BY_STI_MOVSS | BLOCKED_BY_NMI))) {
        v->nmi_pending = false;
        vmx_inject(v, INTR_INFO(INTR_NMI, VECTOR_NMI), 0);
        busy = delivers = true;
    }
    bool open =
        !busy && (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) && !(blocked & BLOCKED_BY_STI_MOVSS);
    if (vlapic_extint(v)) {
        if (open)
            return EVENTS_PIC;
        window = true;
    }
    delivers |= v->lapic->virtual_delivery ? hand_over(v, open) : inject_highest(v, open, &window);
    u32 set =
        (window ? (u32)PROC_INTERRUPT_WINDOW : 0) | (v->nmi_pending ? (u32)PROC_NMI_WINDOW : 0);
    vmx_set_proc(x, (u32)(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW), set);
    return delivers ? EVENTS_DELIVER : EVENTS_NONE;
}
