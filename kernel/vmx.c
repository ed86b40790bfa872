/* Switches VT-x on and is the VT-x row of hvm.h.  Boot CPU first, then each other on itself. */
#include "kernel/vmx.h"
#include "kernel/vmx_event.h"
#include "kernel/vmx_exit.h"
#include "kernel/vmx_state.h"
#include "kernel/vmx_vcpu.h"

#include "kernel/exit.h"
#include "kernel/pgtab.h"
#include "kernel/speculation.h"
#include "kernel/string.h"
#include "kernel/vlapic_timer.h"
#include "kernel/x86.h"

#define MSR_FEATURE_CONTROL 0x3au
#define FEATURE_CONTROL_LOCKED BIT(0)
#define FEATURE_CONTROL_VMXON BIT(2) /* VMX outside SMX */
#define MSR_VMX_BASIC 0x480u
#define MSR_VMX_PIN 0x481u /* PROC, EXIT, ENTRY follow */
#define MSR_VMX_MISC 0x485u
#define MSR_VMX_CR0_FIXED0 0x486u
#define MSR_VMX_CR0_FIXED1 0x487u
#define MSR_VMX_CR4_FIXED0 0x488u
#define MSR_VMX_CR4_FIXED1 0x489u
#define MSR_VMX_PROC2 0x48bu
#define MSR_VMX_EPT_VPID 0x48cu
#define MSR_VMX_TRUE_PIN 0x48du
#define EPTP_WALK_4 (3u << 3)
#define EPTP_WB 6u
#define EPTP_DIRTY BIT(6)

struct vmx_caps vmx_caps;
hpa_t vmx_bitmaps[4];

static void read_msrs(struct vmx_msrs *m)
{
    u64 basic = rdmsr(MSR_VMX_BASIC);
    u32 first = basic & VMX_BASIC_TRUE ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN;

    *m = (struct vmx_msrs){
        .word = {[VMX_PIN] = rdmsr(first),
                 [VMX_PROC] = rdmsr(first + 1),
                 [VMX_EXIT] = rdmsr(first + 2),
                 [VMX_ENTRY] = rdmsr(first + 3),
                 [VMX_MISC] = rdmsr(MSR_VMX_MISC),
                 [VMX_BASIC] = basic},
        .cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0),
        .cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1),
        .cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0),
        .cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1),
    };
    if (m->word[VMX_PROC] >> 32 & PROC_SECONDARY)
        m->word[VMX_PROC2] = rdmsr(MSR_VMX_PROC2);
    if (m->word[VMX_PROC2] >> 32 & (PROC2_EPT | PROC2_VPID))
        m->word[VMX_EPT_VPID] = rdmsr(MSR_VMX_EPT_VPID);
}

/* IA32_FEATURE_CONTROL, SDM 3C 24.7.  Some hypervisors offer VMX without it: VMXON will tell. */
static bool unlock(void)
{
    u64 value;

    if (!rdmsr_safe(MSR_FEATURE_CONTROL, &value))
        return true;
    if (value & FEATURE_CONTROL_LOCKED)
        return value & FEATURE_CONTROL_VMXON;
    return wrmsr_safe(MSR_FEATURE_CONTROL, value | FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMXON);
}

/* Reads that need no exit, writes that need none; the rest exits (SDM 3C 25.6.9). */
static void allow(u8 *map, u32 msr, bool write)
{
    u32 bit = (msr & 0x1fff) + (msr >= 0xc0000000 ? 0x2000 : 0) + (write ? 0x4000 : 0);
    map[bit / 8] &= (u8) ~(1u << bit % 8);
}

/* which: VMX_BITMAP_*. */
static void fill_bitmap(u8 *map, u32 which)
{
    /* In the VMCS or switched by vmx_vcpu.c, so the guest's own. */
    static const u32 both[] = {MSR_FS_BASE,     MSR_GS_BASE,         MSR_KERNEL_GS_BASE, MSR_PAT,
                               MSR_SYSENTER_CS, MSR_SYSENTER_CS + 1, MSR_SYSENTER_CS + 2};
    static const u32 reads[] = {0x10 /* TSC, with the offset */, MSR_EFER, MSR_STAR, MSR_LSTAR,
                                MSR_FMASK};
    /* Served from the virtual-APIC page; 839H, the running count, is not. */
    static const u8 apic_reads[][2] = {{0x02, 0x03}, {0x08, 0x08}, {0x0a, 0x0a}, {0x0d, 0x0d},
                                       {0x0f, 0x28}, {0x30, 0x30}, {0x32, 0x38}, {0x3e, 0x3e}};
    static const u8 apic_writes[] = {0x08, 0x0b, 0x3f}; /* TPR, EOI, self-IPI */

    memset(map, 0xff, PAGE_SIZE);
    for (u32 i = 0; i < ARRAY_LEN(both); i++) {
        allow(map, both[i], false);
        allow(map, both[i], true);
    }
    for (u32 i = 0; i < ARRAY_LEN(reads); i++)
        allow(map, reads[i], false);
    if (which & VMX_BITMAP_SPEC) {
        allow(map, MSR_SPEC_CTRL, false);
        allow(map, MSR_SPEC_CTRL, true);
    }
    if (!(which & VMX_BITMAP_X2APIC))
        return;
    for (u32 i = 0; i < ARRAY_LEN(apic_reads); i++)
        for (u32 r = apic_reads[i][0]; r <= apic_reads[i][1]; r++)
            allow(map, MSR_X2APIC + r, false);
    for (u32 i = 0; i < ARRAY_LEN(apic_writes); i++)
        allow(map, MSR_X2APIC + apic_writes[i], true);
}

static bool make_bitmaps(void)
{
    for (u32 i = 0; i < ARRAY_LEN(vmx_bitmaps); i++) {
        vmx_bitmaps[i] = mem_alloc(&quota_kernel, PAGE_SIZE);
        if (!hpa_valid(vmx_bitmaps[i]))
            return false;
        fill_bitmap(phys_to_virt(vmx_bitmaps[i]), i);
    }
    return true;
}

static bool vmxon(void)
{
    hpa_t page = mem_alloc(&quota_kernel, PAGE_SIZE);
    bool failed;

    if (!hpa_valid(page))
        return false;
    *(u32 *)phys_to_virt(page) = vmx_caps.revision;
    write_cr4(read_cr4() | CR4_VMXE);
    asm volatile("vmxon %1" : "=@ccbe"(failed) : "m"(page.raw) : "memory");
    return !failed;
}

/* Solve on the boot CPU; compare on the others. */
static enum host_problem check(struct host_info *hi)
{
    struct vmx_msrs m;

    if (!unlock())
        return HOST_HVM_LOCKED;
    read_msrs(&m);
    if (this_cpu()->id != 0)
        return vmx_caps_fit(&vmx_caps, &m) ? HOST_HVM_WORKS : HOST_HVM_LACKING;
    memcpy(hi->offered, m.word, sizeof(m.word));
    if (!vmx_caps_solve(&m, &vmx_caps, hi->used, hi->lacking))
        return HOST_HVM_LACKING;
    if (cpuid(0, 0).eax >= 7)
        hi->speculation |= vmx_caps_speculation(cpuid(7, 0).edx);
    return make_bitmaps() ? HOST_HVM_WORKS : HOST_HVM_REFUSED;
}

static enum host_problem cpu_enable(struct host_info *hi)
{
    struct vmx_cpu *pc = vmx_cpu();
    enum host_problem problem = check(hi);

    if (problem == HOST_HVM_WORKS && !vmxon())
        problem = HOST_HVM_REFUSED;
    pc->tsc_aux = ~0ull;
    return problem;
}

static enum hv_status vm_init(struct vm *vm)
{
    u64 caps = vmx_caps.word[VMX_EPT_VPID], pa, size;
    u32 attr;
    struct vmx_vm *x = vm->vendor;
    enum hv_status st;

    x->apic_access = HPA_NONE;
    st = pgtab_init(&vm->npt, &pgtab_ept, &vm->quota, caps & EPT_CAP_2M, caps & EPT_CAP_1G);
    if (st != HV_OK)
        return st;
    vm->npt.no_dirty = !(caps & EPT_CAP_ACCESSED_DIRTY);
    x->eptp = vm->npt.root.raw | EPTP_WALK_4 | EPTP_WB | (vm->npt.no_dirty ? 0 : EPTP_DIRTY);
    if (!vmx_caps.apicv || (vm->policy->flags & POLICY_NO_APICV))
        return HV_OK;
    /* Its own page: what the CPU does not virtualise must not leak between VMs. */
    st = pgtab_alloc(&vm->npt, VLAPIC_BASE_DEFAULT, PAGE_SIZE, PG_R | PG_W, PAGE_SIZE);
    if (st == HV_OK && pgtab_lookup(&vm->npt, VLAPIC_BASE_DEFAULT, &pa, &attr, &size))
        x->apic_access = HPA(pa);
    else
        pgtab_fini(&vm->npt);
    return st;
}

static void vm_fini(struct vm *vm)
{
    struct vmx_vm *x = vm->vendor;

    if (hpa_valid(x->apic_access))
        pgtab_free(&vm->npt, VLAPIC_BASE_DEFAULT, PAGE_SIZE);
    pgtab_fini(&vm->npt);
}

static void tsc_changed(struct vcpu *v)
{
    vmcs_write64(VMCS_TSC_OFFSET, v->msrs.tsc_offset);
    vlapic_deadline_moved(v); /* an armed deadline is a guest time */
}

static void syscall_msrs_changed(struct vcpu *v)
{
    /* Take the guest's registers out and put them back with the new values. */
    vmx_guest_forget(v);
    vmx_guest_load(v);
}

const struct hvm_ops hvm_vmx = {
    .kind = HOST_HVM_VMX,
    .cpu_enable = cpu_enable,
    .vm_init = vm_init,
    .vm_fini = vm_fini,
    .vcpu_init = vmx_vcpu_init,
    .vcpu_reset = vmx_vcpu_reset,
    .run = vmx_run,
    .unload = vmx_unload,
    .to_user = vmx_guest_save,
    .get_state = vmx_get_state,
    .set_state = vmx_set_state,
    .fill_page = vmx_fill_page,
    .take_page = vmx_take_page,
    .exception = vmx_exception,
    .interrupt = vmx_interrupt,
    .interrupts_open = vmx_interrupts_open,
    .take_events = vmx_take_events,
    .get = vmx_get,
    .set = vmx_set,
    .tsc_changed = tsc_changed,
    .syscall_msrs_changed = syscall_msrs_changed,
    .apic_changed = vmx_apic_changed,
    .flush = vmx_flush,
};
