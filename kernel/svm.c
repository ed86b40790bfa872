/* AMD-V on each CPU: capabilities, EFER.SVME, host save area, permission maps.  Called through
 * struct hvm_ops; cpu_enable on each CPU at boot, the rest as hvm.h says. */
#include "kernel/svm.h"

#include "kernel/cpu_tables.h"
#include "kernel/exit.h"
#include "kernel/host.h"
#include "kernel/lib/fmt.h"
#include "kernel/log.h"
#include "kernel/paging.h"
#include "kernel/string.h"
#include "kernel/svm_event.h"
#include "kernel/svm_exit.h"
#include "kernel/svm_message.h"
#include "kernel/svm_vcpu.h"
#include "kernel/timer.h"
#include "kernel/x86.h"

#define MSR_VM_CR 0xc0010114u
#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)
#define MSR_VM_HSAVE_PA 0xc0010117u

#define LEAF_EXTENDED 0x80000001u
#define LEAF_SVM 0x8000000au

#define IOPM_SIZE (3 * PAGE_SIZE)
#define MSRPM_SIZE (2 * PAGE_SIZE)
#define NPT_ADDRESS_BITS 48 /* host paging has four levels, so has nested paging */

struct svm_caps svm_caps;
struct svm_cpu svm_cpus[CPU_MAX];
hpa_t svm_iopm, svm_msrpm;
u64 svm_tsc_base[VM_SLOTS];

static u8 iopm[IOPM_SIZE] __attribute__((aligned(4096)));
static u8 msrpm[MSRPM_SIZE] __attribute__((aligned(4096)));

/* CPUID 8000_000AH EDX: bit, name, what is made of it. */
static const struct {
    u8 bit;
    bool required, used;
    const char *name, *note;
} features[] = {
    {0, true, true, "Nested paging", ""},
    {3, false, true, "Next RIP on exit", "else instructions are measured"},
    {7, false, true, "Decode assists", "else CR writes are decoded"},
    {5, false, true, "VMCB clean bits", ""},
    {10, false, true, "PAUSE filter", ""},
    {6, false, false, "Flush by ASID", "a fresh ASID does as well"},
    {13, false, false, "AVIC", "local APIC is in software"},
    {15, false, false, "Virtual VMLOAD/VMSAVE", "guests are not offered AMD-V"},
    {16, false, false, "Virtual GIF", "guests are not offered AMD-V"},
    {25, false, false, "Virtual NMI", "IRET exits do as well"},
    {4, false, false, "TSC scaling", "guests run at the host's rate"},
};

static enum hv_status refuse(struct host_info *hi, const char *reason, const char *hint)
{
    fmt_snprintf(hi->hvm_reason, sizeof(hi->hvm_reason), "%s", reason);
    fmt_snprintf(hi->hvm_try, sizeof(hi->hvm_try), "%s", hint);
    return HV_ENOVTX;
}

/* APM 2, 15.4: may EFER.SVME be set on this CPU? */
static enum hv_status check_enabled(struct host_info *hi)
{
    u64 vm_cr;

    if (cpuid(0x80000000, 0).eax < LEAF_SVM || !(cpuid(LEAF_EXTENDED, 0).ecx & BIT(2)))
        return refuse(hi, "the CPU does not offer AMD-V (CPUID 8000_0001H ECX bit 2)",
                      "nested: CPU type 'host', and kvm_amd nested=1 on the outer host");
    /* Outer hypervisors may leave the MSR out: then nothing is disabled. */
    if (!rdmsr_safe(MSR_VM_CR, &vm_cr) || !(vm_cr & VM_CR_SVMDIS))
        return HV_OK;
    if (!(vm_cr & VM_CR_LOCK) && wrmsr_safe(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS))
        return HV_OK;
    return refuse(hi, "AMD-V is locked off (MSR VM_CR bit 4, SVMDIS)",
                  "enable SVM mode (virtualization) in firmware setup");
}

static void note_features(u32 edx)
{
    for (u32 i = 0; i < ARRAY_LEN(features); i++) {
        bool offered = edx & BIT(features[i].bit);
        enum feature_state state = offered
                                       ? (features[i].used ? FEATURE_ACTIVE : FEATURE_UNUSED)
                                       : (features[i].required ? FEATURE_MISSING : FEATURE_ABSENT);
        host_feature(features[i].name, state, state == FEATURE_ACTIVE ? "" : features[i].note);
    }
    host_feature("Nested pages of 1 GiB", paging_host.use_1g ? FEATURE_ACTIVE : FEATURE_ABSENT, "");
}

static hpa_t image_phys(const void *at)
{
    u64 pa, size;
    u32 attr;

    if (!pgtab_lookup(&paging_host, (u64)at, &pa, &attr, &size))
        panic("svm: %p is not mapped", at);
    return HPA(pa);
}

/* Two bits an MSR, read and write; 2 KiB each for 0.., C000_0000.., C001_0000.. (APM 2, 15.11). */
static void pass_msr(u32 msr)
{
    u32 bit = msr < 0x2000 ? msr * 2 : (0x2000 + (msr & 0x1fff)) * 2;
    msrpm[bit / 8] &= (u8) ~(3u << bit % 8);
}

static void build_maps(void)
{
    static const u32 passed[] = {
        0x174,    0x175,     0x176, /* SYSENTER_CS, ESP, EIP */
        MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
    };

    memset(iopm, 0xff, sizeof(iopm));
    memset(msrpm, 0xff, sizeof(msrpm));
    for (u32 i = 0; i < ARRAY_LEN(passed); i++)
        pass_msr(passed[i]);
    svm_iopm = image_phys(iopm);
    svm_msrpm = image_phys(msrpm);
}

static enum hv_status solve(struct host_info *hi)
{
    struct cpuid_regs r = cpuid(LEAF_SVM, 0);

    note_features(r.edx);
    if (!(r.edx & BIT(0)))
        return refuse(hi, "AMD-V without nested paging (CPUID 8000_000AH EDX bit 0, NP)",
                      "nested: CPU type 'host'; QEMU: -cpu max,+svm,+npt");
    if (r.ebx < 2)
        return refuse(hi, "AMD-V without an ASID for guests (CPUID 8000_000AH EBX)",
                      "update the outer hypervisor");
    svm_caps = (struct svm_caps){
        .next_rip = r.edx & BIT(3),
        .decode_assists = r.edx & BIT(7),
        .clean_bits = r.edx & BIT(5),
        .pause_filter = r.edx & BIT(10),
        .rdtscp = cpuid(LEAF_EXTENDED, 0).edx & BIT(27),
        .asids = r.ebx,
    };
    build_maps();
    return HV_OK;
}

static enum hv_status cpu_enable(struct host_info *hi)
{
    struct cpu *c = this_cpu();
    struct svm_cpu *s = &svm_cpus[c->id];
    enum hv_status st = check_enabled(hi);

    if (st == HV_OK && c->id == 0)
        st = solve(hi);
    if (st != HV_OK)
        return st;
    hpa_t save = mem_alloc(&quota_kernel, PAGE_SIZE);
    s->host = mem_alloc(&quota_kernel, PAGE_SIZE);
    if (!hpa_valid(save) || !hpa_valid(s->host))
        return HV_ENOMEM;
    if (!wrmsr_safe(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME))
        return refuse(hi, "the CPU refuses EFER.SVME", "enable SVM mode in firmware setup");
    wrmsr(MSR_VM_HSAVE_PA, save.raw);
    asm volatile("vmsave %0" : : "a"(s->host.raw) : "memory");
    if (svm_caps.rdtscp)
        s->tsc_aux = rdmsr(MSR_TSC_AUX);
    c->hvm_enabled = true;
    return HV_OK;
}

static enum hv_status vm_init(struct vm *vm)
{
    enum hv_status st = pgtab_init(&vm->npt, &pgtab_npt, &vm->quota, true, paging_host.use_1g);

    if (st != HV_OK)
        return st;
    vm->npt.address_limit = BIT(NPT_ADDRESS_BITS);
    svm_tsc_base[vm->slot] = tsc_read();
    exit_policy_init(vm);
    return HV_OK;
}

static void vm_fini(struct vm *vm)
{
    pgtab_fini(&vm->npt);
}

/* The exit path restores all that ring 3 needs: VMLOAD does it in one instruction. */
static void to_user(void)
{
}

/* CPUID bits of what is intercepted or not switched. */
static u32 cpuid_mask(u32 leaf, u32 subleaf, u32 reg)
{
    static const struct {
        u32 leaf, subleaf, reg;
        u64 hidden;
    } rows[] = {
        {1, 0, 2, BIT(3)},            /* MONITOR */
        {7, 0, 2, BIT(5) | BIT(7)},   /* WAITPKG, CET shadow stacks */
        {7, 0, 3, BIT(20) | BIT(26)}, /* CET indirect-branch tracking, SPEC_CTRL */
        {0xd, 1, 0, BIT(3)},          /* XSAVES: IA32_XSS is not switched */
        {0x80000001, 0, 2, BIT(2)},   /* AMD-V itself */
    };
    u64 mask = svm_caps.rdtscp || leaf != 0x80000001 || reg != 3 ? ~0ull : ~BIT(27);

    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].leaf == leaf && rows[i].subleaf == subleaf && rows[i].reg == reg)
            mask &= ~rows[i].hidden;
    return (u32)mask;
}

/* The VMCB is memory; SYSCALL's MSRs are the guest's own (svm_msrpm), TSC_AUX is looked at before
 * each entry; both modes of the local APIC are software here. */
static void nothing(struct vcpu *v)
{
    (void)v;
}

const struct hvm_ops hvm_svm = {
    .name = "AMD-V",
    .cpu_enable = cpu_enable,
    .vm_init = vm_init,
    .vm_fini = vm_fini,
    .vcpu_init = svm_vcpu_init,
    .vcpu_fini = svm_vcpu_fini,
    .vcpu_reset = svm_vcpu_reset,
    .vcpu_startup = svm_vcpu_startup,
    .run = svm_run,
    .unload = svm_vcpu_unload,
    .to_user = to_user,
    .get_state = svm_vcpu_get_state,
    .set_state = svm_vcpu_set_state,
    .fill_page = svm_message_fill,
    .take_page = nothing,
    .skip = svm_skip,
    .exception = svm_exception,
    .interrupt = svm_interrupt,
    .interrupts_open = svm_interrupts_open,
    .take_events = svm_take_events,
    .get = svm_vcpu_get,
    .set = svm_vcpu_set,
    .tsc_changed = svm_vcpu_tsc_changed,
    .syscall_msrs_changed = nothing,
    .apic_changed = nothing,
    .cpuid_mask = cpuid_mask,
    .flush = svm_vcpu_flush,
};
