/* Allocates from the firmware, remembers what for, and takes the memory map with ExitBootServices.
 * Called by main.c and the loaders of files and images, on the boot CPU. */
#include "boot/memory.h"

#include <efi.h>
#include <efilib.h>

#include "boot/memmap.h"

#define CLAIMS_MAX 128
#define DESCRIPTORS_SLACK 32 /* room for the map to grow between two calls */
#define EXIT_ATTEMPTS 8

static struct boot_region claims[CLAIMS_MAX];
static u32 claim_count;

static u8 *map_buffer; /* raw descriptors */
static UINTN map_buffer_size;
static struct boot_region *spans; /* the same as regions, and the claims */
static u32 spans_max;

/* Whole pages; gnu-efi's SetMem goes byte by byte, which shows with an initramfs. */
static void zero_pages(EFI_PHYSICAL_ADDRESS base, u64 len)
{
    u64 words = len / 8;

    asm volatile("rep stosq" : "+D"(base), "+c"(words) : "a"(0ull) : "memory");
}

static bool note(u64 base, u64 len, u32 type)
{
    if (claim_count == CLAIMS_MAX)
        return false;
    claims[claim_count++] = (struct boot_region){.base = base, .len = len, .type = type};
    return true;
}

static void *claim(EFI_PHYSICAL_ADDRESS base, u64 len, u32 type)
{
    if (!note(base, len, type))
        return NULL;
    zero_pages(base, len);
    return (void *)base;
}

bool memory_keep(u64 base, u64 len, u32 type)
{
    EFI_PHYSICAL_ADDRESS at = base;

    return !EFI_ERROR(BS->AllocatePages(AllocateAddress, EfiLoaderCode, len / PAGE_SIZE, &at)) &&
           note(base, len, type);
}

void *memory_alloc(u64 len, u32 type, bool align_2m)
{
    u64 pages = ROUND_UP(len, PAGE_SIZE) / PAGE_SIZE, slack = PAGE_2M / PAGE_SIZE - 1;
    EFI_PHYSICAL_ADDRESS got, base;

    /* Code, since the hand-over runs in such a page; a strict firmware makes data no-execute. */
    if (align_2m &&
        !EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiLoaderCode, pages + slack, &got))) {
        base = ROUND_UP(got, PAGE_2M);
        u64 head = (base - got) / PAGE_SIZE;
        if (head)
            BS->FreePages(got, head);
        if (slack - head)
            BS->FreePages(base + pages * PAGE_SIZE, slack - head);
        return claim(base, pages * PAGE_SIZE, type);
    }
    if (EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiLoaderCode, pages, &base)))
        return NULL;
    return claim(base, pages * PAGE_SIZE, type);
}

u64 memory_low_page(void)
{
    /* Not above the conventional 640 KiB, and not page 0, which stays reserved. */
    EFI_PHYSICAL_ADDRESS base = 0x9f000;

    if (EFI_ERROR(BS->AllocatePages(AllocateMaxAddress, EfiLoaderCode, 1, &base)) || base == 0)
        return 0;
    return (u64)claim(base, PAGE_SIZE, BOOT_MEM_LOADER);
}

/* Buffers are sized ahead of ExitBootServices: allocating changes the map, and its key. */
static bool allocate_buffers(void)
{
    UINTN size = 0, key, descriptor_size = sizeof(EFI_MEMORY_DESCRIPTOR);
    UINT32 version;

    if (map_buffer)
        return true;
    BS->GetMemoryMap(&size, NULL, &key, &descriptor_size, &version);
    if (descriptor_size < sizeof(EFI_MEMORY_DESCRIPTOR))
        return false;
    map_buffer_size = size + DESCRIPTORS_SLACK * descriptor_size;
    spans_max = (u32)(map_buffer_size / descriptor_size) + CLAIMS_MAX + 1;
    spans = memory_alloc(spans_max * sizeof(*spans), BOOT_MEM_LOADER, false);
    map_buffer = memory_alloc(map_buffer_size, BOOT_MEM_LOADER, false);
    return spans && map_buffer;
}

static u32 descriptors_to_spans(UINTN size, UINTN descriptor_size)
{
    u32 count = 0;

    for (UINTN at = 0; at + descriptor_size <= size && count < spans_max; at += descriptor_size) {
        const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(map_buffer + at);
        u64 pages = MIN(d->NumberOfPages, 1ull << 51);
        spans[count++] = (struct boot_region){
            .base = d->PhysicalStart, .len = pages * PAGE_SIZE, .type = memmap_type(d->Type)};
    }
    for (u32 i = 0; i < claim_count && count < spans_max; i++)
        spans[count++] = claims[i];
    /* Page 0 holds the real-mode vectors and would make NULL a valid frame. */
    if (count < spans_max)
        spans[count++] =
            (struct boot_region){.base = 0, .len = PAGE_SIZE, .type = BOOT_MEM_RESERVED};
    return count;
}

static bool read_raw_map(UINTN *size, UINTN *key, UINTN *descriptor_size)
{
    UINT32 version;

    *size = map_buffer_size;
    return !EFI_ERROR(BS->GetMemoryMap(size, (EFI_MEMORY_DESCRIPTOR *)map_buffer, key,
                                       descriptor_size, &version));
}

bool memory_read_map(struct boot_region *out, u32 max, u32 *count)
{
    UINTN size, key, descriptor_size;

    if (!allocate_buffers() || !read_raw_map(&size, &key, &descriptor_size))
        return false;
    return memmap_normalise(spans, descriptors_to_spans(size, descriptor_size), out, max, count);
}

const char *memory_exit_boot_services(void *image, struct boot_info *bi)
{
    UINTN size, key, descriptor_size;

    if (!allocate_buffers())
        return "no memory for the memory map";
    for (int attempt = 0; attempt < EXIT_ATTEMPTS; attempt++) {
        bool got = read_raw_map(&size, &key, &descriptor_size);
        if (!got) { /* drivers of the firmware may have cut it into many more pieces meanwhile */
            map_buffer = NULL;
            got = allocate_buffers() && read_raw_map(&size, &key, &descriptor_size);
        }
        if (!got)
            return "the firmware gives no memory map";
        /* A stale key means that something allocated since: ask again (UEFI 2.9 section 7.4). */
        if (EFI_ERROR(BS->ExitBootServices(image, key)))
            continue;
        if (!memmap_normalise(spans, descriptors_to_spans(size, descriptor_size), bi->regions,
                              BOOT_MEMORY_REGIONS, &bi->region_count))
            return "the memory map has too many regions";
        return NULL;
    }
    return "the firmware does not let go (ExitBootServices)";
}
