/* System calls of the control partition.
 *
 * INT SYSCALL_VECTOR with rax = number, arguments in rdi, rsi, rdx, r10, r8, r9; rax returns an
 * enum hv_status (negative) or a non-negative value; rbx, rbp, rsp and r12 to r15 are kept, all
 * other general registers are lost.  All pointers are user addresses,
 * checked by the kernel and copied once.  `vm` is a slot number, `vcpu` an index in that VM. */
#pragma once

#include "kernel/abi/types.h"

#define SYSCALL_VECTOR 0x2f

/* X(identifier, name) in order of number. */
/* clang-format off */
#define SYSCALLS(X)                                                                                \
    X(SYS_NULL, "null")             /* () returns 0; the round trip that `make bench` measures */  \
    X(SYS_WAIT, "wait") /* (deadline TSC, ~0 = none; handle of an answered exit or 0): take           \
                         * completions, sleep until an event or the deadline; returns 0, or the    \
                         * handle of an exit handed over directly (VCPU_HANDLE).  After the first  \
                         * one the kernel prints no more: the console is the caller's */           \
    X(SYS_EXIT, "exit")             /* (code): ends this instance; the kernel starts a new one */  \
    X(SYS_LOG_WRITE, "log_write")   /* (level, text, len): one record in the kernel's log ring */  \
    X(SYS_LOG_READ, "log_read")     /* (struct log_cursor *, buf, len): bytes copied, 0 at end */  \
    X(SYS_MEM_MAP, "mem_map")       /* (len): zeroed private memory; returns its address; the page   \
                                     * behind it stays unmapped */        \
    X(SYS_MEM_UNMAP, "mem_unmap")   /* (addr, len) */                                              \
    X(SYS_MEM_STAT, "mem_stat")     /* (struct mem_stat *) */                                      \
    X(SYS_SET_TLS, "set_tls")       /* (addr): FS base */                                          \
    X(SYS_ON_FAULT, "on_fault")     /* (handler, struct fault_report *): the next fault of this       \
                                     * instance goes on there; one more, or none such, ends it */   \
    X(SYS_IRQ_BIND, "irq_bind")     /* (source, bit, struct irq_message * or 0): interrupt line of the  \
                                     * console or a claimed function, by GSI, or IRQ_MSI | function: \
                                     * the message that the function is to send */                  \
    X(SYS_IRQ_UNMASK, "irq_unmask") /* (bit): a level-triggered line is masked when it fires */    \
    X(SYS_PCI_CONFIG, "pci_config") /* (function, offset, bytes, write, value): bus << 8 | device   \
                                     * << 3 | function, of segment 0; returns what was read; only   \
                                     * claimed functions are written, base addresses never */       \
    X(SYS_DEV_CLAIM, "dev_claim")   /* (function, what an IOMMU takes it for: itself or a bridge):  \
                                     * bus mastering is off, its DMA reaches the memory of          \
                                     * SYS_DMA_MAP */                                               \
    X(SYS_DEV_BAR, "dev_bar")       /* (function, index, struct dev_bar *): of a claimed function:  \
                                     * maps its registers, or grants its ports */                   \
    X(SYS_DMA_MAP, "dma_map")       /* (len): 4 KiB or 2 MiB, contiguous, zeroed; returns           \
                                     * USER_DMA_BASE + the address that devices use */              \
    X(SYS_HOST_RESET, "host_reset") /* (0 reboot, 1 power off) */                                  \
    X(SYS_CRASH, "crash")           /* (enum crash_call, value): kernel/abi/crash.h */              \
    X(SYS_SPECULATION, "speculation") /* (SPECULATION_* bits): what is done about it from now on; only \
                                     * while there is no VM */                                     \
    X(SYS_CPU_STAT, "cpu_stat")     /* (cpu, struct cpu_stat *) */                                 \
    X(SYS_VM_CREATE, "vm_create")   /* (struct vm_create *): returns slot */                       \
    X(SYS_VM_DESTROY, "vm_destroy") /* (vm): everything it owned is free again */                  \
    X(SYS_VM_MEM, "vm_mem")         /* (vm, gpa, len, flags): give it RAM, at most 64 MiB a call;   \
                                     * VM_MEM_TAKE: one page less */                                \
    X(SYS_VM_RUN, "vm_run")         /* (vm): let its vCPUs run */                                  \
    X(SYS_VM_PAUSE, "vm_pause")     /* (vm): on return none of its vCPUs executes */               \
    X(SYS_VM_MSI, "vm_msi")         /* (vm, address, data): deliver as the local APICs would */    \
    X(SYS_VM_INFO, "vm_info")       /* (vm, struct vm_info *): also how a restart finds VMs */     \
    X(SYS_VCPU_CREATE, "vcpu_create") /* (vm, vcpu): in reset state; 0 active, others wait-SIPI */ \
    X(SYS_VCPU_RESET, "vcpu_reset") /* (vm, vcpu): back to that state; VM must be paused */        \
    X(SYS_VCPU_GET, "vcpu_get")     /* (vm, vcpu): page.full := state; must not be running */      \
    X(SYS_VCPU_SET, "vcpu_set")     /* (vm, vcpu): state := page.full */                           \
    X(SYS_VCPU_LINT, "vcpu_lint")   /* (vm, vcpu, level): LINT0 from the PIC; EXIT_EXTINT follows */ \
    X(SYS_VCPU_NMI, "vcpu_nmi")     /* (vm, vcpu) */                                               \
    X(SYS_VCPU_APIC, "vcpu_apic")   /* (vm, vcpu, offset, write, value): one local APIC register   \
                                     * access, for xAPIC MMIO that the control partition decoded;   \
                                     * a write returns 0, or 100H | vector when it ended a level-   \
                                     * triggered interrupt */                                       \
    X(SYS_VCPU_SCHED, "vcpu_sched") /* (vm, vcpu, weight, cpu mask): 0 = leave as it is */         \
    X(SYS_VM_WRITTEN, "vm_written") /* (vm, gpa, len, u64 bits[]): bit n: the guest may have written \
                                     * page n of that RAM since the last such call, or ever; at     \
                                     * most VM_WRITTEN_MAX.  What ring 3 writes it knows itself */ \
    X(SYS_VM_DOORBELLS, "vm_doorbells") /* (vm, group, mask): bit n: the kernel answers the write of \
                                     * 16 bits to doorbell group * DOORBELL_GROUP + n */           \
    X(SYS_MOVE, "move")             /* (cpu): go on there, until the next SYS_WAIT that sleeps */
/* clang-format on */

#define SYSCALL_ID(id, name) id,
enum syscall_number { SYSCALLS(SYSCALL_ID) SYS_COUNT };
#undef SYSCALL_ID

/* Names an exit that SYS_WAIT hands over without any bit in the control page: its vCPU keeps its
 * place on this core until the next SYS_WAIT, which takes the answer. */
#define VCPU_HANDLE(vm, vcpu) (1 + ((u64)(vm) << 8 | (vcpu)))
#define VCPU_HANDLE_VM(handle) ((u32)(((handle)-1) >> 8))
#define VCPU_HANDLE_VCPU(handle) ((u32)(((handle)-1) & 0xff))

#define IRQ_MSI BIT(31) /* of a source of SYS_IRQ_BIND */

struct irq_message { /* to be put into the MSI or MSI-X registers */
    u64 address;
    u32 data;
    u32 pad;
};

struct dev_bar {
    u64 address; /* in the control partition, or the first port */
    u64 len;
    u64 is_port;
};

/* Log levels say who is at fault. */
enum log_level {
    LOG_PANIC,  /* Bulkhead is wrong and cannot go on */
    LOG_ERROR,  /* Bulkhead or the hardware is wrong */
    LOG_WARN,   /* the machine lacks something; a fallback is in use */
    LOG_NOTICE, /* a guest or a user did something wrong */
    LOG_INFO,   /* what happened */
    LOG_DEBUG,
    LOG_LEVELS
};

struct log_cursor {
    u64 seq;   /* next record wanted; the kernel advances it */
    u64 lost;  /* records that were overwritten before they were read */
    u64 tsc;   /* of the record returned */
    u32 level; /* of the record returned */
    u32 cpu;
};

struct mem_stat {
    u64 total, free; /* bytes, all frames */
    u64 kernel;      /* image, tables, per-CPU, page tables of the host */
    u64 control_used, control_limit;
    u64 guests_used; /* RAM, tables and overhead of all VMs */
    u64 free_2m;     /* free 2 MiB chunks */
};

struct cpu_stat { /* TSC ticks since boot */
    union {
        struct {
            u64 idle, control, guest, kernel;
        };
        u64 ticks[4]; /* the same, by number */
    };
    u32 runnable; /* vCPUs waiting or running here */
    u32 online;
};

#define VM_NAME_LEN 64
struct vm_create {
    char name[VM_NAME_LEN];
    u64 ram_limit;      /* bytes; quota = this and the kernel's overhead */
    u64 state_size;     /* device-model state kept across restarts, multiple of 4 KiB */
    const void *policy; /* struct vm_policy */
};

/* SYS_VCPU_APIC returns the value read; after a write 0, or this and the vector when the write
 * ended a level-triggered interrupt: its source looks again. */
#define VCPU_APIC_EOI_LEVEL 0x100u

#define VM_WRITTEN_MAX (64 * MIB)
#define VM_WRITTEN_BYTES(len) (ROUND_UP((len), 64 * PAGE_SIZE) / PAGE_SIZE / 8)

#define VM_MEM_READONLY BIT(0) /* guest may not write (firmware) */
#define VM_MEM_TAKE BIT(1)     /* the page of RAM at gpa is the host's again; alone */

enum vm_run_state { VM_EMPTY, VM_PAUSED, VM_RUNNING };

struct vm_info {
    char name[VM_NAME_LEN];
    u32 slot;
    u32 run_state; /* enum vm_run_state */
    u32 vcpu_count;
    u32 pad;
    u64 ram_bytes;
    u64 overhead_bytes; /* kernel memory beside RAM and EPT */
    u64 ept_bytes;
    u64 state_size;
};
