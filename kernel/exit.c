/* CPUID, XSETBV and hypercalls: the same on every vendor.  Exit path of the vCPU's own core.
 * MSRs are in exit_msr.c. */
#include "kernel/exit.h"

#include "kernel/exit_msr.h"
#include "kernel/fpu.h"
#include "kernel/message.h"
#include "kernel/string.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

#define CPUID1_OSXSAVE BIT(27)
#define CPUID7_OSPKE BIT(4)
#define SIGNATURE_UNKNOWN 0x600u

const struct cpuid_row exit_cpuid_none;

/* The row for that sub-leaf among those of one leaf, of which `row` is the first. */
static const struct cpuid_row *find_subleaf(const struct vm_policy *p, const struct cpuid_row *row,
                                            u32 subleaf)
{
    const struct cpuid_row *end = p->cpuid + p->cpuid_count;
    u32 leaf = row->leaf;

    for (; row < end && row->leaf == leaf; row++)
        if (!(row->flags & CPUID_SUBLEAF) || row->subleaf == subleaf)
            return row;
    return &exit_cpuid_none;
}

/* What only the moment of the exit tells. */
static void fill(struct vcpu *v, const struct cpuid_row *row, u64 *r)
{
    if ((row->flags & CPUID_APIC_ID) && row->leaf == 1)
        r[REG_RBX] = (r[REG_RBX] & 0x00ffffff) | v->index << 24;
    else if (row->flags & CPUID_APIC_ID)
        r[REG_RDX] = v->index;
    if (row->flags & CPUID_CR4) {
        u64 cr4 = hvm->get(v, HVM_CR4);
        u64 bit = row->leaf == 1 ? CPUID1_OSXSAVE : CPUID7_OSPKE;
        r[REG_RCX] &= ~bit;
        if (cr4 & (row->leaf == 1 ? CR4_OSXSAVE : CR4_PKE))
            r[REG_RCX] |= bit;
    }
    if (row->flags & CPUID_XSAVE_SIZE)
        r[REG_RBX] = fpu_area_bytes(v->xcr0);
}

void exit_cpuid_special(struct vcpu *v, const struct cpuid_row *row)
{
    u64 *r = v->page->regs;

    if (row->flags & CPUID_SUBLEAF)
        row = find_subleaf(v->vm->policy, row, (u32)r[REG_RCX]);
    r[REG_RAX] = row->eax;
    r[REG_RBX] = row->ebx;
    r[REG_RCX] = row->ecx;
    r[REG_RDX] = row->edx;
    fill(v, row, r);
}

enum exit_action exit_cpuid(struct vcpu *v)
{
    exit_cpuid_special(v, exit_cpuid_row(v->vm, (u32)v->page->regs[REG_RAX]));
    return EXIT_ADVANCE;
}

/* SDM 1 13.3: what XSETBV refuses. */
bool exit_xcr0_valid(const struct vcpu *v, u64 value)
{
    u64 avx512 = BITS(7, 5);

    if (value & ~(v->vm->policy->xcr0_allowed & fpu_xcr0_host))
        return false;
    if (!(value & BIT(0)) || ((value & BIT(2)) && !(value & BIT(1))))
        return false;
    return !(value & avx512) || ((value & avx512) == avx512 && (value & BIT(2)));
}

enum exit_action exit_xsetbv(struct vcpu *v)
{
    const u64 *r = v->page->regs;
    u64 value = (u32)r[REG_RAX] | r[REG_RDX] << 32;

    if ((u32)r[REG_RCX] != 0 || !exit_xcr0_valid(v, value) || hvm->get(v, HVM_CPL) != 0)
        return EXIT_GP;
    fpu_set_xcr0(v, value);
    return EXIT_ADVANCE;
}

void exit_note_exception(struct vcpu *v, u64 rip, u64 address, u32 vector, u32 error)
{
    struct vcpu_stats *s = &v->page->stats;

    s->exception[s->exceptions++ % VCPU_EXCEPTIONS] =
        (struct vcpu_exception){rip, address, vector, error};
    s->by_vector[vector & 31]++;
}

enum exit_action exit_hlt(struct vcpu *v)
{
    v->activity = VCPU_HALTED;
    return EXIT_ADVANCE_EVENTS;
}

enum exit_action exit_apic_result(struct vcpu *v, u32 effect)
{
    if (effect & VLAPIC_GP)
        return EXIT_GP;
    if (effect & VLAPIC_MODE)
        hvm->apic_changed(v);
    if (effect & VLAPIC_EOI) {
        message_eoi(v, v->lapic->eoi_vector);
        return EXIT_ADVANCE_RESCHED;
    }
    return effect & VLAPIC_EVENTS ? EXIT_ADVANCE_EVENTS : EXIT_ADVANCE;
}

void exit_reset(struct vcpu *v, bool init)
{
    u8 row = v->vm->cpuid_index[0][1];

    memset(v->page->regs, 0, sizeof(v->page->regs));
    /* The processor's signature, as CPUID tells it. */
    v->page->regs[REG_RDX] = row ? v->vm->policy->cpuid[row - 1].eax : SIGNATURE_UNKNOWN;
    vlapic_reset(v, init);
    v->activity = v->index ? VCPU_WAIT_SIPI : VCPU_ACTIVE;
    v->asked = EXIT_NONE;
    v->nmi_pending = false;
    v->look = true;
    v->raised = 0;
    exit_msr_reset(v, init);
    if (init) /* XCR0 and the FPU survive INIT: SDM 3A table 10-1 */
        return;
    v->msrs.tsc_offset = -v->vm->tsc_base;
    fpu_release(v->xsave);
    fpu_area_init(v->xsave);
    v->xcr0 = 1;
    v->xcr0_ever = 3; /* SSE works without XCR0.SSE and must be kept all the same */
}
