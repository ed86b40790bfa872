/* System calls of the control partition as inline functions, and the pages the kernel shares.
 *
 * Anyone in the control partition may call these.  Built against glibc (the host tests) the one
 * instruction becomes a call of sys_call() in control/rt/host/, and the shared pages are wherever
 * that file put them. */
#pragma once

#include "kernel/abi/control_page.h"
#include "kernel/abi/fault.h"
#include "kernel/abi/host_info.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/status.h"
#include "kernel/abi/syscall.h"
#include "kernel/abi/vm_policy.h"

#ifdef __GLIBC__

i64 sys_call(u64 n, u64 a, u64 b, u64 c, u64 d, u64 e);
struct control_page *sys_control_page(void);
const struct host_info *sys_host_info(void);
void *sys_vm_window(u32 slot);
u64 sys_tsc(void);

#else

static inline i64 sys_call(u64 n, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    i64 ret;
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;

    /* The kernel leaves no value of its own behind: it clears the argument registers. */
    __asm__ volatile("int %7"
                     : "=a"(ret), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
                     : "a"(n), "i"(SYSCALL_VECTOR)
                     : "rcx", "r9", "r11", "memory");
    return ret;
}

static inline struct control_page *sys_control_page(void)
{
    return (struct control_page *)USER_CONTROL_PAGE;
}

static inline const struct host_info *sys_host_info(void)
{
    return (const struct host_info *)USER_HOST_INFO;
}

/* Base of a VM's window: + VM_WINDOW_RAM, _VCPUS or _STATE. */
static inline void *sys_vm_window(u32 slot)
{
    return (void *)VM_WINDOW(slot);
}

static inline u64 sys_tsc(void)
{
    u32 lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

#endif

/* Every function below returns what kernel/abi/syscall.h says of its call. */
static inline i64 sys_null(void)
{
    return sys_call(SYS_NULL, 0, 0, 0, 0, 0);
}

static inline i64 sys_wait(u64 deadline_tsc, u64 answered)
{
    return sys_call(SYS_WAIT, deadline_tsc, answered, 0, 0, 0);
}

static inline void NORETURN sys_exit(u64 code)
{
    for (;;)
        sys_call(SYS_EXIT, code, 0, 0, 0, 0);
}

static inline i64 sys_log_write(u32 level, const char *text, u64 len)
{
    return sys_call(SYS_LOG_WRITE, level, (u64)text, len, 0, 0);
}

static inline i64 sys_log_read(struct log_cursor *c, char *buf, u64 len)
{
    return sys_call(SYS_LOG_READ, (u64)c, (u64)buf, len, 0, 0);
}

static inline i64 sys_mem_map(u64 len)
{
    return sys_call(SYS_MEM_MAP, len, 0, 0, 0, 0);
}

static inline i64 sys_mem_unmap(void *addr, u64 len)
{
    return sys_call(SYS_MEM_UNMAP, (u64)addr, len, 0, 0, 0);
}

static inline i64 sys_mem_stat(struct mem_stat *s)
{
    return sys_call(SYS_MEM_STAT, (u64)s, 0, 0, 0, 0);
}

static inline i64 sys_set_tls(u64 fs_base)
{
    return sys_call(SYS_SET_TLS, fs_base, 0, 0, 0, 0);
}

static inline i64 sys_on_fault(void (*handler)(struct fault_report *), struct fault_report *at)
{
    return sys_call(SYS_ON_FAULT, (u64)handler, (u64)at, 0, 0, 0);
}

static inline i64 sys_crash(u32 call, u64 value)
{
    return sys_call(SYS_CRASH, call, value, 0, 0, 0);
}

static inline i64 sys_irq_bind(u32 source, u32 bit, struct irq_message *m)
{
    return sys_call(SYS_IRQ_BIND, source, bit, (u64)m, 0, 0);
}

static inline i64 sys_irq_unmask(u32 bit)
{
    return sys_call(SYS_IRQ_UNMASK, bit, 0, 0, 0, 0);
}

static inline i64 sys_pci_read(u32 function, u32 offset, u32 bytes)
{
    return sys_call(SYS_PCI_CONFIG, function, offset, bytes, 0, 0);
}

static inline i64 sys_pci_write(u32 function, u32 offset, u32 bytes, u32 value)
{
    return sys_call(SYS_PCI_CONFIG, function, offset, bytes, 1, value);
}

static inline i64 sys_dev_claim(u32 function, u32 source)
{
    return sys_call(SYS_DEV_CLAIM, function, source, 0, 0, 0);
}

static inline i64 sys_dev_bar(u32 function, u32 index, struct dev_bar *bar)
{
    return sys_call(SYS_DEV_BAR, function, index, (u64)bar, 0, 0);
}

static inline i64 sys_dma_map(u64 len)
{
    return sys_call(SYS_DMA_MAP, len, 0, 0, 0, 0);
}

static inline i64 sys_host_reset(u32 how)
{
    return sys_call(SYS_HOST_RESET, how, 0, 0, 0, 0);
}

static inline i64 sys_speculation(u32 use) /* SPECULATION_* */
{
    return sys_call(SYS_SPECULATION, use, 0, 0, 0, 0);
}

static inline i64 sys_cpu_stat(u32 cpu, struct cpu_stat *s)
{
    return sys_call(SYS_CPU_STAT, cpu, (u64)s, 0, 0, 0);
}

static inline i64 sys_vm_create(const struct vm_create *c)
{
    return sys_call(SYS_VM_CREATE, (u64)c, 0, 0, 0, 0);
}

static inline i64 sys_vm_destroy(u32 vm)
{
    return sys_call(SYS_VM_DESTROY, vm, 0, 0, 0, 0);
}

static inline i64 sys_vm_mem(u32 vm, gpa_t gpa, u64 len, u64 flags)
{
    return sys_call(SYS_VM_MEM, vm, gpa.raw, len, flags, 0);
}

static inline i64 sys_vm_run(u32 vm)
{
    return sys_call(SYS_VM_RUN, vm, 0, 0, 0, 0);
}

static inline i64 sys_vm_pause(u32 vm)
{
    return sys_call(SYS_VM_PAUSE, vm, 0, 0, 0, 0);
}

static inline i64 sys_vm_msi(u32 vm, u64 address, u32 data)
{
    return sys_call(SYS_VM_MSI, vm, address, data, 0, 0);
}

static inline i64 sys_vm_info(u32 vm, struct vm_info *info)
{
    return sys_call(SYS_VM_INFO, vm, (u64)info, 0, 0, 0);
}

static inline i64 sys_vcpu_create(u32 vm, u32 vcpu)
{
    return sys_call(SYS_VCPU_CREATE, vm, vcpu, 0, 0, 0);
}

static inline i64 sys_vcpu_reset(u32 vm, u32 vcpu)
{
    return sys_call(SYS_VCPU_RESET, vm, vcpu, 0, 0, 0);
}

static inline i64 sys_vcpu_get(u32 vm, u32 vcpu)
{
    return sys_call(SYS_VCPU_GET, vm, vcpu, 0, 0, 0);
}

static inline i64 sys_vcpu_set(u32 vm, u32 vcpu)
{
    return sys_call(SYS_VCPU_SET, vm, vcpu, 0, 0, 0);
}

static inline i64 sys_vcpu_lint(u32 vm, u32 vcpu, bool level)
{
    return sys_call(SYS_VCPU_LINT, vm, vcpu, level, 0, 0);
}

static inline i64 sys_vcpu_nmi(u32 vm, u32 vcpu)
{
    return sys_call(SYS_VCPU_NMI, vm, vcpu, 0, 0, 0);
}

static inline i64 sys_vcpu_apic(u32 vm, u32 vcpu, u32 offset, bool write, u32 value)
{
    return sys_call(SYS_VCPU_APIC, vm, vcpu, offset, write, value);
}

static inline i64 sys_vcpu_sched(u32 vm, u32 vcpu, u32 weight, u64 cpu_mask)
{
    return sys_call(SYS_VCPU_SCHED, vm, vcpu, weight, cpu_mask, 0);
}

static inline i64 sys_vm_doorbells(u32 vm, u32 group, u32 mask)
{
    return sys_call(SYS_VM_DOORBELLS, vm, group, mask, 0, 0);
}

static inline i64 sys_move(u32 cpu)
{
    return sys_call(SYS_MOVE, cpu, 0, 0, 0, 0);
}

static inline i64 sys_vm_written(u32 vm, u64 gpa, u64 len, u64 *bits)
{
    return sys_call(SYS_VM_WRITTEN, vm, gpa, len, (u64)bits, 0);
}
