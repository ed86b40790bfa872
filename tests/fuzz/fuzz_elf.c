/* links: kernel/lib/elf.c */
/* Any bytes as an ELF file: whatever elf_check accepts can be read without leaving the file. */
#include <stdlib.h>
#include <string.h>

#include "kernel/lib/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile u8 sink;

static void read_all(const u8 *at, u64 len)
{
    for (u64 i = 0; i < len; i++)
        sink ^= at[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const u32 checks[] = {0, ELF_CHECK_WX | ELF_CHECK_PAGES, ELF_CHECK_PADDR};
    struct elf e;
    u64 low, high;
    u32 len = 0;

    if (elf_open(&e, data, size) != NULL)
        return 0;
    const void *note = elf_note(&e, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &len);
    if (note)
        read_all(note, len);
    for (size_t c = 0; c < ARRAY_LEN(checks); c++) {
        if (elf_check(&e, checks[c], &low, &high) != NULL)
            continue;
        if (low >= high)
            abort();
        for (u32 i = 0; i < e.phdr_count; i++) {
            struct elf_phdr p = elf_phdr(&e, i);
            if (p.type == ELF_PT_LOAD && p.memsz)
                read_all(data + p.offset, p.filesz);
        }
    }
    return 0;
}
