/* MSR exits; exit path of the vCPU's own core.  SDM 4 chapter 2. */
#include "kernel/exit_msr.h"

#include "kernel/timer.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

#define MSR_TSC 0x10u
#define MSR_TSC_ADJUST 0x3bu
#define MSR_MTRR_CAP 0xfeu
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_MCG_CAP 0x179u
#define MSR_MCG_STATUS 0x17au
#define MSR_MISC_ENABLE 0x1a0u
#define MSR_MTRR_PHYSBASE0 0x200u /* base and mask of eight ranges */
#define MSR_MTRR_FIX64K 0x250u
#define MSR_MTRR_FIX16K 0x258u /* and 259H */
#define MSR_MTRR_FIX4K 0x268u  /* to 26FH */
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_TSC_AUX 0xc0000103u

#define MTRR_CAP_VALUE 0x508u /* eight ranges, fixed ranges, write-combining */
#define MTRR_WRITE_BACK 6u
#define MTRR_FIXED_WRITE_BACK 0x0606060606060606ull
#define MTRR_DEF_VALID 0xcffu
#define MTRR_DEF_ENABLE BIT(11)
#define MISC_ENABLE_RESET 0x1801u /* fast strings; no BTS, no PEBS */
#define EFER_LMA BIT(10)
#define EFER_VALID (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

void exit_msr_reset(struct vcpu *v, bool init)
{
    struct vcpu_msrs old = v->msrs, *m = &v->msrs;

    *m = (struct vcpu_msrs){0};
    m->misc_enable = MISC_ENABLE_RESET;
    m->tsc_offset = old.tsc_offset;
    m->tsc_adjust = old.tsc_adjust;
    if (init) {
        m->mtrr_def_type = old.mtrr_def_type;
        for (u32 i = 0; i < ARRAY_LEN(m->mtrr_fixed); i++)
            m->mtrr_fixed[i] = old.mtrr_fixed[i];
        for (u32 i = 0; i < ARRAY_LEN(m->mtrr_variable); i++)
            m->mtrr_variable[i] = old.mtrr_variable[i];
        return;
    }
    /* All memory write-back at once, as EPT makes it: a directly loaded kernel sets no MTRR. */
    m->mtrr_def_type = MTRR_DEF_ENABLE | MTRR_WRITE_BACK;
    for (u32 i = 0; i < ARRAY_LEN(m->mtrr_fixed); i++)
        m->mtrr_fixed[i] = MTRR_FIXED_WRITE_BACK;
    m->tsc_adjust = 0;
    const struct vm_policy *p = v->vm->policy;
    for (u32 i = 0; i < p->msr_count; i++)
        if (p->msr[i].kind == MSR_STORED)
            v->stored_msr[p->msr[i].pad % VM_STORED_MSRS] = p->msr[i].value;
}

static inline u32 hash(u32 msr)
{
    return (msr ^ msr >> 8) & 0xff;
}

static void add_to_filter(struct vm *vm, u32 first, u32 last)
{
    /* More than 256 in a row fill it. */
    for (u32 i = 0; i <= MIN(last - first, 255u); i++)
        vm->msr_filter[hash(first + i) >> 6] |= BIT(hash(first + i) & 63);
}

void exit_msr_policy_init(struct vm *vm)
{
    static const u32 own[][2] = {{MSR_TSC, MSR_TSC},
                                 {MSR_APIC_BASE, MSR_APIC_BASE},
                                 {MSR_TSC_ADJUST, MSR_TSC_ADJUST},
                                 {MSR_MTRR_CAP, MSR_MTRR_CAP},
                                 {MSR_SYSENTER_CS, MSR_SYSENTER_EIP},
                                 {MSR_MCG_CAP, MSR_MCG_STATUS},
                                 {MSR_MISC_ENABLE, MSR_MISC_ENABLE},
                                 {MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 15},
                                 {MSR_MTRR_FIX64K, MSR_MTRR_FIX64K},
                                 {MSR_MTRR_FIX16K, MSR_MTRR_FIX16K + 1},
                                 {MSR_MTRR_FIX4K, MSR_MTRR_FIX4K + 7},
                                 {MSR_PAT, MSR_PAT},
                                 {MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE},
                                 {MSR_TSC_DEADLINE, MSR_TSC_DEADLINE},
                                 {MSR_EFER, MSR_FMASK},
                                 {MSR_FS_BASE, MSR_TSC_AUX}};
    struct vm_policy *p = vm->policy;
    u32 stored = 0;

    for (u32 i = 0; i < ARRAY_LEN(own); i++)
        add_to_filter(vm, own[i][0], own[i][1]);
    for (u32 i = 0; i < p->msr_count; i++) {
        add_to_filter(vm, p->msr[i].first, p->msr[i].last);
        if (p->msr[i].kind == MSR_STORED)
            p->msr[i].pad = stored++;
    }
}

/* Where an MTRR is kept; NULL: msr is none.  Guests only get back what they wrote (EPT decides). */
static u64 *mtrr(struct vcpu *v, u32 msr)
{
    struct vcpu_msrs *m = &v->msrs;

    if (msr - MSR_MTRR_PHYSBASE0 < ARRAY_LEN(m->mtrr_variable))
        return &m->mtrr_variable[msr - MSR_MTRR_PHYSBASE0];
    if (msr == MSR_MTRR_FIX64K)
        return &m->mtrr_fixed[0];
    if (msr - MSR_MTRR_FIX16K < 2)
        return &m->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K];
    if (msr - MSR_MTRR_FIX4K < 8)
        return &m->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K];
    return msr == MSR_MTRR_DEF_TYPE ? &m->mtrr_def_type : NULL;
}

static bool memory_type_valid(u8 type)
{
    return type <= 6 && type != 2 && type != 3;
}

static bool mtrr_value_valid(u32 msr, u64 value)
{
    if (msr == MSR_MTRR_DEF_TYPE)
        return !(value & ~(u64)MTRR_DEF_VALID) && memory_type_valid((u8)value);
    if (msr - MSR_MTRR_PHYSBASE0 < 16) {
        if (msr & 1)
            return !(value & 0x7ff);
        return !(value & 0xf00) && memory_type_valid((u8)value);
    }
    for (u32 i = 0; i < 8; i++)
        if (!memory_type_valid((u8)(value >> (8 * i))))
            return false;
    return true;
}

/* By halving: rows are sorted and do not overlap. */
static const struct msr_row *find_row(const struct vm_policy *p, u32 msr)
{
    u32 low = 0, high = p->msr_count;

    while (low < high) {
        u32 mid = (low + high) / 2;
        if (msr > p->msr[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < p->msr_count && p->msr[low].first <= msr ? &p->msr[low] : NULL;
}

static bool policy_read(struct vcpu *v, u32 msr, u64 *value)
{
    const struct msr_row *row = find_row(v->vm->policy, msr);

    if (!row)
        v->vm->unknown_msr_count++;
    if (!row || row->kind == MSR_FAULT)
        return false;
    *value = row->kind == MSR_STORED ? v->stored_msr[row->pad % VM_STORED_MSRS] : row->value;
    return true;
}

static bool policy_write(struct vcpu *v, u32 msr, u64 value)
{
    const struct msr_row *row = find_row(v->vm->policy, msr);

    if (!row)
        v->vm->unknown_msr_count++;
    if (!row || row->kind == MSR_FAULT || row->kind == MSR_CONST)
        return false;
    if (row->kind == MSR_STORED) {
        if (value & ~row->mask)
            return false;
        v->stored_msr[row->pad % VM_STORED_MSRS] = value;
    }
    return true;
}

/* MSRs that are a register of the backend; HVM_REG_COUNT: none. */
static enum hvm_reg register_of(u32 msr)
{
    switch (msr) {
    case MSR_EFER:
        return HVM_EFER;
    case MSR_PAT:
        return HVM_PAT;
    case MSR_FS_BASE:
        return HVM_FS_BASE;
    case MSR_GS_BASE:
        return HVM_GS_BASE;
    case MSR_KERNEL_GS_BASE:
        return HVM_KERNEL_GS_BASE;
    case MSR_SYSENTER_CS:
        return HVM_SYSENTER_CS;
    case MSR_SYSENTER_ESP:
        return HVM_SYSENTER_ESP;
    case MSR_SYSENTER_EIP:
        return HVM_SYSENTER_EIP;
    default:
        return HVM_REG_COUNT;
    }
}

/* MSRs that are a plain word in v->msrs, for reading; NULL: none. */
static const u64 *word_of(struct vcpu *v, u32 msr)
{
    struct vcpu_msrs *m = &v->msrs;

    switch (msr) {
    case MSR_TSC_ADJUST:
        return &m->tsc_adjust;
    case MSR_MCG_STATUS:
        return &m->mcg_status;
    case MSR_MISC_ENABLE:
        return &m->misc_enable;
    case MSR_STAR:
        return &m->star;
    case MSR_LSTAR:
        return &m->lstar;
    case MSR_CSTAR:
        return &m->cstar;
    case MSR_FMASK:
        return &m->fmask;
    case MSR_TSC_AUX:
        return &m->tsc_aux;
    default:
        return mtrr(v, msr);
    }
}

/* x2APIC registers are not in the filter: they would fill it. */
static inline bool surely_unknown(struct vm *vm, u32 msr)
{
    u32 h = hash(msr);

    if ((vm->msr_filter[h >> 6] >> (h & 63) & 1) || msr >> 8 == MSR_X2APIC >> 8)
        return false;
    vm->unknown_msr_count++;
    return true;
}

static bool read_rest(struct vcpu *v, u32 msr, u64 *value)
{
    if ((msr & ~0xffu) == MSR_X2APIC || msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE)
        return !(vlapic_msr_read(v, msr, value) & VLAPIC_GP);
    switch (msr) {
    case MSR_TSC:
        *value = tsc_read() + v->msrs.tsc_offset;
        return true;
    case MSR_MTRR_CAP:
        *value = MTRR_CAP_VALUE;
        return true;
    case MSR_MCG_CAP: /* no machine-check banks */
        *value = 0;
        return true;
    default:
        break;
    }
    if (register_of(msr) == HVM_REG_COUNT)
        return policy_read(v, msr, value);
    *value = hvm->get(v, register_of(msr));
    return true;
}

static __attribute__((noinline)) enum exit_action rdmsr_rest(struct vcpu *v, u32 msr)
{
    u64 *r = v->page->regs, value;

    if (!read_rest(v, msr, &value))
        return EXIT_GP;
    r[REG_RAX] = (u32)value;
    r[REG_RDX] = value >> 32;
    return EXIT_ADVANCE;
}

enum exit_action exit_rdmsr(struct vcpu *v)
{
    u64 *r = v->page->regs;
    u32 msr = (u32)r[REG_RCX];

    if (surely_unknown(v->vm, msr))
        return EXIT_GP;
    const u64 *word = word_of(v, msr);
    if (!word)
        return rdmsr_rest(v, msr);
    r[REG_RAX] = (u32)*word;
    r[REG_RDX] = *word >> 32;
    return EXIT_ADVANCE;
}

static bool write_efer(struct vcpu *v, u64 value)
{
    u64 old = hvm->get(v, HVM_EFER);

    if (value & ~EFER_VALID)
        return false;
    if (((value ^ old) & EFER_LME) && (hvm->get(v, HVM_CR0) & CR0_PG))
        return false;
    hvm->set(v, HVM_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
    return true;
}

static bool pat_valid(u64 value)
{
    for (u32 i = 0; i < 8; i++) {
        u8 type = (u8)(value >> (8 * i));
        if (!memory_type_valid(type) && type != 7)
            return false;
    }
    return true;
}

static bool write_register(struct vcpu *v, enum hvm_reg r, u64 value)
{
    switch (r) {
    case HVM_EFER:
        return write_efer(v, value);
    case HVM_PAT:
        if (!pat_valid(value))
            return false;
        break;
    case HVM_SYSENTER_CS:
        value = (u32)value;
        break;
    default:
        if (!canonical(value))
            return false;
    }
    hvm->set(v, r, value);
    return true;
}

static bool write_syscall_msr(struct vcpu *v, u64 *word, u64 value, bool address)
{
    if (address && !canonical(value))
        return false;
    *word = value;
    hvm->syscall_msrs_changed(v);
    return true;
}

/* The guest's TSC is moved by its offset alone; the host's is never written. */
static void move_tsc(struct vcpu *v, u64 by)
{
    v->msrs.tsc_offset += by;
    v->msrs.tsc_adjust += by;
    hvm->tsc_changed(v);
}

static bool write(struct vcpu *v, u32 msr, u64 value)
{
    struct vcpu_msrs *m = &v->msrs;
    u64 *range;

    switch (msr) {
    case MSR_TSC:
        move_tsc(v, value - (tsc_read() + m->tsc_offset));
        return true;
    case MSR_TSC_ADJUST:
        move_tsc(v, value - m->tsc_adjust);
        return true;
    case MSR_STAR:
        return write_syscall_msr(v, &m->star, value, false);
    case MSR_LSTAR:
        return write_syscall_msr(v, &m->lstar, value, true);
    case MSR_CSTAR:
        return write_syscall_msr(v, &m->cstar, value, true);
    case MSR_FMASK:
        return write_syscall_msr(v, &m->fmask, (u32)value, false);
    case MSR_TSC_AUX:
        return write_syscall_msr(v, &m->tsc_aux, (u32)value, false);
    case MSR_MISC_ENABLE: /* what a guest may switch off changes nothing */
        m->misc_enable = value;
        return true;
    case MSR_MCG_STATUS:
        m->mcg_status = value & 7;
        return true;
    case MSR_MTRR_CAP:
    case MSR_MCG_CAP:
        return false;
    default:
        break;
    }
    range = mtrr(v, msr);
    if (range) {
        if (!mtrr_value_valid(msr, value))
            return false;
        *range = value;
        return true;
    }
    if (register_of(msr) != HVM_REG_COUNT)
        return write_register(v, register_of(msr), value);
    return policy_write(v, msr, value);
}

enum exit_action exit_wrmsr(struct vcpu *v)
{
    const u64 *r = v->page->regs;
    u32 msr = (u32)r[REG_RCX];
    u64 value = (u32)r[REG_RAX] | r[REG_RDX] << 32;

    if ((msr & ~0xffu) == MSR_X2APIC || msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE)
        return exit_apic_result(v, vlapic_msr_write(v, msr, value));
    if (surely_unknown(v->vm, msr) || !write(v, msr, value))
        return EXIT_GP;
    /* Moving the TSC moved an armed deadline. */
    return v->lapic->timer_dirty ? EXIT_ADVANCE_EVENTS : EXIT_ADVANCE;
}
