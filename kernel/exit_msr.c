/* MSR exits; exit path of the vCPU's own core.  SDM 4 chapter 2.  What both backends switch by
 * hardware (SYSENTER, FS, GS and kernel GS base) never exits. */
#include "kernel/exit_msr.h"

#include "kernel/message.h"
#include "kernel/speculation.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

#define EFER_VALID (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

enum kind {
    POLICY, /* none of ours */
    WORD,   /* a word of v->msrs that the backend switches */
    EFER,
    PAT,
    TSC,
    ADJUST,
    APIC,
    SPEC_CTRL, /* what the guest asked for; only bits that the host may give it */
    PRED_CMD,
};
enum check { ANY, ADDRESS /* canonical */, LOW_HALF /* the rest is dropped */ };

#define OWN_WORD(number, member, check_)                                                           \
    [(number)&0xff] = {                                                                            \
        .msr = number, .kind = WORD, .check = check_, .word = offsetof(struct vcpu_msrs, member)}
#define OWN(number, kind_, ...) [(number)&0xff] = {.msr = number, .kind = kind_, __VA_ARGS__}
/* By the low byte, which no two of them share. */
static const struct own {
    u32 msr;
    u8 kind, check;
    u8 word; /* offset in struct vcpu_msrs; 0: none */
} own[256] = {
    OWN(MSR_TSC, TSC),
    OWN(MSR_TSC_ADJUST, ADJUST, .word = offsetof(struct vcpu_msrs, tsc_adjust)),
    OWN(MSR_APIC_BASE, APIC),
    OWN(MSR_TSC_DEADLINE, APIC),
    OWN(MSR_SPEC_CTRL, SPEC_CTRL),
    OWN(MSR_PRED_CMD, PRED_CMD),
    OWN(MSR_EFER, EFER),
    OWN(MSR_PAT, PAT),
    OWN_WORD(MSR_STAR, star, ANY),
    OWN_WORD(MSR_LSTAR, lstar, ADDRESS),
    OWN_WORD(MSR_CSTAR, cstar, ADDRESS),
    OWN_WORD(MSR_FMASK, fmask, LOW_HALF),
    OWN_WORD(MSR_TSC_AUX, tsc_aux, LOW_HALF),
};

static inline enum kind kind_of(const struct own *o, u32 msr)
{
    if (o->msr == msr)
        return o->kind;
    return msr >> 8 == MSR_X2APIC >> 8 ? APIC : POLICY;
}

static inline u64 *word_of(struct vcpu *v, const struct own *o)
{
    return (u64 *)((u8 *)&v->msrs + o->word);
}

void exit_msr_reset(struct vcpu *v, bool init)
{
    const struct vm_policy *p = v->vm->policy;

    v->msrs = (struct vcpu_msrs){
        .tsc_offset = v->msrs.tsc_offset,
        .tsc_adjust = init ? v->msrs.tsc_adjust : 0,
    };
    for (u32 i = 0; i < p->msr_count && !init; i++)
        for (u32 n = 0; p->msr[i].kind == MSR_STORED && n <= p->msr[i].last - p->msr[i].first; n++)
            v->stored_msr[p->msr[i].slot + n] = p->msr[i].value;
}

static inline u32 hash(u32 msr)
{
    return (msr ^ msr >> 8) & 0xff;
}

void exit_msr_policy_init(struct vm *vm)
{
    u32 stored = 0;

    for (u32 i = 0; i < vm->policy->msr_count; i++) {
        struct msr_row *row = &vm->policy->msr[i];
        /* More than 256 in a row fill it. */
        for (u32 n = 0; n <= MIN(row->last - row->first, 255u); n++)
            vm->msr_filter[hash(row->first + n) >> 6] |= BIT(hash(row->first + n) & 63);
        row->slot = (u16)stored;
        if (row->kind == MSR_STORED)
            stored += row->last - row->first + 1;
    }
}

/* An MSR of the kind POLICY in no row, as the filter tells at once. */
static inline bool surely_unknown(struct vm *vm, u32 msr)
{
    u32 h = hash(msr);

    return !(vm->msr_filter[h >> 6] >> (h & 63) & 1);
}

/* The row for an MSR; NULL: none.  By halving: rows are sorted and do not overlap. */
static const struct msr_row *find_row(struct vm *vm, u32 msr)
{
    const struct vm_policy *p = vm->policy;
    u32 low = 0, high = p->msr_count;

    while (low < high) {
        u32 mid = (low + high) / 2;
        if (msr > p->msr[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < p->msr_count && p->msr[low].first <= msr)
        return &p->msr[low];
    return NULL;
}

static u64 *stored(struct vcpu *v, const struct msr_row *row, u32 msr)
{
    return &v->stored_msr[row->slot + msr - row->first];
}

/* Each byte of value that `bytes` names is a memory type (SDM 3A table 12-8); 7 is in PATs only. */
static bool types_valid(u64 value, u32 bytes, bool pat)
{
    for (; bytes; bytes >>= 1, value >>= 8) {
        u8 type = (u8)value;
        if ((bytes & 1) && (type > 6 + pat || type == 2 || type == 3))
            return false;
    }
    return true;
}

static bool policy_read(struct vcpu *v, u32 msr, u64 *value)
{
    const struct msr_row *row = find_row(v->vm, msr);

    if (!row || row->kind == MSR_FAULT)
        return false;
    *value = row->kind == MSR_STORED ? *stored(v, row, msr) : row->value;
    return true;
}

static enum exit_action policy_write(struct vcpu *v, u32 msr, u64 value)
{
    const struct msr_row *row = find_row(v->vm, msr);

    if (!row || row->kind == MSR_FAULT || row->kind == MSR_CONST)
        return EXIT_GP;
    if (row->kind == MSR_IGNORE)
        return EXIT_ADVANCE;
    if ((value & ~row->mask) || !types_valid(value, row->memory_types, false))
        return EXIT_GP;
    *stored(v, row, msr) = value;
    if (msr == MSR_PV_EOI)
        v->msrs.pv_eoi = value;
    return row->told ? message_msr(v) : EXIT_ADVANCE;
}

static __attribute__((noinline)) enum exit_action rdmsr_rest(struct vcpu *v, u32 msr)
{
    const struct own *o = &own[msr & 0xff];
    u64 *r = v->page->regs, value = 0;
    bool ok = true;

    switch (kind_of(o, msr)) {
    case TSC:
        value = tsc_read() + v->msrs.tsc_offset;
        break;
    case EFER:
    case PAT:
        value = hvm->get(v, msr == MSR_EFER ? HVM_EFER : HVM_PAT);
        break;
    case SPEC_CTRL:
        value = v->msrs.spec_ctrl;
        ok = speculation_guest_ctrl;
        break;
    case APIC:
        ok = !(vlapic_msr_read(v, msr, &value) & VLAPIC_GP);
        break;
    case POLICY:
        ok = policy_read(v, msr, &value);
        break;
    default: /* PRED_CMD cannot be read */
        ok = false;
    }
    if (!ok)
        return EXIT_GP;
    r[REG_RAX] = (u32)value;
    r[REG_RDX] = value >> 32;
    return EXIT_ADVANCE;
}

enum exit_action exit_rdmsr(struct vcpu *v)
{
    u64 *r = v->page->regs;
    u32 msr = (u32)r[REG_RCX];
    const struct own *o = &own[msr & 0xff];

    if (o->msr != msr || !o->word)
        return kind_of(o, msr) == POLICY && surely_unknown(v->vm, msr) ? EXIT_GP
                                                                       : rdmsr_rest(v, msr);
    const u64 *word = word_of(v, o);
    r[REG_RAX] = (u32)*word;
    r[REG_RDX] = *word >> 32;
    return EXIT_ADVANCE;
}

static enum exit_action write_efer(struct vcpu *v, u64 value)
{
    u64 old = hvm->get(v, HVM_EFER);

    if ((value & ~EFER_VALID) || (((value ^ old) & EFER_LME) && (hvm->get(v, HVM_CR0) & CR0_PG)))
        return EXIT_GP;
    hvm->set(v, HVM_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
    return EXIT_ADVANCE;
}

/* The guest's TSC is moved by its offset alone; the host's is never written. */
static enum exit_action move_tsc(struct vcpu *v, u64 by)
{
    v->msrs.tsc_offset += by;
    v->msrs.tsc_adjust += by;
    hvm->tsc_changed(v);
    return v->lapic->timer_dirty ? EXIT_ADVANCE_EVENTS : EXIT_ADVANCE; /* a deadline moved */
}

enum exit_action exit_wrmsr(struct vcpu *v)
{
    const u64 *r = v->page->regs;
    u32 msr = (u32)r[REG_RCX];
    u64 value = (u32)r[REG_RAX] | r[REG_RDX] << 32;
    const struct own *o = &own[msr & 0xff];
    enum kind kind = kind_of(o, msr);

    if (kind == APIC) /* the frequent ones */
        return exit_apic_result(v, vlapic_msr_write(v, msr, value));
    switch (kind) {
    case TSC:
        return move_tsc(v, value - (tsc_read() + v->msrs.tsc_offset));
    case ADJUST:
        return move_tsc(v, value - v->msrs.tsc_adjust);
    case SPEC_CTRL:
        if (!speculation_guest_ctrl || (value & ~speculation_guest_ctrl))
            return EXIT_GP;
        v->msrs.spec_ctrl = value;
        v->msrs.spec_live = true;
        hvm->apic_changed(v);
        return EXIT_ADVANCE;
    case PRED_CMD: /* the only command is the barrier for indirect branches */
        if (!speculation_guest_ctrl || (value & ~1ull))
            return EXIT_GP;
        if (value)
            wrmsr(MSR_PRED_CMD, value);
        return EXIT_ADVANCE;
    case POLICY:
        return surely_unknown(v->vm, msr) ? EXIT_GP : policy_write(v, msr, value);
    case EFER:
        return write_efer(v, value);
    case PAT:
        if (!types_valid(value, 0xff, true))
            return EXIT_GP;
        hvm->set(v, HVM_PAT, value);
        return EXIT_ADVANCE;
    default: /* WORD */
        if (o->check == ADDRESS && !canonical(value))
            return EXIT_GP;
        *word_of(v, o) = o->check == LOW_HALF ? (u32)value : value;
        hvm->syscall_msrs_changed(v);
        return EXIT_ADVANCE;
    }
}
