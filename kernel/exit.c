/* CPUID, XSETBV and hypercalls: the same on every vendor.  Exit path of the vCPU's own core.
 * MSRs are in exit_msr.c. */
#include "kernel/exit.h"

#include "kernel/exit_msr.h"
#include "kernel/fpu.h"
#include "kernel/log.h"
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

void exit_get_state(struct vcpu *v, struct vcpu_state *out)
{
    *out = (struct vcpu_state){
        .cr8 = vlapic_tpr(v),
        .xcr0 = v->xcr0,
        .star = v->msrs.star,
        .lstar = v->msrs.lstar,
        .cstar = v->msrs.cstar,
        .fmask = v->msrs.fmask,
        .tsc_offset = v->msrs.tsc_offset,
        .tsc_aux = v->msrs.tsc_aux,
        .apic_base = v->lapic->base,
        .activity = v->activity,
        .exceptions = v->exceptions,
    };
    hvm->get_state(v, out);
}

enum hv_status exit_set_state(struct vcpu *v, const struct vcpu_state *in)
{
    if (in->activity > VCPU_SHUTDOWN || in->cr8 > 15 || !canonical(in->lstar) ||
        !canonical(in->kernel_gs_base) || (in->xcr0 != v->xcr0 && !exit_xcr0_valid(v, in->xcr0)))
        return HV_EINVAL;
    fpu_release(v->xsave); /* XCR0 is loaded with it */
    v->xcr0 = in->xcr0;
    v->xcr0_ever |= in->xcr0;
    v->activity = in->activity;
    v->exceptions = in->exceptions;
    v->msrs.star = in->star;
    v->msrs.lstar = in->lstar;
    v->msrs.cstar = in->cstar;
    v->msrs.fmask = (u32)in->fmask;
    v->msrs.tsc_aux = (u32)in->tsc_aux;
    v->msrs.tsc_offset = in->tsc_offset;
    vlapic_set_tpr(v, in->cr8);
    v->look = true;
    hvm->set_state(v, in);
    return HV_OK;
}

static const struct vcpu_state reset_state = {
    .rip = 0xfff0,
    .rflags = RFLAGS_FIXED,
    .cr0 = RESET_CR0,
    .pat = RESET_PAT,
    .gdtr_limit = 0xffff,
    .idtr_limit = 0xffff,
    .dr = {[6] = RESET_DR6, [7] = RESET_DR7},
    .seg = {[SEG_ES] = {.access = 0x93, .limit = 0xffff},
            [SEG_CS] = {.access = 0x9b, .limit = 0xffff, .selector = 0xf000, .base = 0xffff0000},
            [SEG_SS... SEG_GS] = {.access = 0x93, .limit = 0xffff},
            [SEG_LDTR] = {.access = 0x82, .limit = 0xffff},
            [SEG_TR] = {.access = 0x8b, .limit = 0xffff}},
};

void exit_reset(struct vcpu *v, bool init)
{
    u8 row = v->vm->cpuid_index[0][1];
    struct vcpu_state s = reset_state, old = reset_state;

    if (init) {
        exit_get_state(v, &old);
    } else {
        fpu_release(v->xsave);
        fpu_area_init(v->xsave);
        v->xcr0 = 1;
        v->xcr0_ever = 3; /* SSE works without XCR0.SSE and must be kept all the same */
    }
    s.pat = old.pat;
    s.cr0 = (s.cr0 & ~(CR0_CD | CR0_NW)) | (old.cr0 & (CR0_CD | CR0_NW));
    s.tsc_offset = init ? v->msrs.tsc_offset : -v->vm->tsc_base;
    s.xcr0 = v->xcr0;
    s.exceptions = v->exceptions;
    s.activity = v->index ? VCPU_WAIT_SIPI : VCPU_ACTIVE;
    memset(v->page->regs, 0, sizeof(v->page->regs));
    /* The processor's signature, as CPUID tells it. */
    v->page->regs[REG_RDX] = row ? v->vm->policy->cpuid[row - 1].eax : SIGNATURE_UNKNOWN;
    vlapic_reset(v, init);
    v->asked = EXIT_NONE;
    v->nmi_pending = false;
    v->raised = 0;
    exit_msr_reset(v, init);
    hvm->vcpu_reset(v);
    if (exit_set_state(v, &s) != HV_OK)
        panic("reset state refused");
}

void exit_startup(struct vcpu *v, u32 sipi_vector)
{
    struct vcpu_state s;

    exit_get_state(v, &s);
    s.rip = 0;
    s.seg[SEG_CS].selector = (u16)(sipi_vector << 8);
    s.seg[SEG_CS].base = sipi_vector << 12;
    s.activity = VCPU_ACTIVE;
    if (exit_set_state(v, &s) != HV_OK)
        panic("start-up state refused");
}
