/* CPUID and MSR policy of a new VM, checked once so that the exit path need not.  Called by
 * vm_create; no state, no lock. */
#include "kernel/policy.h"

_Static_assert(POLICY_CPUID_MAX < 255, "an index is one byte");

static bool cpuid_row_ok(const struct cpuid_row *row, const struct cpuid_row *before)
{
    if (!policy_is_far(row->leaf) &&
        (row->leaf >> 30 > 2 || (row->leaf & 0x3fffffff) >= POLICY_LEAVES))
        return false;
    if (!before || row->leaf > before->leaf)
        return true;
    /* More rows for a leaf only by sub-leaf. */
    return row->leaf == before->leaf && (row->flags & before->flags & CPUID_SUBLEAF) &&
           row->subleaf > before->subleaf;
}

static bool msr_row_ok(const struct msr_row *row, const struct msr_row *before)
{
    if (row->first > row->last || row->kind > MSR_STORED)
        return false;
    return !before || row->first > before->last;
}

enum hv_status policy_check(const struct vm_policy *p, u8 index[POLICY_GROUPS][POLICY_LEAVES])
{
    u32 stored = 0;

    if (p->cpuid_count > POLICY_CPUID_MAX || p->msr_count > POLICY_MSR_MAX ||
        (p->flags & ~POLICY_FLAGS))
        return HV_EINVAL;
    for (u32 g = 0; g < POLICY_GROUPS; g++)
        for (u32 leaf = 0; leaf < POLICY_LEAVES; leaf++)
            index[g][leaf] = 0;
    for (u32 i = 0; i < p->cpuid_count; i++) {
        const struct cpuid_row *row = &p->cpuid[i];
        if (!cpuid_row_ok(row, i ? row - 1 : NULL))
            return HV_EINVAL;
        u32 group = policy_is_far(row->leaf) ? POLICY_FAR : row->leaf >> 30;
        u8 *slot = &index[group][row->leaf % POLICY_LEAVES];
        if (*slot == 0)
            *slot = (u8)(i + 1);
    }
    for (u32 i = 0; i < p->msr_count; i++) {
        if (!msr_row_ok(&p->msr[i], i ? &p->msr[i - 1] : NULL))
            return HV_EINVAL;
        u32 more = p->msr[i].last - p->msr[i].first;
        if (p->msr[i].kind == MSR_STORED)
            stored += MIN(more, VM_STORED_MSRS) + 1;
    }
    return stored <= VM_STORED_MSRS ? HV_OK : HV_EINVAL;
}
