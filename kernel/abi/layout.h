/* Virtual address map of the host: one address space, kernel in the upper half,
 * the control partition in the lower.  docs/architecture.md draws it. */
#pragma once

#include "kernel/abi/types.h"

/* Control partition, ring 3.  Everything below is in PML4 entry 0. */
#define USER_IMAGE_BASE 0x0000000000400000ull /* control.elf is linked here */
#define USER_HEAP_BASE 0x0000001000000000ull  /* SYS_MEM_MAP places memory from here up */
#define USER_HEAP_END 0x0000002000000000ull
#define USER_MODULE_BASE 0x0000002000000000ull  /* boot modules, read-only */
#define USER_CONTROL_PAGE 0x0000003000000000ull /* struct control_page, read-write */
#define USER_HOST_INFO 0x0000003000100000ull    /* struct host_info, read-only */
#define USER_MMIO_BASE 0x0000003100000000ull    /* granted device registers */
#define USER_STACK_TOP 0x0000003ffffff000ull
#define USER_STACK_SIZE (256 * KIB)
/* Memory for devices lies at this + its physical address, which is what the device sees. */
#define USER_DMA_BASE 0x0000400000000000ull
#define USER_END 0x0000800000000000ull

/* Each VM slot owns one PML4 entry (512 GiB) of the control partition: it belongs to the VM,
 * not to the process, so a restarted control partition finds it unchanged. */
#define VM_SLOTS 32
#define VM_VCPUS 64
#define VM_WINDOW(slot) ((u64)((slot) + 1) << 39)
#define VM_WINDOW_RAM 0x0ull            /* + guest-physical address */
#define VM_WINDOW_VCPUS 0x4000000000ull /* + index * PAGE_SIZE: struct vcpu_page */
/* Device-model state that survives a restart; in the same 2 MiB as the vCPU pages, to share
 * page tables. */
#define VM_WINDOW_STATE 0x4000040000ull
#define VM_RAM_GPA_END 0x4000000000ull /* guest RAM lies below 256 GiB */
#define VM_STATE_MAX (1 * MIB)

/* Kernel, ring 0. */
#define PHYSMAP_BASE 0xffff800000000000ull /* all RAM but the kernel image, read-write, NX */
#define PHYSMAP_SIZE (64ull << 40)
#define KERNEL_CPU_BASE 0xffffd00000000000ull  /* per-CPU tables and stacks, with guard pages */
#define KERNEL_HOST_INFO 0xffffd80000000000ull /* struct host_info, read-write */
#define KERNEL_MMIO_BASE 0xffffe00000000000ull /* device registers, uncached */
#define KERNEL_IMAGE_BASE 0xffffffff80000000ull

#define CPU_MAX 64
