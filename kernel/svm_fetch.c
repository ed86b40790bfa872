/* The guest's page tables, walked by software for reading only; called by svm_exit.c.  Entries may
 * change under us: each is read once, and wrong bytes harm nobody but the guest. */
#include "kernel/svm_fetch.h"

#include "kernel/string.h"
#include "kernel/x86.h"

#define ENTRY_PRESENT BIT(0)
#define ENTRY_BIG BIT(7)
#define ENTRY_ADDRESS BITS(51, 12)

void *svm_fetch_ram(const struct vcpu *v, u64 gpa, bool write)
{
    u64 pa, size;
    u32 attr;

    if (!pgtab_lookup(&v->vm->npt, gpa, &pa, &attr, &size) || (write && !(attr & PG_W)))
        return NULL;
    return phys_to_virt(HPA(pa));
}

static bool read_entry(const struct vcpu *v, u64 gpa, bool wide, u64 *entry)
{
    const void *at = svm_fetch_ram(v, gpa, false);

    if (!at)
        return false;
    *entry = wide ? *(const volatile u64 *)at : *(const volatile u32 *)at;
    return *entry & ENTRY_PRESENT;
}

/* Linear to guest-physical address. */
static bool translate(const struct vcpu *v, u64 gla, u64 *gpa)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    bool wide = m->cr4 & CR4_PAE;
    u32 levels = m->efer & EFER_LMA ? 4 : wide ? 3 : 2;
    u32 bits = wide ? 9 : 10;
    u64 table = m->cr3 & (levels == 3 ? BITS(31, 5) : ENTRY_ADDRESS), entry;

    *gpa = gla;
    if (!(m->cr0 & CR0_PG))
        return true;
    for (u32 level = levels; level > 0; level--) {
        u32 shift = 12 + (level - 1) * bits;
        u64 index = gla >> shift & (BIT(bits) - 1);
        if (levels == 3 && level == 3)
            index &= 3;
        if (!read_entry(v, table + index * (wide ? 8 : 4), wide, &entry))
            return false;
        table = entry & ENTRY_ADDRESS;
        bool may_be_big = level == 2 ? wide || (m->cr4 & CR4_PSE) : level == 3 && levels == 4;
        if (level > 1 && may_be_big && (entry & ENTRY_BIG)) {
            /* 4 MiB pages have address bits 39:32 in bits 20:13 (APM 2, figure 5-6). */
            u64 high = wide ? 0 : FIELD_GET(BITS(20, 13), entry) << 32;
            *gpa = (ROUND_DOWN(table, BIT(shift)) & (wide ? ~0ull : BITS(31, 22))) | high |
                   (gla & (BIT(shift) - 1));
            return true;
        }
    }
    *gpa = table | gla % PAGE_SIZE;
    return true;
}

u32 svm_fetch(struct vcpu *v, u8 *buf, u32 len)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    bool mode64 = (m->efer & EFER_LMA) && (m->cs.attrib & VMCB_CS_LONG);
    u64 gla = mode64 ? m->rip : (u32)(m->cs.base + m->rip);
    u32 done = 0;

    while (done < len) {
        u64 gpa;
        const void *at = translate(v, gla + done, &gpa) ? svm_fetch_ram(v, gpa, false) : NULL;
        if (!at)
            break;
        u32 part = (u32)MIN(PAGE_SIZE - gpa % PAGE_SIZE, (u64)(len - done));
        memcpy(buf + done, at, part);
        done += part;
    }
    return done;
}
