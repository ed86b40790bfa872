/* System calls that do not act on VMs, and the table of all.  On the core where ring 3 runs; one
 * at a time. */
#include "kernel/syscall.h"

#include "kernel/abi/syscall.h"
#include "kernel/control.h"
#include "kernel/device.h"
#include "kernel/host.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/panic.h"
#include "kernel/speculation.h"
#include "kernel/sys_vm.h"
#include "kernel/timer.h"
#include "kernel/vm.h"
#include "kernel/x86.h"

#define LOG_TEXT 240

static i64 sys_null(const u64 args[6])
{
    (void)args;
    return HV_OK;
}

static i64 sys_log_write(const u64 args[6])
{
    char text[LOG_TEXT];
    u64 len = MIN(args[2], sizeof(text));

    /* LOG_PANIC is the kernel's own word. */
    if (args[0] <= LOG_PANIC || args[0] >= LOG_LEVELS)
        return HV_EINVAL;
    enum hv_status status = user_read(text, args[1], len);
    if (status == HV_OK)
        log_write((enum log_level)args[0], "%.*s", (int)len, text);
    return status;
}

static i64 sys_log_read(const u64 args[6])
{
    struct log_cursor cursor;
    char text[LOG_TEXT + 1];

    enum hv_status status = user_read(&cursor, args[0], sizeof(cursor));
    if (status != HV_OK || args[2] == 0)
        return status != HV_OK ? status : HV_EINVAL;
    u64 n = log_read(&cursor, text, MIN(args[2], sizeof(text)));
    if (n)
        status = user_write(args[1], text, n + 1);
    if (status == HV_OK)
        status = user_write(args[0], &cursor, sizeof(cursor));
    return status == HV_OK ? (i64)n : status;
}

static i64 sys_mem_stat(const u64 args[6])
{
    struct mem_stat s = {
        .total = mem_total(),
        .free = mem_free_bytes(),
        .kernel = quota_kernel.used + host_image_bytes(),
        .control_used = control.quota.used,
        .control_limit = control.quota.limit,
        .free_2m = mem_free_chunks(),
    };
    for (u32 i = 0; i < VM_SLOTS; i++)
        if (vms[i])
            s.guests_used += vms[i]->quota.used;
    return user_write(args[0], &s, sizeof(s));
}

static i64 sys_set_tls(const u64 args[6])
{
    if (args[0] >= USER_END)
        return HV_EINVAL;
    control.fs_base = args[0];
    wrmsr(MSR_FS_BASE, args[0]);
    return HV_OK;
}

static i64 sys_on_fault(const u64 args[6])
{
    if (args[0] >= USER_END || args[1] % 16)
        return HV_EINVAL;
    control.on_fault = args[0];
    control.fault_report = args[1];
    return HV_OK;
}

static i64 sys_irq_bind(const u64 args[6])
{
    struct irq_message message = {0};

    if (args[0] > ~0u || args[1] >= IRQ_BITS)
        return HV_EINVAL;
    enum hv_status status = irq_bind((u32)args[0], (u32)args[1], &message);
    return status == HV_OK && args[2] ? user_write(args[2], &message, sizeof(message)) : status;
}

static i64 sys_cpu_stat(const u64 args[6])
{
    if (args[0] >= cpu_count)
        return HV_ENOENT;
    struct cpu *c = cpus[args[0]];
    struct cpu_stat s = c->stat;
    u64 now = tsc_read(), mark = c->mark;
    if (now > mark)
        s.ticks[c->accounting] += now - mark; /* racy by a moment, only shown */
    s.runnable = c->runq.count + (c->running != NULL);
    s.online = c->online;
    return user_write(args[1], &s, sizeof(s));
}

typedef i64 syscall_fn(const u64 args[6]);

static syscall_fn *const table[SYS_COUNT] = {
    [SYS_NULL] = sys_null,
    [SYS_EXIT] = control_exit,
    [SYS_LOG_WRITE] = sys_log_write,
    [SYS_LOG_READ] = sys_log_read,
    [SYS_MEM_MAP] = control_heap_map,
    [SYS_MEM_UNMAP] = control_heap_unmap,
    [SYS_MEM_STAT] = sys_mem_stat,
    [SYS_SET_TLS] = sys_set_tls,
    [SYS_ON_FAULT] = sys_on_fault,
    [SYS_IRQ_BIND] = sys_irq_bind,
    [SYS_IRQ_UNMASK] = irq_unmask,
    [SYS_PCI_CONFIG] = device_config,
    [SYS_DEV_CLAIM] = device_claim,
    [SYS_DEV_BAR] = device_bar,
    [SYS_DMA_MAP] = device_dma,
    [SYS_HOST_RESET] = host_reset,
    [SYS_CRASH] = panic_call,
    [SYS_SPECULATION] = speculation_set,
    [SYS_CPU_STAT] = sys_cpu_stat,
    [SYS_VM_CREATE] = sys_vm_create,
    [SYS_VM_DESTROY] = sys_vm_destroy,
    [SYS_VM_MEM] = sys_vm_mem,
    [SYS_VM_RUN] = sys_vm_run,
    [SYS_VM_PAUSE] = sys_vm_pause,
    [SYS_VM_WRITTEN] = sys_vm_written,
    [SYS_VM_MSI] = sys_vm_msi,
    [SYS_VM_INFO] = sys_vm_info,
    [SYS_VM_DOORBELLS] = sys_vm_doorbells,
    [SYS_VCPU_CREATE] = sys_vcpu_create,
    [SYS_VCPU_RESET] = sys_vcpu_reset,
    [SYS_VCPU_GET] = sys_vcpu_get,
    [SYS_VCPU_SET] = sys_vcpu_set,
    [SYS_VCPU_LINT] = sys_vcpu_lint,
    [SYS_VCPU_NMI] = sys_vcpu_nmi,
    [SYS_VCPU_APIC] = sys_vcpu_apic,
    [SYS_VCPU_SCHED] = sys_vcpu_sched,
    [SYS_MOVE] = control_move,
};

i64 syscall_main(u64 number, const u64 args[6])
{
    if (number >= SYS_COUNT || !table[number])
        return HV_ENOSYS;
    i64 result = table[number](args);
    timer_arm_hardware();
    return result;
}
