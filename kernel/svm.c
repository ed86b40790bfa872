/* AMD-V on each CPU: capabilities, EFER.SVME, host save area, permission maps.  Called through
 * struct hvm_ops; cpu_enable on each CPU at boot, the rest as hvm.h says. */
#include "kernel/svm.h"

#include "kernel/abi/speculation.h"
#include "kernel/exit.h"
#include "kernel/log.h"
#include "kernel/paging.h"
#include "kernel/string.h"
#include "kernel/svm_event.h"
#include "kernel/svm_exit.h"
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

static u8 iopm[IOPM_SIZE] __attribute__((aligned(4096)));
static u8 msrpm[MSRPM_SIZE] __attribute__((aligned(4096)));

/* Bits of CPUID 8000_000AH EDX; vmm/features.c has their names. */
#define SVM_NESTED_PAGING BIT(0)
#define SVM_NEXT_RIP BIT(3)
#define SVM_CLEAN_BITS BIT(5)
#define SVM_DECODE_ASSISTS BIT(7)
#define SVM_PAUSE_FILTER BIT(10)
#define SVM_USED                                                                                   \
    (SVM_NESTED_PAGING | SVM_NEXT_RIP | SVM_CLEAN_BITS | SVM_DECODE_ASSISTS | SVM_PAUSE_FILTER)

/* APM 2, 15.4: may EFER.SVME be set on this CPU? */
static bool unlocked(void)
{
    u64 vm_cr;

    /* Outer hypervisors may leave the MSR out: then nothing is disabled. */
    if (!rdmsr_safe(MSR_VM_CR, &vm_cr) || !(vm_cr & VM_CR_SVMDIS))
        return true;
    return !(vm_cr & VM_CR_LOCK) && wrmsr_safe(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS);
}

static hpa_t image_phys(const void *at)
{
    u64 pa, size;
    u32 attr;

    if (!pgtab_lookup(&paging_host, (u64)at, &pa, &attr, &size))
        panic("svm: %lx is not mapped", (u64)at);
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

static enum host_problem solve(struct host_info *hi)
{
    struct cpuid_regs r = cpuid(LEAF_SVM, 0);

    hi->offered[SVM_FEATURES] = r.edx;
    hi->offered[SVM_ASIDS] = r.ebx;
    hi->used[SVM_FEATURES] = r.edx & SVM_USED;
    hi->lacking[SVM_FEATURES] = ~r.edx & SVM_NESTED_PAGING;
    hi->lacking[SVM_ASIDS] = r.ebx < 2; /* one is the host's */
    if (hi->lacking[SVM_FEATURES] | hi->lacking[SVM_ASIDS])
        return HOST_HVM_LACKING;
    svm_caps = (struct svm_caps){
        .next_rip = r.edx & SVM_NEXT_RIP,
        .decode_assists = r.edx & SVM_DECODE_ASSISTS,
        .clean_bits = r.edx & SVM_CLEAN_BITS,
        .pause_filter = r.edx & SVM_PAUSE_FILTER,
        .rdtscp = cpuid(LEAF_EXTENDED, 0).edx & BIT(27),
        .tcg = hvm_on_tcg(),
        .asids = r.ebx,
    };
    hi->speculation |= SPECULATION_RSB; /* APM 3, CPUID 8000_0008H EBX */
    if (cpuid(0x80000008, 0).ebx & BIT(12))
        hi->speculation |= SPECULATION_IBPB;
    build_maps();
    return HOST_HVM_WORKS;
}

static enum host_problem cpu_enable(struct host_info *hi)
{
    struct cpu *c = this_cpu();
    struct svm_cpu *s = &svm_cpus[c->id];
    enum host_problem problem = unlocked() ? HOST_HVM_WORKS : HOST_HVM_LOCKED;

    if (problem == HOST_HVM_WORKS && c->id == 0)
        problem = solve(hi);
    if (problem != HOST_HVM_WORKS)
        return problem;
    hpa_t save = mem_alloc(&quota_kernel, PAGE_SIZE);
    s->host = mem_alloc(&quota_kernel, PAGE_SIZE);
    if (!hpa_valid(save) || !hpa_valid(s->host) ||
        !wrmsr_safe(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME))
        return HOST_HVM_REFUSED;
    wrmsr(MSR_VM_HSAVE_PA, save.raw);
    asm volatile("vmsave %0" : : "a"(s->host.raw) : "memory");
    if (svm_caps.rdtscp)
        s->tsc_aux = rdmsr(MSR_TSC_AUX);
    return HOST_HVM_WORKS;
}

static enum hv_status vm_init(struct vm *vm)
{
    enum hv_status st = pgtab_init(&vm->npt, &pgtab_npt, &vm->quota, true, paging_host.use_1g);

    if (st != HV_OK)
        return st;
    vm->npt.address_limit = BIT(NPT_ADDRESS_BITS);
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

/* The VMCB is memory; SYSCALL's MSRs are the guest's own (svm_msrpm), TSC_AUX is looked at before
 * each entry; both modes of the local APIC are software here. */
static void nothing(struct vcpu *v)
{
    (void)v;
}

const struct hvm_ops hvm_svm = {
    .kind = HOST_HVM_SVM,
    .cpu_enable = cpu_enable,
    .vm_init = vm_init,
    .vm_fini = vm_fini,
    .vcpu_init = svm_vcpu_init,
    .vcpu_reset = svm_vcpu_reset,
    .run = svm_run,
    .unload = svm_vcpu_unload,
    .to_user = to_user,
    .get_state = svm_vcpu_get_state,
    .set_state = svm_vcpu_set_state,
    .fill_page = svm_fill_page,
    .take_page = svm_skip,
    .exception = svm_exception,
    .interrupt = svm_interrupt,
    .interrupts_open = svm_interrupts_open,
    .take_events = svm_take_events,
    .get = svm_vcpu_get,
    .set = svm_vcpu_set,
    .tsc_changed = svm_vcpu_tsc_changed,
    .syscall_msrs_changed = nothing,
    .apic_changed = nothing,
    .flush = svm_vcpu_flush,
};
