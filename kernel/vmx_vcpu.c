/* VMCSs: made as tables, loaded, reset, moved; and the registers that guest, ring 3 and other
 * guests share.  Own core. */
#include "kernel/vmx_vcpu.h"

#include "kernel/cpu_tables.h"
#include "kernel/exit.h"
#include "kernel/exit_decode.h"
#include "kernel/fpu.h"
#include "kernel/log.h"
#include "kernel/speculation.h"
#include "kernel/vlapic.h"
#include "kernel/vmx_state.h"
#include "kernel/x86.h"

#define EXCEPTION_DB BIT(1)
#define EXCEPTION_AC BIT(17)
#define EXCEPTION_MC BIT(18)
#define PLE_GAP 128u /* ticks between PAUSEs of one loop, and in such a loop in all */
#define PLE_WINDOW 4096u

struct row {
    u32 field;
    u64 value;
};

/* What is always so: no MSR lists, since a bad one is fatal to the whole machine when nested.  And
 * what a reset clears beside struct vcpu_state. */
static const struct row reset_fields[] = {
    {VMCS_LINK_POINTER, ~0ull}, {VMCS_PF_ERROR_MASK, 0},   {VMCS_PF_ERROR_MATCH, 0},
    {VMCS_CR3_TARGETS, 0},      {VMCS_EXIT_MSR_STORES, 0}, {VMCS_EXIT_MSR_LOADS, 0},
    {VMCS_ENTRY_MSR_LOADS, 0},  {VMCS_GUEST_DEBUGCTL, 0},  {VMCS_GUEST_PENDING_DEBUG, 0},
    {VMCS_GUEST_ACTIVITY, 0},   {VMCS_ENTRY_INTR_INFO, 0}, {VMCS_ENTRY_ERROR, 0},
    {VMCS_ENTRY_INSN_LEN, 0},
};

static void write_rows(const struct row *rows, u32 count)
{
    for (u32 i = 0; i < count; i++)
        vmwrite(rows[i].field, rows[i].value);
}

/* Operand of INVEPT and INVVPID, SDM 3C chapter 31: 128 bits, the rest zero. */
struct inv_operand {
    u64 first, second;
};

static void inv(bool ept, u64 type, u64 first)
{
    struct inv_operand op = {first, 0};
    bool failed;

    if (ept)
        asm volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(op), "r"(type) : "memory");
    else
        asm volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(op), "r"(type) : "memory");
    if (failed)
        panic("%s type %lu failed", ept ? "INVEPT" : "INVVPID", type);
}

#define INV_SINGLE 1
#define INV_ALL 2

void vmx_flush(struct vm *vm)
{
    struct vmx_vm *x = vm->vendor;
    bool single = vmx_caps.word[VMX_EPT_VPID] & EPT_CAP_INVEPT_SINGLE;

    if (this_cpu()->hvm_enabled)
        inv(true, single ? INV_SINGLE : INV_ALL, single ? x->eptp : 0);
}

void vmx_flush_vcpu(const struct vmx_vcpu *x)
{
    bool single = vmx_caps.word[VMX_EPT_VPID] & VPID_CAP_SINGLE;

    if (vmx_caps.word[VMX_PROC2] & PROC2_VPID)
        inv(false, single ? INV_SINGLE : INV_ALL, single ? x->vpid : 0);
}

/* VMPTRLD or VMCLEAR. */
static void select(hpa_t vmcs, bool load)
{
    bool failed;

    if (load)
        asm volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs.raw) : "memory");
    else
        asm volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs.raw) : "memory");
    if (failed)
        panic("%s of %lx failed", load ? "VMPTRLD" : "VMCLEAR", vmcs.raw);
}

/* Host state: this CPU's, so written whenever a VMCS becomes active on another one. */
static void write_host_state(void)
{
    struct cpu *c = this_cpu();
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) idtr;

    asm volatile("sidt %0" : "=m"(idtr));
    const struct row rows[] = {
        {VMCS_HOST_CR0, read_cr0() | CR0_TS},
        {VMCS_HOST_CR3, read_cr3()},
        {VMCS_HOST_CR4, read_cr4()},
        {VMCS_HOST_ES, 0},
        {VMCS_HOST_CS, SEL_KERNEL_CODE},
        {VMCS_HOST_SS, SEL_KERNEL_DATA},
        {VMCS_HOST_DS, 0},
        {VMCS_HOST_FS, 0},
        {VMCS_HOST_GS, 0},
        {VMCS_HOST_TR, SEL_TSS},
        {VMCS_HOST_FS_BASE, 0},
        {VMCS_HOST_GS_BASE, (u64)c},
        {VMCS_HOST_TR_BASE, cpu_tables_tss(c)},
        {VMCS_HOST_GDTR_BASE, cpu_tables_gdt(c)},
        {VMCS_HOST_IDTR_BASE, idtr.base},
        {VMCS_HOST_SYSENTER_CS, 0},
        {VMCS_HOST_SYSENTER_ESP, 0},
        {VMCS_HOST_SYSENTER_EIP, 0},
        {VMCS_HOST_PAT, rdmsr(MSR_PAT)},
        {VMCS_HOST_EFER, rdmsr(MSR_EFER)},
        {VMCS_HOST_RIP, speculation_exit_entry()},
        {VMCS_HOST_RSP, c->stack_top},
    };
    write_rows(rows, ARRAY_LEN(rows));
}

void vmx_switch(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    struct vmx_cpu *pc = vmx_cpu();
    u32 id = this_cpu()->id;

    assert(x->cpu == id || x->cpu == VMX_NO_CPU);
    select(x->vmcs, true);
    pc->loaded = v;
    if (x->cpu == id)
        return;
    x->cpu = id;
    write_host_state();
    /* Translations this CPU may still hold from the last time, of this vCPU or its number. */
    vmx_flush_vcpu(x);
    vmx_flush(v->vm);
}

static void save_debug(struct vcpu *v)
{
    u64 *dr = vmx_of(v)->dr;

    asm volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3; mov %%dr6, %4"
                 : "=r"(dr[0]), "=r"(dr[1]), "=r"(dr[2]), "=r"(dr[3]), "=r"(dr[6]));
}

static void load_debug(struct vcpu *v)
{
    struct vmx_cpu *pc = vmx_cpu();
    const u64 *dr = vmx_of(v)->dr;

    if (pc->dr_owner == v)
        return;
    if (pc->dr_owner)
        save_debug(pc->dr_owner);
    pc->dr_owner = v;
    asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3; mov %4, %%dr6"
                 :
                 : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]), "r"(dr[6]));
}

void vmx_own_debug(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);

    if (!x->dr_used)
        vmx_set_proc(x, PROC_MOV_DR, 0);
    x->dr_used = true;
    load_debug(v);
}

void vmx_guest_save(void)
{
    struct vmx_cpu *pc = vmx_cpu();
    struct vmx_vcpu *x;

    if (!pc->live)
        return;
    x = vmx_of(pc->live);
    pc->live = NULL;
    x->cr2 = read_cr2();
    x->kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE);
    wrmsr(MSR_KERNEL_GS_BASE, 0);
}

void vmx_guest_forget(const struct vcpu *v)
{
    struct vmx_cpu *pc = vmx_cpu();

    if (pc->live == v)
        vmx_guest_save();
    if (pc->guest == v)
        pc->guest = NULL;
}

void vmx_guest_load(struct vcpu *v)
{
    struct vmx_cpu *pc = vmx_cpu();
    struct vmx_vcpu *x = vmx_of(v);

    if (x->dr_used)
        load_debug(v);
    if (pc->live == v)
        return;
    vmx_guest_save(); /* another vCPU's must not be lost */
    pc->live = v;
    asm volatile("mov %0, %%cr2" : : "r"(x->cr2));
    wrmsr(MSR_KERNEL_GS_BASE, x->kernel_gs_base);
    if (pc->guest == v)
        return;
    pc->guest = v;
    wrmsr(MSR_STAR, v->msrs.star);
    wrmsr(MSR_LSTAR, v->msrs.lstar);
    wrmsr(MSR_FMASK, v->msrs.fmask);
    if ((vmx_caps.word[VMX_PROC2] & PROC2_RDTSCP) && pc->tsc_aux != v->msrs.tsc_aux) {
        pc->tsc_aux = v->msrs.tsc_aux;
        wrmsr(MSR_TSC_AUX, pc->tsc_aux);
    }
}

void vmx_unload(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    struct vmx_cpu *pc = vmx_cpu();

    if (x->cpu != this_cpu()->id)
        return;
    vmx_guest_forget(v);
    if (pc->dr_owner == v) {
        save_debug(v);
        pc->dr_owner = NULL;
    }
    fpu_release(v->xsave);
    select(x->vmcs, false);
    x->cpu = VMX_NO_CPU;
    x->launched = false;
    if (pc->loaded == v)
        pc->loaded = NULL;
}

enum hv_status vmx_vcpu_init(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);

    x->vmcs = virt_to_phys(v->block);
    x->cpu = VMX_NO_CPU;
    x->vpid = v->vm->slot * VM_VCPUS + v->index + 1;
    *(u32 *)v->block = vmx_caps.revision;
    select(x->vmcs, false);
    return vlapic_init(v, hpa_valid(((struct vmx_vm *)v->vm->vendor)->apic_access));
}

void vmx_set_proc(struct vmx_vcpu *x, u32 clear, u32 set)
{
    u32 now = (x->proc & ~clear) | set;

    if (now == x->proc)
        return;
    x->proc = now;
    vmcs_write32(VMCS_PROC_CONTROLS, now);
}

void vmx_apic_changed(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    enum vlapic_mode mode = vlapic_mode(v->lapic);
    u32 proc2 = (u32)vmx_caps.word[VMX_PROC2] & ~(u32)PROC2_APICV;

    u32 other = mode == VLAPIC_XAPIC ? PROC2_X2APIC : PROC2_APIC_ACCESS;

    if (mode == VLAPIC_DISABLED)
        other |= PROC2_X2APIC;
    if (v->lapic->virtual_delivery)
        proc2 |= (u32)PROC2_APICV & ~other;
    x->proc2 = proc2;
    vmcs_write32(VMCS_PROC2_CONTROLS, proc2);
    vmcs_write64(VMCS_MSR_BITMAP, vmx_bitmaps[(proc2 & PROC2_X2APIC ? VMX_BITMAP_X2APIC : 0) |
                                              (v->msrs.spec_live ? VMX_BITMAP_SPEC : 0)]
                                      .raw);
}

/* #DB and #AC always exit because their delivery can fault for ever inside the CPU
 * (CVE-2015-5307, CVE-2015-8104). */
void vmx_write_exceptions(const struct vcpu *v)
{
    vmcs_write32(VMCS_EXCEPTION_BITMAP,
                 (u32)(v->exceptions | EXCEPTION_DB | EXCEPTION_AC | EXCEPTION_MC));
}

static void write_controls(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    const struct vmx_vm *vm = v->vm->vendor;
    u32 proc = (u32)vmx_caps.word[VMX_PROC];

    proc &= ~(u32)(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);
    proc |= x->dr_used ? 0 : PROC_MOV_DR;
    if (!(proc & PROC_TPR_SHADOW))
        proc |= PROC_CR8_LOAD | PROC_CR8_STORE;
    x->proc = proc;
    vmcs_write32(VMCS_PIN_CONTROLS, (u32)vmx_caps.word[VMX_PIN]);
    vmcs_write32(VMCS_PROC_CONTROLS, proc);
    vmcs_write32(VMCS_EXIT_CONTROLS, (u32)vmx_caps.word[VMX_EXIT]);
    vmcs_write32(VMCS_ENTRY_CONTROLS, (u32)vmx_caps.word[VMX_ENTRY] & ~(u32)ENTRY_IA32E);
    vmcs_write64(VMCS_EPTP, vm->eptp);
    if (vmx_caps.word[VMX_PROC2] & PROC2_VPID)
        vmcs_write16(VMCS_VPID, (u16)x->vpid);
    if (vmx_caps.word[VMX_PROC2] & PROC2_PAUSE_LOOP) {
        vmcs_write32(VMCS_PLE_GAP, PLE_GAP);
        vmcs_write32(VMCS_PLE_WINDOW, PLE_WINDOW);
    }
    if (proc & PROC_TPR_SHADOW) {
        vmcs_write64(VMCS_VIRTUAL_APIC, virt_to_phys(v->lapic->regs).raw);
        vmcs_write32(VMCS_TPR_THRESHOLD, 0);
    }
    if (v->lapic->virtual_delivery) {
        vmcs_write64(VMCS_APIC_ACCESS, vm->apic_access.raw);
        vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS, 0);
    }
    vmx_apic_changed(v);
}

void vmx_vcpu_reset(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    u64 allowed4 = v->vm->policy->cr4_allowed & vmx_caps.cr4_may & ~vmx_caps.cr4_must;

    vmx_load(v);
    x->dr_used = false;
    write_rows(reset_fields, ARRAY_LEN(reset_fields));
    write_controls(v);
    /* CD and NW are not switched by entries and exits (SDM 3C 27.3.2.1): never let them through. */
    vmcs_write(VMCS_CR0_MASK, CR0_CD | CR0_NW | vmx_caps.cr0_must | ~vmx_caps.cr0_may);
    /* OSXSAVE and PKE are ours so that CPUID can be answered from the shadow. */
    x->cr4_owned = ~allowed4 | CR4_OSXSAVE | CR4_PKE;
    vmcs_write(VMCS_CR4_MASK, x->cr4_owned);
}
