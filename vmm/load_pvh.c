/* Loads a PVH ELF kernel; called by load_guest.c.  Pure.  Structures: Xen's
 * xen/include/public/arch-x86/hvm/start_info.h. */
#include "vmm/load_pvh.h"

#include <string.h>

#include "kernel/lib/elf.h"

#define START_MAGIC 0x336ec578u

struct start_info {
    u32 magic, version, flags, nr_modules;
    u64 modlist, cmdline, rsdp, memmap;
    u32 memmap_entries, reserved;
};
struct module_entry {
    u64 paddr, size, cmdline, reserved;
};
struct memmap_entry {
    u64 addr, size;
    u32 type, reserved;
};

struct boot_data { /* at LOAD_BOOT_DATA */
    struct start_info start;
    struct module_entry module;
    struct memmap_entry map[LOAD_REGIONS];
};
_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct memmap_entry) == 24,
               "start_info.h");

/* The entry point; 32- and 64-bit ELF files give it as 4 or 8 bytes. */
static const char *find_entry(const struct elf *e, u64 low, u64 high, u64 *entry)
{
    u32 len = 0;
    const void *note = elf_note(e, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &len);
    *entry = 0;
    if (!note)
        return "the ELF file has no PVH entry note";
    if (len != 4 && len != 8)
        return "the PVH entry note has the wrong size";
    memcpy(entry, note, len);
    if (*entry < low || *entry >= high || *entry >= 4 * GIB)
        return "the PVH entry point lies outside the kernel";
    return NULL;
}

static const char *write_boot_data(const struct load_request *r, u64 initrd)
{
    struct load_region map[LOAD_REGIONS];
    struct boot_data d = {
        .start = {.magic = START_MAGIC,
                  .version = 1,
                  .nr_modules = initrd != 0,
                  .modlist = initrd ? LOAD_BOOT_DATA + offsetof(struct boot_data, module) : 0,
                  .cmdline = LOAD_CMDLINE,
                  .rsdp = r->rsdp,
                  .memmap = LOAD_BOOT_DATA + offsetof(struct boot_data, map)},
        .module = {.paddr = initrd, .size = r->initrd_len},
    };
    u32 count = load_guest_map(r->mem, map);
    d.start.memmap_entries = count;
    for (u32 i = 0; i < count; i++)
        d.map[i] = (struct memmap_entry){map[i].base, map[i].len, map[i].type, 0};
    if (!guest_write(r->mem, GPA(LOAD_BOOT_DATA), &d, sizeof(d)))
        return "not enough memory for the start info";
    return NULL;
}

bool load_pvh_is(const struct load_request *r)
{
    struct elf e;
    u32 len;
    return !elf_open(&e, r->kernel, r->kernel_len) &&
           elf_note(&e, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &len);
}

const char *load_pvh(const struct load_request *r, const struct load_result *out)
{
    struct elf e;
    u64 low, high, entry, initrd;
    const char *why = elf_open(&e, r->kernel, r->kernel_len);
    if (!why)
        why = elf_check(&e, ELF_CHECK_PADDR, &low, &high);
    if (why)
        return why;
    if (low < LOAD_LOWEST)
        return "a segment lies below 1 MiB";
    why = find_entry(&e, low, high, &entry);
    if (!why)
        why = load_guest_elf(r, &e);
    if (!why)
        why = load_guest_cmdline(r, LOAD_CMDLINE_MAX);
    if (!why)
        why = load_guest_initrd(r, high, 4 * GIB, &initrd);
    if (!why)
        why = write_boot_data(r, initrd);
    if (why)
        return why;
    load_guest_protected_mode(out, entry, LOAD_BOOT_DATA);
    return NULL;
}
