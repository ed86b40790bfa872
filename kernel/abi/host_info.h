/* What the kernel tells the control partition about the machine.  Mapped read-only at
 * USER_HOST_INFO; constant after boot except where noted. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/types.h"

#define HOST_INFO_VERSION 5

enum host_hvm { HOST_HVM_NONE, HOST_HVM_VMX, HOST_HVM_SVM };

enum host_problem { /* why there are no guests */
                    HOST_HVM_WORKS,
                    HOST_HVM_LOCKED,  /* switched off by the firmware */
                    HOST_HVM_LACKING, /* host_info.lacking tells what */
                    HOST_HVM_REFUSED, /* VMXON or EFER.SVME failed, or there was no memory */
                    HOST_HVM_SPARED,  /* of a CPU: hvm_spare_first() */
};

/* Words that tell what the CPU offers for guests, raw; vmm/features.c has the bits' names. */
enum host_word {
    VMX_PIN, /* capability MSRs, SDM 3D appendix A; the first five in the TRUE form if there is */
    VMX_PROC,
    VMX_PROC2,
    VMX_EXIT,
    VMX_ENTRY,
    VMX_CONTROL_WORDS, /* of these the low half must be 1, the high half may be 1 */
    VMX_EPT_VPID = VMX_CONTROL_WORDS,
    VMX_MISC,
    VMX_BASIC,
    VMX_WORDS,
    SVM_FEATURES = 0, /* CPUID 8000_000AH EDX */
    SVM_ASIDS,        /* and EBX */
    SVM_WORDS,
};

/* Bits of host_info.iommu. */
#define HOST_IOMMU_FOUND BIT(0) /* the firmware names VT-d units */
#define HOST_IOMMU_ON BIT(1)    /* devices reach granted memory only */
#define HOST_IOMMU_REMAP BIT(2) /* and send granted interrupts only */

struct host_cpu {
    u32 apic_id;
    u8 online;
    u8 hvm;         /* VMXON (or EFER.SVME) succeeded here */
    u8 hvm_problem; /* enum host_problem: why not */
    u8 pad;
};

struct host_module {
    char name[BOOT_NAME_LEN];
    u64 vaddr; /* in the control partition, read-only */
    u64 len;
};

struct host_info {
    u32 version;
    u32 size;
    u64 tsc_hz;
    u64 boot_tsc;        /* TSC at kernel entry */
    char tsc_source[24]; /* how tsc_hz was found: "CPUID 15H", "ACPI PM timer", "PIT", ... */
    i64 boot_unix_time;  /* seconds UTC at kernel entry; 0: unknown */
    char loader[32];
    char firmware[64];
    u32 hvm;                /* enum host_hvm: what the CPU has */
    u32 hvm_problem;        /* enum host_problem */
    u64 arch_capabilities;  /* IA32_ARCH_CAPABILITIES; 0 if there is none */
    u64 speculation;        /* SPECULATION_* that there are means for */
    u64 offered[VMX_WORDS]; /* by enum host_word */
    u64 used[VMX_WORDS];    /* controls: bits that are or may be set; others: bits made use of */
    u64 lacking[VMX_WORDS]; /* bits without which there are no guests, or which are forced on */
    u32 cpu_count;
    u32 restart_count; /* times the control partition was restarted (changes) */
    struct host_cpu cpus[CPU_MAX];
    u64 uart_port; /* console 16550, granted to the control partition; 0: none */
    u32 uart_gsi;  /* its interrupt for SYS_IRQ_BIND; ~0: poll */
    u32 iommu;     /* HOST_IOMMU_* */
    u64 rsdp;
    struct boot_framebuffer framebuffer;
    u32 module_count;
    u32 pad;
    struct host_module modules[BOOT_MODULES];
};
