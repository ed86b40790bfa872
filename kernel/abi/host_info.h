/* What the kernel tells the control partition about the machine.  Mapped read-only at
 * USER_HOST_INFO; constant after boot except where noted. */
#ifndef BULKHEAD_KERNEL_ABI_HOST_INFO_H
#define BULKHEAD_KERNEL_ABI_HOST_INFO_H

#include "kernel/abi/boot_info.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/types.h"

#define HOST_INFO_VERSION 1
#define HOST_FEATURES 80

enum feature_state {
    FEATURE_ABSENT,  /* the CPU does not offer it; a fallback is in use */
    FEATURE_UNUSED,  /* offered, deliberately not used */
    FEATURE_ACTIVE,  /* offered and in use */
    FEATURE_MISSING, /* required and not there: no guests on this machine */
};

struct host_feature { /* a line of `host info`: "EPT 1 GiB pages   active" */
    char name[40];
    u8 state; /* enum feature_state */
    char note[55];
};

struct host_cpu {
    u32 apic_id;
    u8 online;
    u8 hvm; /* VMXON (or EFER.SVME) succeeded here */
    u8 pad[2];
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
    char cpu_brand[52];
    char outer_hypervisor[16]; /* CPUID 4000_0000H signature, "" on bare metal */
    char loader[32];
    char firmware[64];
    char hvm_name[16];   /* "VT-x", "AMD-V", "" when there is none */
    char hvm_reason[96]; /* why there is none, with the missing bit's name */
    char hvm_try[96];    /* what the user can do about it */
    u32 cpu_count;
    u32 restart_count; /* times the control partition was restarted (changes) */
    struct host_cpu cpus[CPU_MAX];
    u64 mem_total;  /* bytes of RAM the kernel manages */
    u64 mem_kernel; /* bytes of kernel image and tables */
    u64 uart_port;  /* console 16550, granted to the control partition; 0: none */
    u32 uart_gsi;   /* its interrupt for SYS_IRQ_BIND; ~0: poll */
    u32 feature_count;
    struct host_feature features[HOST_FEATURES];
    u64 rsdp, smbios;
    struct boot_framebuffer framebuffer;
    u64 fadt_reset_port; /* 0: none */
    u32 fadt_reset_value;
    u32 fadt_pm1a_control; /* 0: none */
    u32 module_count;
    u32 pad;
    struct host_module modules[BOOT_MODULES];
};

#endif
