/* Guest registers that live in the VMCS: single ones for exits, all of them for SYS_VCPU_GET and
 * SYS_VCPU_SET.  Own core. */
#include "kernel/vmx_state.h"

#include "kernel/log.h"
#include "kernel/string.h"
#include "kernel/vlapic.h"
#include "kernel/vmx_vcpu.h"
#include "kernel/x86.h"

#define PENDING_DEBUG_BS BIT(14)
#define ACCESS_L BIT(13)
#define PDPTE_PRESENT BIT(0)
#define PDPTE_RESERVED (BITS(2, 1) | BITS(8, 5) | BITS(63, 52))

u64 vmx_guest_cr0(void)
{
    u64 owned = vmcs_read(VMCS_CR0_MASK);
    return (vmcs_read(VMCS_GUEST_CR0) & ~owned) | (vmcs_read(VMCS_CR0_SHADOW) & owned);
}

u64 vmx_guest_cr4(void)
{
    u64 owned = vmcs_read(VMCS_CR4_MASK);
    return (vmcs_read(VMCS_GUEST_CR4) & ~owned) | (vmcs_read(VMCS_CR4_SHADOW) & owned);
}

/* The processor wants the entry control to agree with EFER.LMA (SDM 3C 27.3.1.1). */
static void set_efer(u64 value)
{
    u32 entry = vmcs_read32(VMCS_ENTRY_CONTROLS) & ~(u32)ENTRY_IA32E;

    vmcs_write64(VMCS_GUEST_EFER, value);
    vmcs_write32(VMCS_ENTRY_CONTROLS, entry | (value & EFER_LMA ? (u32)ENTRY_IA32E : 0));
}

u64 vmx_get(struct vcpu *v, enum hvm_reg r)
{
    (void)v;
    switch (r) {
    case HVM_CR0:
        return vmx_guest_cr0();
    case HVM_CR4:
        return vmx_guest_cr4();
    case HVM_CPL: /* SS.DPL is the CPL: SDM 3C 25.4.1 */
        return FIELD_GET(ACCESS_DPL, vmcs_read32(VMCS_GUEST_SS_ACCESS));
    default:
        return vmcs_read64(r == HVM_EFER ? VMCS_GUEST_EFER : VMCS_GUEST_PAT);
    }
}

void vmx_set(struct vcpu *v, enum hvm_reg r, u64 value)
{
    (void)v;
    if (r == HVM_EFER)
        set_efer(value);
    else
        vmcs_write64(VMCS_GUEST_PAT, value);
}

/* The page-directory-pointer entries that MOV to CR0 loads have no reserved bit (SDM 3A 4.4.1). */
static bool pdptes_valid(const struct vcpu *v)
{
    u64 pa, size;
    u32 attr;

    if (!pgtab_lookup(&v->vm->npt, vmcs_read(VMCS_GUEST_CR3) & BITS(31, 5), &pa, &attr, &size))
        return true; /* an EPT violation will tell */
    const volatile u64 *entry = phys_to_virt(HPA(pa));
    for (u32 i = 0; i < 4; i++)
        if ((entry[i] & PDPTE_PRESENT) && (entry[i] & PDPTE_RESERVED))
            return false;
    return true;
}

/* MOV to CR0 of this value raises no #GP (SDM 2B, MOV to control registers). */
static bool cr0_valid(const struct vcpu *v, u64 value)
{
    u64 cr4 = vmx_guest_cr4(), efer = vmcs_read64(VMCS_GUEST_EFER);
    bool code64 = (efer & EFER_LMA) && (vmcs_read32(VMCS_GUEST_CS_ACCESS) & ACCESS_L);

    if (value >> 32 || ((value & CR0_NW) && !(value & CR0_CD)) ||
        ((value & CR0_PG) && !(value & CR0_PE)))
        return false;
    if (!(value & CR0_PG))
        return !code64 && !(cr4 & CR4_PCIDE);
    if (efer & EFER_LMA || !((efer & EFER_LME) || (cr4 & CR4_PAE)))
        return true;
    if (efer & EFER_LME) /* paging goes on */
        return (cr4 & CR4_PAE) && !(vmcs_read32(VMCS_GUEST_CS_ACCESS) & ACCESS_L);
    return pdptes_valid(v);
}

/* The instruction runs again with the owned bits of the shadow as it wants them, so that the CPU
 * itself does the rest: other bits, PDPTEs and EFER.LMA. */
bool vmx_take_cr0(const struct vcpu *v, u64 value)
{
    u64 owned = vmcs_read(VMCS_CR0_MASK), old = vmcs_read(VMCS_CR0_SHADOW);

    if (!cr0_valid(v, value))
        return false;
    vmcs_write(VMCS_CR0_SHADOW, (old & ~owned) | (value & owned));
    return true;
}

bool vmx_take_cr4(struct vcpu *v, u64 value)
{
    u64 owned = vmx_of(v)->cr4_owned;
    u64 allowed = v->vm->policy->cr4_allowed & vmx_caps.cr4_may & ~CR4_VMXE;

    if (value & ~allowed)
        return false;
    u64 real = (vmcs_read(VMCS_GUEST_CR4) & ~owned) | (value & owned) | vmx_caps.cr4_must;
    vmcs_write(VMCS_GUEST_CR4, real);
    vmcs_write(VMCS_CR4_SHADOW, value & owned);
    return true;
}

static void skip(u64 bytes)
{
    u32 blocked = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

    vmcs_write(VMCS_GUEST_RIP, vmcs_read(VMCS_GUEST_RIP) + bytes);
    if (blocked & BLOCKED_BY_STI_MOVSS)
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocked & ~BLOCKED_BY_STI_MOVSS);
    if (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF)
        vmx_trap_step();
}

void vmx_trap_step(void)
{
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

void vmx_advance(void)
{
    skip(vmcs_read32(VMCS_EXIT_INSN_LEN));
}

/* Members of struct vcpu_state that are just a field. */
#define PLAIN(member, field)                                                                       \
    offsetof(struct vcpu_state, member), sizeof(((struct vcpu_state *)0)->member), field
static const struct {
    u16 offset, size;
    u32 field;
} plain[] = {
    {PLAIN(rip, VMCS_GUEST_RIP)},
    {PLAIN(rflags, VMCS_GUEST_RFLAGS)},
    {PLAIN(cr3, VMCS_GUEST_CR3)},
    {PLAIN(pat, VMCS_GUEST_PAT)},
    {PLAIN(gdtr_base, VMCS_GUEST_GDTR_BASE)},
    {PLAIN(gdtr_limit, VMCS_GUEST_GDTR_LIMIT)},
    {PLAIN(idtr_base, VMCS_GUEST_IDTR_BASE)},
    {PLAIN(idtr_limit, VMCS_GUEST_IDTR_LIMIT)},
    {PLAIN(sysenter_cs, VMCS_GUEST_SYSENTER_CS)},
    {PLAIN(sysenter_esp, VMCS_GUEST_SYSENTER_ESP)},
    {PLAIN(sysenter_eip, VMCS_GUEST_SYSENTER_EIP)},
    {PLAIN(interruptibility, VMCS_GUEST_INTERRUPTIBILITY)},
    {PLAIN(dr[7], VMCS_GUEST_DR7)},
};

static void get_segment(u32 i, struct vcpu_segment *s)
{
    s->selector = (u16)vmread(VMCS_SEG(VMCS_GUEST_ES, i));
    s->access = (u32)vmread(VMCS_SEG(VMCS_GUEST_ES_ACCESS, i));
    s->limit = (u32)vmread(VMCS_SEG(VMCS_GUEST_ES_LIMIT, i));
    s->base = vmread(VMCS_SEG(VMCS_GUEST_ES_BASE, i));
}

static void get_debug(struct vcpu *v, u64 dr[8])
{
    struct vmx_vcpu *x = vmx_of(v);

    if (vmx_cpu()->dr_owner == v) { /* saves into x->dr */
        vmx_unload(v);
        vmx_load(v);
    }
    for (u32 i = 0; i < 8; i++)
        dr[i] = i < 4 || i == 6 ? x->dr[i] : 0;
}

void vmx_get_state(struct vcpu *v, struct vcpu_state *out)
{
    vmx_load(v);
    vmx_guest_forget(v);
    get_debug(v, out->dr);
    for (u32 i = 0; i < ARRAY_LEN(plain); i++) {
        u64 value = vmread(plain[i].field);
        memcpy((u8 *)out + plain[i].offset, &value, plain[i].size);
    }
    out->cr0 = vmx_guest_cr0();
    out->cr2 = vmx_of(v)->cr2;
    out->cr4 = vmx_guest_cr4();
    out->efer = vmcs_read64(VMCS_GUEST_EFER);
    out->kernel_gs_base = vmx_of(v)->kernel_gs_base;
    for (u32 i = 0; i < SEG_COUNT; i++)
        get_segment(i, &out->seg[i]);
    v->page->regs[REG_RSP] = vmcs_read(VMCS_GUEST_RSP);
}

void vmx_fill_page(struct vcpu *v)
{
    struct vcpu_page *p = v->page;

    p->rip = vmcs_read(VMCS_GUEST_RIP);
    p->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    p->cr0 = vmx_guest_cr0();
    p->cr3 = vmcs_read(VMCS_GUEST_CR3);
    p->cr4 = vmx_guest_cr4();
    p->efer = vmcs_read64(VMCS_GUEST_EFER);
    p->cs_access = vmcs_read32(VMCS_GUEST_CS_ACCESS);
    p->ss_access = vmcs_read32(VMCS_GUEST_SS_ACCESS);
    p->cs_base = vmcs_read(VMCS_GUEST_CS_BASE);
    p->insn_len = 0;
    p->hw_reason = vmcs_read32(VMCS_EXIT_REASON);
    p->hw_qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    p->hw_intr_info = vmcs_read32(VMCS_EXIT_INTR_INFO) | (u64)vmcs_read32(VMCS_EXIT_INTR_ERROR)
                                                             << 32;
    p->regs[REG_RSP] = vmcs_read(VMCS_GUEST_RSP);
    vmx_of(v)->rsp_in_page = true;
}

static __attribute__((noinline)) void take_rsp(struct vcpu *v)
{
    vmx_load(v);
    if (vmx_of(v)->rsp_in_page)
        vmcs_write(VMCS_GUEST_RSP, v->page->regs[REG_RSP]);
    vmx_of(v)->rsp_in_page = false;
}

void vmx_take_page(struct vcpu *v, u64 bytes)
{
    if (vmx_cpu()->loaded != v || vmx_of(v)->rsp_in_page)
        take_rsp(v);
    if (bytes)
        skip(bytes);
}

static void set_control_registers(struct vcpu *v, const struct vcpu_state *s)
{
    u64 owned0 = vmcs_read(VMCS_CR0_MASK), owned4 = vmx_of(v)->cr4_owned;
    u64 allowed4 = v->vm->policy->cr4_allowed & vmx_caps.cr4_may;
    u64 lma = (s->cr0 & CR0_PG) && (s->efer & EFER_LME) ? EFER_LMA : 0;

    vmcs_write(VMCS_CR0_SHADOW, s->cr0);
    vmcs_write(VMCS_GUEST_CR0, (s->cr0 & ~owned0) | vmx_caps.cr0_must);
    vmcs_write(VMCS_CR4_SHADOW, s->cr4 & owned4 & allowed4);
    vmcs_write(VMCS_GUEST_CR4, (s->cr4 & allowed4) | vmx_caps.cr4_must);
    set_efer((s->efer & (EFER_SCE | EFER_LME | EFER_NXE)) | lma);
}

void vmx_set_state(struct vcpu *v, const struct vcpu_state *s)
{
    struct vmx_vcpu *x = vmx_of(v);

    vmx_load(v);
    vmx_guest_forget(v);
    for (u32 i = 0; i < ARRAY_LEN(plain); i++) {
        u64 value = 0;
        memcpy(&value, (const u8 *)s + plain[i].offset, plain[i].size);
        vmwrite(plain[i].field, value);
    }
    vmcs_write(VMCS_GUEST_RSP, v->page->regs[REG_RSP]);
    set_control_registers(v, s);
    for (u32 i = 0; i < SEG_COUNT; i++) {
        vmwrite(VMCS_SEG(VMCS_GUEST_ES, i), s->seg[i].selector);
        vmwrite(VMCS_SEG(VMCS_GUEST_ES_ACCESS, i), s->seg[i].access);
        vmwrite(VMCS_SEG(VMCS_GUEST_ES_LIMIT, i), s->seg[i].limit);
        vmwrite(VMCS_SEG(VMCS_GUEST_ES_BASE, i), s->seg[i].base);
    }
    x->cr2 = s->cr2;
    x->kernel_gs_base = s->kernel_gs_base;
    if (vmx_cpu()->dr_owner == v)
        vmx_cpu()->dr_owner = NULL;
    memcpy(x->dr, s->dr, sizeof(x->dr));
    x->dr[6] = (u32)s->dr[6];
    vmcs_write64(VMCS_TSC_OFFSET, v->msrs.tsc_offset);
    vmx_write_exceptions(v);
}

void vmcs_failed(const char *what, u32 field)
{
    panic("%s of field %xH failed", what, field);
}
