/* What making a VM needs of a kernel that has no machine; linked into tests that ask for it. */
#include "tests/unit/vm_lab.h"

#include <asm/prctl.h>
#include <setjmp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/control.h"
#include "kernel/cpu_tables.h"
#include "kernel/device.h"
#include "kernel/exit.h"
#include "kernel/exit_msr.h"
#include "kernel/fpu.h"
#include "kernel/host.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/paging.h"
#include "kernel/sched.h"
#include "kernel/syscall.h"
#include "kernel/timer.h"
#include "kernel/vlapic.h"
#include "kernel/vmx.h"
#include "tests/unit/fakes.h"
#include "tests/unit/machine.h"

const struct hvm_ops *hvm;
struct hvm_ops lab_vmx;
struct pgtab paging_host;
struct host_info *host_info;
struct boot_platform host_platform = {.iommu_count = 1, .iommus = {0xfed90000}};
struct cpu *cpus[CPU_MAX];
u32 cpu_count = 1;
static struct cpu cpu;
static struct host_info info;
static jmp_buf scheduler;

bool hvm_on_tcg(void)
{
    return false;
}

/* Of the backends' and the system calls' tables; nothing here runs a guest or ring 3. */
asm(".globl svm_exception, svm_fill_page, svm_interrupt, svm_interrupts_open, svm_run, svm_skip\n"
    ".globl svm_take_events, vmcs_failed, vmx_apic_changed, vmx_caps_fit, vmx_caps_solve\n"
    ".globl vmx_exception, vmx_fill_page, vmx_flush, vmx_get, vmx_get_state, vmx_guest_forget\n"
    ".globl vmx_guest_load, vmx_guest_save, vmx_interrupt, vmx_interrupts_open, vmx_run, vmx_set\n"
    ".globl vmx_set_state, vmx_take_events, vmx_take_page, vmx_unload, vmx_vcpu_init\n"
    ".globl vmx_vcpu_reset, fpu_load_vcpu, sched_enqueue, exit_get_state, exit_set_state\n"
    ".globl speculation_set, panic_call, host_reset, host_image_bytes, log_read, irq_bind\n"
    ".globl irq_unmask, hvm_to_user, syscall_resume, sched_resume_handoff, mem_free_bytes\n"
    ".globl mem_free_chunks, log_console_release, hvm_take_page, vmx_caps_speculation\n"
    "svm_exception: svm_fill_page: svm_interrupt: svm_interrupts_open: svm_run: svm_skip:\n"
    "svm_take_events: vmcs_failed: vmx_apic_changed: vmx_caps_fit: vmx_caps_solve:\n"
    "vmx_exception: vmx_fill_page: vmx_flush: vmx_get: vmx_get_state: vmx_guest_forget:\n"
    "vmx_guest_load: vmx_guest_save: vmx_interrupt: vmx_interrupts_open: vmx_run: vmx_set:\n"
    "vmx_set_state: vmx_take_events: vmx_take_page: vmx_unload: vmx_vcpu_init:\n"
    "vmx_vcpu_reset: fpu_load_vcpu: sched_enqueue: exit_get_state: exit_set_state:\n"
    "speculation_set: panic_call: host_reset: host_image_bytes: log_read: irq_bind:\n"
    "irq_unmask: hvm_to_user: syscall_resume: sched_resume_handoff: mem_free_bytes:\n"
    "mem_free_chunks: log_console_release: hvm_take_page: vmx_caps_speculation:\n"
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
void apic_timer_arm(u64 deadline)
{
    (void)deadline;
}
void fpu_area_init(void *area)
{
    memset(area, 0, FPU_AREA_SIZE);
}
void log_console_take(void)
{
}
volatile void *paging_map_mmio(hpa_t at, u64 len)
{
    (void)at, (void)len;
    return machine_iommu();
}
u64 mem_total(void)
{
    return GIB;
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
void sched_run(void)
{
    longjmp(scheduler, 1);
}
struct cpu *sched_place(const struct vcpu *v)
{
    (void)v;
    return &cpu;
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

/* A control partition with a page of code and two of data. */
static const struct boot_info *boot_info(void)
{
    static struct boot_info bi;
    hpa_t image = mem_alloc(&quota_kernel, PAGE_2M);

    if (!hpa_valid(image))
        panic("lab: no memory");
    bi.control = (struct boot_image){
        .entry = USER_IMAGE_BASE,
        .segment_count = 2,
        .segments = {{USER_IMAGE_BASE, image.raw, PAGE_SIZE, BOOT_SEG_R | BOOT_SEG_X, 0},
                     {USER_IMAGE_BASE + PAGE_SIZE, image.raw + PAGE_SIZE, 2 * PAGE_SIZE,
                      BOOT_SEG_R | BOOT_SEG_W, 0}}};
    return &bi;
}

void lab_start(const struct hvm_ops *backend)
{
    fakes_mem_forget();
    machine_start();
    cpu = (struct cpu){.self = &cpu, .deadline = ~0ull, .armed = ~0ull};
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
    host_info = &info;
    tsc_hz = 1000000000;
    memset(&control, 0, sizeof(control));
    if (pgtab_init(&paging_host, &pgtab_host, &quota_kernel, true, true) != HV_OK)
        panic("lab: no memory");
    const struct boot_info *bi = boot_info();
    device_init(bi);
    control_init(bi);
    assert(info.iommu & HOST_IOMMU_ON);
}

i64 lab_call(u64 number, const u64 args[6])
{
    return setjmp(scheduler) ? HV_OK : syscall_main(number, args);
}
