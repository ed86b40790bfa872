/* What making a VM needs of a kernel that has no machine; linked into tests that ask for it. */
#include "tests/unit/vm_lab.h"

#include <asm/prctl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/control.h"
#include "kernel/cpu_tables.h"
#include "kernel/exit.h"
#include "kernel/exit_msr.h"
#include "kernel/fpu.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/paging.h"
#include "kernel/sched.h"
#include "kernel/space.h"
#include "kernel/vlapic.h"
#include "kernel/vmx.h"
#include "kernel/vtd.h"
#include "tests/unit/fakes.h"

const struct hvm_ops *hvm;
struct hvm_ops lab_vmx;
struct control control;
struct pgtab paging_host = {.use_1g = true};
struct cpu *cpus[CPU_MAX];
u32 cpu_count = 1;
u64 tsc_hz = 1000000000;
static struct cpu cpu;
static struct pgtab iommu;
static struct quota iommu_quota;

/* Of the backends' tables; nothing here runs a guest. */
asm(".globl svm_exception, svm_fill_page, svm_interrupt, svm_interrupts_open, svm_run, svm_skip\n"
    ".globl svm_take_events, vmcs_failed, vmx_apic_changed, vmx_caps_fit, vmx_caps_solve\n"
    ".globl vmx_exception, vmx_fill_page, vmx_flush, vmx_get, vmx_get_state, vmx_guest_forget\n"
    ".globl vmx_guest_load, vmx_guest_save, vmx_interrupt, vmx_interrupts_open, vmx_run, vmx_set\n"
    ".globl vmx_set_state, vmx_take_events, vmx_take_page, vmx_unload, vmx_vcpu_init\n"
    ".globl vmx_vcpu_reset, user_write, fpu_load_vcpu, sched_enqueue\n"
    "svm_exception: svm_fill_page: svm_interrupt: svm_interrupts_open: svm_run: svm_skip:\n"
    "svm_take_events: vmcs_failed: vmx_apic_changed: vmx_caps_fit: vmx_caps_solve:\n"
    "vmx_exception: vmx_fill_page: vmx_flush: vmx_get: vmx_get_state: vmx_guest_forget:\n"
    "vmx_guest_load: vmx_guest_save: vmx_interrupt: vmx_interrupts_open: vmx_run: vmx_set:\n"
    "vmx_set_state: vmx_take_events: vmx_take_page: vmx_unload: vmx_vcpu_init:\n"
    "vmx_vcpu_reset: user_write: fpu_load_vcpu: sched_enqueue:\n"
    "    ud2\n");

void cpu_call_others(void (*fn)(void *), void *arg)
{
    (void)fn, (void)arg;
}
void cpu_tables_grant_ports(u32 first, u32 count)
{
    (void)first, (void)count;
}
void cpu_tables_reset_ports(void)
{
}
void exit_msr_policy_init(struct vm *vm)
{
    (void)vm;
}
void exit_reset(struct vcpu *v, bool init)
{
    vlapic_reset(v, init);
    hvm->vcpu_reset(v);
}
void fpu_release(void *area)
{
    (void)area;
}
void irq_kick(u32 id)
{
    (void)id;
}
void irq_release_all(void)
{
}
void sched_dequeue(struct vcpu *v)
{
    (void)v;
}
void sched_end_handoff(void)
{
}
struct cpu *sched_place(const struct vcpu *v)
{
    (void)v;
    return &cpu;
}
void control_space_changed(void)
{
}
void control_wake(void)
{
}
void timer_set(struct timer *t, u64 deadline)
{
    t->deadline = deadline;
    t->armed = true;
}
void timer_cancel(struct timer *t)
{
    t->armed = false;
}
void vtd_init(void)
{
}
void vtd_detach_all(void)
{
}
enum hv_status vtd_attach(u16 function)
{
    (void)function;
    return HV_OK;
}
bool vtd_has_registers(u64 base, u64 len)
{
    (void)base, (void)len;
    return false;
}
enum hv_status vtd_map(u64 address, u64 len)
{
    return pgtab_map(&iommu, address, address, len, PG_R | PG_W);
}

static enum hv_status init_vcpu(struct vcpu *v)
{
    return vlapic_init(v, hpa_valid(((struct vmx_vm *)v->vm->vendor)->apic_access));
}
static void leave_vcpu(struct vcpu *v)
{
    (void)v;
}
static void flush(struct vm *vm)
{
    (void)vm;
}

static void tables(struct pgtab *t, const struct pgtab_format *format, struct quota *q,
                   const char *name)
{
    *q = (struct quota){.limit = ~0ull};
    if (pgtab_init(t, format, q, true, true) != HV_OK)
        panic("%s: no memory", name);
}

void lab_start(const struct hvm_ops *backend)
{
    fakes_mem_reset();
    cpu = (struct cpu){.self = &cpu};
    cpus[0] = &cpu;
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu); /* this_cpu() */
    lab_vmx = hvm_vmx;
    lab_vmx.vcpu_init = init_vcpu;
    lab_vmx.vcpu_reset = leave_vcpu;
    lab_vmx.unload = leave_vcpu;
    lab_vmx.flush = flush;
    vmx_caps.apicv = true;
    vmx_caps.word[VMX_EPT_VPID] = EPT_CAP_2M | EPT_CAP_1G | EPT_CAP_ACCESSED_DIRTY;
    hvm = backend;
    memset(&control, 0, sizeof(control));
    tables(&control.space, &pgtab_host, &control.quota, "control partition");
    tables(&iommu, &pgtab_vtd, &iommu_quota, "IOMMU");
}

void lab_end(void)
{
    fakes_mem_fail_after(-1);
    pgtab_fini(&control.space);
    pgtab_fini(&iommu);
}

u64 lab_tables(void)
{
    return (control.space.table_bytes + iommu.table_bytes) / PAGE_SIZE - 2;
}
