/* Puts a kernel, its initial RAM disk, command line and machine description into a guest's memory
 * and a vCPU into the state that the kernel's boot protocol asks for.
 *
 * Pure over guest_mem.  Images are hostile: every offset is checked against the file and RAM. */
#pragma once

#include "kernel/abi/types.h"
#include "kernel/abi/vcpu_page.h"
#include "kernel/lib/elf.h"
#include "vmm/guest_mem.h"

/* Low memory that the loaders use; a kernel is placed at LOAD_LOWEST or above. */
#define LOAD_GDT 0x1000ull
#define LOAD_BOOT_DATA 0x2000ull /* zero page, or PVH start info with its tables */
#define LOAD_CMDLINE 0x4000ull
#define LOAD_CMDLINE_MAX 2048u
#define LOAD_PAGE_TABLES 0x10000ull /* six pages: the lowest 4 GiB one-to-one */
#define LOAD_LOW_RAM_END 0x9f000ull
#define LOAD_LOWEST 0x100000ull

enum load_protocol {            /* the order of the values of the key `protocol` */
                     LOAD_AUTO, /* told by the file: PVH, multiboot 2, multiboot, Linux */
                     LOAD_LINUX,
                     LOAD_PVH,
                     LOAD_MULTIBOOT,
                     LOAD_MULTIBOOT2,
};

struct load_request {
    const struct guest_mem *mem;
    enum load_protocol protocol;
    const char *kernel_name, *initrd_name; /* multiboot kernels are told both */
    const u8 *kernel;
    u64 kernel_len;
    const u8 *initrd; /* NULL: none */
    u64 initrd_len;
    const char *cmdline;
    u64 rsdp; /* guest-physical address; it is there already */
};

struct load_result { /* the boot vCPU: *state as reset left it, changed to the entry state */
    struct vcpu_state *state;
    u64 *regs;
};

/* NULL: loaded; else the reason in words. */
MUST_CHECK const char *load_guest(const struct load_request *r, const struct load_result *out);

/* For the protocols: */
#define LOAD_REGIONS 8
enum { LOAD_RAM = 1, LOAD_RESERVED = 2 }; /* types of E820 and of hvm_memmap_table_entry */
struct load_region {
    u64 base, len;
    u32 type;
};
/* The guest's memory map; number of regions. */
u32 load_guest_map(const struct guest_mem *m, struct load_region out[LOAD_REGIONS]);
/* Copies the initrd as high as possible below `limit` and at or above `floor`.  NULL and *at, or
 * the reason why not. */
MUST_CHECK const char *load_guest_initrd(const struct load_request *r, u64 floor, u64 limit,
                                         u64 *at);
/* Copies the loadable segments of a file that elf_check() has passed to their physical addresses.
 */
MUST_CHECK const char *load_guest_elf(const struct load_request *r, const struct elf *e);
MUST_CHECK const char *load_guest_cmdline(const struct load_request *r, u32 max);
/* Flat segments: code of the given access rights, data, a busy TSS, no LDT. */
void load_guest_segments(struct vcpu_state *s, u32 code_access);
/* 32-bit protected mode at `entry`, paging off, EBX = boot_data and the other registers zero: what
 * PVH (pvh.pandoc) and both versions of multiboot (0.6.96, 3.2) ask for. */
void load_guest_protected_mode(const struct load_result *out, u64 entry, u64 boot_data);
