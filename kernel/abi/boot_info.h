/* What boot/ hands to kernel_entry(): everything the firmware knew, in one struct.
 *
 * kernel_entry is entered in 64-bit mode with IF=0, rdi = physical address of struct boot_info,
 * both 8259s masked, the console's UART set to 115200 8N1, page tables that map (a) all memory
 * named in memory_map and the boot_info one-to-one and (b) the kernel's segments at their link
 * addresses, and a stack of at least 16 KiB. All pointers are physical addresses; every array lies
 * in memory typed BOOT_MEM_LOADER, which the kernel may reclaim after it has copied what it needs
 * (modules and images excepted: they are BOOT_MEM_IMAGE). */
#pragma once

#include "kernel/abi/layout.h"
#include "kernel/abi/types.h"

#define BOOT_INFO_MAGIC 0x646165686b6c7542ull /* "Bulkhead" */
#define BOOT_INFO_VERSION 5
#define BOOT_TIMER_VECTOR 0xf0 /* the local APIC's: one such interrupt may wait at the start */
#define BOOT_SEGMENTS 8
#define BOOT_MODULES 64
#define BOOT_MEMORY_REGIONS 512
#define BOOT_NAME_LEN 96
#define BOOT_IOAPICS 8
#define BOOT_ISA_IRQS 16
#define BOOT_IOMMUS 16

enum boot_mem_type {
    BOOT_MEM_FREE = 1,     /* usable at once */
    BOOT_MEM_LOADER = 2,   /* boot_info, boot page tables, boot stack: reclaim when done */
    BOOT_MEM_IMAGE = 3,    /* control image, modules: keep */
    BOOT_MEM_KERNEL = 4,   /* kernel image: only seen where it is linked */
    BOOT_MEM_FIRMWARE = 5, /* runtime services, ACPI tables: never touch */
    BOOT_MEM_RESERVED = 6, /* reserved or unusable */
    BOOT_MEM_MMIO = 7,
};

struct boot_region { /* sorted by base, no overlap, 4 KiB granular */
    u64 base;
    u64 len;
    u32 type; /* enum boot_mem_type */
    u32 pad;
};

#define BOOT_SEG_R 1
#define BOOT_SEG_W 2
#define BOOT_SEG_X 4

struct boot_segment { /* one PT_LOAD, already in memory, page aligned at both ends, checked */
    u64 vaddr;
    u64 paddr; /* memsz bytes rounded up to 4 KiB, contiguous, tail zeroed */
    u64 memsz;
    u32 prot; /* BOOT_SEG_*; never W and X together */
    u32 pad;
};

struct boot_image {
    u64 entry;
    u32 segment_count;
    u32 pad;
    struct boot_segment segments[BOOT_SEGMENTS];
};

struct boot_cpu {
    u32 apic_id;
    u32 flags; /* BOOT_CPU_* */
};
#define BOOT_CPU_BSP 1
#define BOOT_CPU_USABLE 2

struct boot_module { /* a file under \bulkhead\guests, or bulkhead.conf itself as module 0 */
    char name[BOOT_NAME_LEN]; /* path below \bulkhead, '/' separated, NUL terminated */
    u64 paddr;                /* page aligned */
    u64 len;                  /* bytes; the rest of the last page is zero */
};

struct boot_framebuffer {
    u64 paddr;                 /* 0: none */
    u32 width, height, stride; /* stride in pixels */
    u32 format;                /* 0: RGBX, 1: BGRX */
};

/* What the static ACPI tables say (MADT, FADT, DSDT, DMAR); without them the PC's defaults. */
struct boot_platform {
    u32 ioapic_count;
    u32 pad;
    struct {
        u64 address;
        u32 gsi_base;
        u32 pad;
    } ioapics[BOOT_IOAPICS];
    struct {
        u32 gsi;
        u8 level, active_low;
        u8 pad[2];
    } isa[BOOT_ISA_IRQS]; /* by IRQ number */
    u32 iommu_count;
    u32 interrupt_remapping; /* the firmware allows it */
    u64 iommus[BOOT_IOMMUS]; /* register pages of VT-d units of segment 0 */
    u16 reset_port;          /* 0: none */
    u16 pm1a_control;        /* 0: none */
    u16 pm1b_control;        /* 0: none */
    u8 reset_value;
    u8 has_s5; /* the sleep types are known */
    u8 sleep_type_a, sleep_type_b;
    u8 pad2[6];
};

enum boot_cpu_source { BOOT_CPUS_NONE, BOOT_CPUS_MADT, BOOT_CPUS_MP_SERVICES };

struct boot_info {
    u64 magic;
    u32 version;
    u32 size; /* sizeof(struct boot_info), checked by the kernel */
    char loader[32];
    char firmware[64]; /* vendor and revision as text */

    u64 tsc_at_entry;    /* TSC when the loader started */
    u64 tsc_at_exit;     /* TSC just after ExitBootServices */
    u64 rsdp;            /* 0: no ACPI */
    u64 smbios;          /* 0: none */
    u64 trampoline;      /* a free 4 KiB page below 1 MiB for starting CPUs; 0: none */
    u64 tsc_hz;          /* TSC ticks a second */
    char tsc_source[24]; /* how that was found: "CPUID 15H", "ACPI PM timer", ...; "guess" */
    u64 apic_timer_hz; /* of the local APIC's timer, not divided; 0: its TSC-deadline mode works */
    i64 unix_time;     /* seconds UTC from the firmware clock; 0: unknown */

    struct boot_image kernel;
    struct boot_image control; /* pristine: the kernel copies writable segments */

    u32 cpu_count;
    u32 cpu_source; /* enum boot_cpu_source */
    struct boot_cpu cpus[CPU_MAX];

    u32 region_count;
    u32 module_count;
    struct boot_region regions[BOOT_MEMORY_REGIONS];
    struct boot_module modules[BOOT_MODULES];
    struct boot_framebuffer framebuffer;
    struct boot_platform platform;
    u64 crash_record; /* CRASH_BYTES of BOOT_MEM_IMAGE, where the last boot had them; 0: none */
    u64 serial_port;  /* I/O port of the console UART; 0: none answers */
};
