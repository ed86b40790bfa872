/* Loads kernel.elf and control.elf: one block of memory each, with the layout of the link.  Called
 * by main.c on the boot CPU, before ExitBootServices. */
#include "boot/image.h"

#include "boot/console.h"
#include "boot/files.h"
#include "boot/memory.h"
#include "kernel/lib/elf.h"

#define SPAN_MAX (256 * MIB) /* no image of ours is near this; a wrong one may claim it */

static bool refuse(const char *name, const char *why)
{
    console_line("E_BAD_IMAGE: \\bulkhead\\%s is refused: %s. Try: write the disk image again.",
                 name, why);
    return false;
}

static u32 segment_prot(u32 flags)
{
    return (flags & ELF_PF_R ? BOOT_SEG_R : 0) | (flags & ELF_PF_W ? BOOT_SEG_W : 0) |
           (flags & ELF_PF_X ? BOOT_SEG_X : 0);
}

/* Copies the segments of a checked file into `block`, which stands for address `low`. */
static bool place_segments(const struct elf *e, u64 low, u8 *block, struct boot_image *out)
{
    for (u32 i = 0; i < e->phdr_count; i++) {
        struct elf_phdr p = elf_phdr(e, i);
        if (p.type != ELF_PT_LOAD || p.memsz == 0)
            continue;
        if (out->segment_count == BOOT_SEGMENTS)
            return false;
        u8 *at = block + (p.vaddr - low);
        __builtin_memcpy(at, e->data + p.offset, p.filesz);
        out->segments[out->segment_count++] = (struct boot_segment){
            .vaddr = p.vaddr, .paddr = (u64)at, .memsz = p.memsz, .prot = segment_prot(p.flags)};
    }
    return true;
}

bool image_load(const char *name, u64 base, u32 type, struct boot_image *out, u64 *bytes)
{
    struct elf e;
    void *file;
    u64 low, high;
    enum files_result result = files_read(name, BOOT_MEM_LOADER, &file, bytes);

    if (result != FILES_OK)
        return refuse(name, result == FILES_ABSENT      ? "there is no such file"
                            : result == FILES_NO_MEMORY ? "there is no memory for it"
                                                        : "it cannot be read");
    const char *why = elf_open(&e, file, *bytes);
    if (!why && !e.is64)
        why = "it is not a 64-bit image";
    if (!why)
        why = elf_check(&e, ELF_CHECK_WX | ELF_CHECK_PAGES, &low, &high);
    if (why)
        return refuse(name, why);
    if (low < base || high - base > SPAN_MAX)
        return refuse(name, "it is linked at an address that is not its own");
    u8 *block = memory_alloc(high - low, type, true);
    if (!block)
        return refuse(name, "there is no memory for it");
    out->entry = e.entry;
    if (!place_segments(&e, low, block, out))
        return refuse(name, "it has too many segments");
    return true;
}
