/* Turns the firmware's memory map and the loader's own claims into boot_info's regions.  Called
 * by memory.c once before and once after ExitBootServices, so it allocates nothing. */
#include "boot/memmap.h"

static const u8 types[] = {
    [0] = BOOT_MEM_RESERVED,  /* EfiReservedMemoryType */
    [1] = BOOT_MEM_LOADER,    /* EfiLoaderCode: this program */
    [2] = BOOT_MEM_LOADER,    /* EfiLoaderData */
    [3] = BOOT_MEM_FREE,      /* EfiBootServicesCode */
    [4] = BOOT_MEM_FREE,      /* EfiBootServicesData */
    [5] = BOOT_MEM_FIRMWARE,  /* EfiRuntimeServicesCode */
    [6] = BOOT_MEM_FIRMWARE,  /* EfiRuntimeServicesData */
    [7] = BOOT_MEM_FREE,      /* EfiConventionalMemory */
    [8] = BOOT_MEM_RESERVED,  /* EfiUnusableMemory */
    [9] = BOOT_MEM_FIRMWARE,  /* EfiACPIReclaimMemory */
    [10] = BOOT_MEM_FIRMWARE, /* EfiACPIMemoryNVS */
    [11] = BOOT_MEM_MMIO,     /* EfiMemoryMappedIO */
    [12] = BOOT_MEM_MMIO,     /* EfiMemoryMappedIOPortSpace */
};

u32 memmap_type(u32 efi_type)
{
    return efi_type < ARRAY_LEN(types) ? types[efi_type] : BOOT_MEM_RESERVED;
}

/* The span in whole pages; an empty one has end <= start. */
static void page_bounds(const struct boot_region *r, u64 *start, u64 *end)
{
    u64 last = r->len > ~0ull - PAGE_SIZE - r->base ? ~0ull - PAGE_SIZE : r->base + r->len;

    if (r->type == BOOT_MEM_FREE) {
        *start = ROUND_UP(r->base, PAGE_SIZE);
        *end = ROUND_DOWN(last, PAGE_SIZE);
    } else {
        *start = ROUND_DOWN(r->base, PAGE_SIZE);
        *end = ROUND_UP(last, PAGE_SIZE);
    }
}

/* What covers `at` (0: nothing), and the next address where that may change (~0: none). */
static u32 type_at(const struct boot_region *in, u32 count, u64 at, u64 *next)
{
    u32 type = 0;

    *next = ~0ull;
    for (u32 i = 0; i < count; i++) {
        u64 start, end;
        page_bounds(&in[i], &start, &end);
        if (in[i].len == 0 || end <= start || end <= at)
            continue;
        if (start > at) {
            *next = MIN(*next, start);
            continue;
        }
        *next = MIN(*next, end);
        type = MAX(type, in[i].type);
    }
    return type;
}

bool memmap_normalise(const struct boot_region *in, u32 in_count, struct boot_region *out,
                      u32 out_max, u32 *out_count)
{
    u32 count = 0;
    u64 next;

    for (u64 at = 0; at != ~0ull; at = next) {
        u32 type = type_at(in, in_count, at, &next);
        if (type == 0 || next == ~0ull)
            continue;
        struct boot_region *last = count ? &out[count - 1] : NULL;
        if (last && last->type == type && last->base + last->len == at) {
            last->len += next - at;
            continue;
        }
        if (count == out_max)
            return false;
        out[count++] = (struct boot_region){.base = at, .len = next - at, .type = type};
    }
    *out_count = count;
    return true;
}
