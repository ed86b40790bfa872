/* A reader of static ELF executables, 32- and 64-bit x86, that trusts nothing it reads.
 *
 * Pure: looks only at the bytes it is given, which must not change meanwhile.  boot/ uses it for
 * both images of the system, vmm/ for PVH guest kernels.  Layout: System V gABI chapters 4 and 5.
 */
#pragma once

#include "kernel/abi/types.h"

#define ELF_PHDR_MAX 64

enum elf_segment_type { ELF_PT_LOAD = 1, ELF_PT_INTERP = 3, ELF_PT_NOTE = 4, ELF_PT_TLS = 7 };
#define ELF_PF_X 1u
#define ELF_PF_W 2u
#define ELF_PF_R 4u

#define ELF_NOTE_XEN "Xen"
#define ELF_NOTE_XEN_PHYS32_ENTRY 18u /* XEN_ELFNOTE_PHYS32_ENTRY: 32-bit PVH entry point */

struct elf {
    const u8 *data;
    u64 size;
    bool is64;
    u32 phdr_count;
    u32 phdr_size; /* bytes a program header takes in the file */
    u64 phdr_offset;
    u64 entry;
};

struct elf_phdr {
    u32 type;  /* enum elf_segment_type or one we do not care about */
    u32 flags; /* ELF_PF_* */
    u64 offset, vaddr, paddr, filesz, memsz, align;
};

/* What elf_check demands of the loadable segments beyond being inside the file. */
#define ELF_CHECK_WX BIT(0)    /* none both writable and executable */
#define ELF_CHECK_PAGES BIT(1) /* each starts on a page of its own */
#define ELF_CHECK_PADDR BIT(2) /* place by paddr (PVH), not by vaddr; the entry is not checked */

/* Read the headers of `size` bytes at `data`.  NULL: `out` is valid; else the reason in words. */
MUST_CHECK const char *elf_open(struct elf *out, const void *data, u64 size);

/* Program header i < phdr_count. */
struct elf_phdr elf_phdr(const struct elf *e, u32 i);

/* Check all loadable segments (ELF_CHECK_*): there is one, contents lie in the file, none wraps
 * around, no two overlap, the entry point is in an executable one.  [*low, *high): what they span.
 * NULL: fit to be loaded; else the reason in words. */
MUST_CHECK const char *elf_check(const struct elf *e, u32 checks, u64 *low, u64 *high);

/* The contents of the first note of that owner and type; NULL: none.  *len: bytes. */
const void *elf_note(const struct elf *e, const char *owner, u32 type, u32 *len);
