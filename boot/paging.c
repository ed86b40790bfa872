/* Builds the first page tables: memory one-to-one and the kernel at its address.  Called by main.c
 * on the boot CPU, before ExitBootServices.  Pure but for memory_alloc. */
#include "boot/paging.h"

#include "boot/memory.h"

#define POOL_BYTES (32 * PAGE_SIZE)

#define PTE_PRESENT BIT(0)
#define PTE_WRITE BIT(1)
#define PTE_LARGE BIT(7)
#define PTE_NX BIT(63)
#define PTE_ADDRESS BITS(51, 12)

static u64 *new_table(struct paging *p)
{
    if (p->pool_left == 0) {
        p->pool = memory_alloc(POOL_BYTES, BOOT_MEM_LOADER, false);
        if (!p->pool)
            return NULL;
        p->pool_left = POOL_BYTES;
    }
    u64 *table = (u64 *)p->pool;
    p->pool += PAGE_SIZE;
    p->pool_left -= PAGE_SIZE;
    return table;
}

bool paging_init(struct paging *p, bool nx, bool gigabyte)
{
    *p = (struct paging){.nx = nx, .gigabyte = gigabyte};
    p->root = new_table(p);
    return p->root != NULL;
}

static u64 leaf(const struct paging *p, u64 pa, u32 prot, u32 level)
{
    return pa | PTE_PRESENT | (prot & BOOT_SEG_W ? PTE_WRITE : 0) | (level > 1 ? PTE_LARGE : 0) |
           (p->nx && !(prot & BOOT_SEG_X) ? PTE_NX : 0);
}

/* May a page of this level (1: 4 KiB, 2: 2 MiB, 3: 1 GiB) start here? */
static bool fits(const struct paging *p, u64 va, u64 pa, u64 len, u32 level)
{
    u64 size = PAGE_SIZE << (9 * (level - 1));

    return level == 1 ||
           (level <= (p->gigabyte ? 3u : 2u) && ((va | pa) & (size - 1)) == 0 && len >= size);
}

/* Map one page at va, as large as can be; its size in bytes, 0: no memory. */
static u64 map_one(struct paging *p, u64 va, u64 pa, u64 len, u32 prot)
{
    u64 *table = p->root;

    for (u32 level = 4;; level--) {
        u64 *entry = &table[va >> (12 + 9 * (level - 1)) & 511];
        u64 size = PAGE_SIZE << (9 * (level - 1));
        if ((*entry & PTE_PRESENT) && (level == 1 || (*entry & PTE_LARGE)))
            return size - (va & (size - 1)); /* there already */
        if (!(*entry & PTE_PRESENT) && level < 4 && fits(p, va, pa, len, level)) {
            *entry = leaf(p, pa, prot, level);
            return size;
        }
        if (!(*entry & PTE_PRESENT)) {
            u64 *lower = new_table(p);
            if (!lower)
                return 0;
            *entry = (u64)lower | PTE_PRESENT | PTE_WRITE;
        }
        table = (u64 *)(*entry & PTE_ADDRESS);
    }
}

bool paging_map(struct paging *p, u64 va, u64 pa, u64 len, u32 prot)
{
    while (len) {
        u64 done = map_one(p, va, pa, len, prot);
        if (done == 0)
            return false;
        done = MIN(done, len);
        va += done;
        pa += done;
        len -= done;
    }
    return true;
}

/* RSDP and SMBIOS may lie in reserved memory, but never far up; a reserved range above 4 GiB is
 * address space, not memory. */
static bool is_memory(const struct boot_region *r)
{
    return r->type <= BOOT_MEM_FIRMWARE || (r->type == BOOT_MEM_RESERVED && r->base < 4 * GIB);
}

bool paging_map_memory(struct paging *p, const struct boot_region *regions, u32 count)
{
    if (!paging_map(p, 0, 0, PAGE_2M, BOOT_SEG_R | BOOT_SEG_W))
        return false;
    for (u32 i = 0; i < count; i++) {
        /* Whole large pages: what they cover beside memory is left to the MTRRs. */
        u64 start = ROUND_DOWN(regions[i].base, PAGE_2M);
        u64 end = ROUND_UP(regions[i].base + regions[i].len, PAGE_2M);
        if (is_memory(&regions[i]) &&
            !paging_map(p, start, start, end - start, BOOT_SEG_R | BOOT_SEG_W))
            return false;
    }
    return true;
}

bool paging_map_image(struct paging *p, const struct boot_image *image)
{
    for (u32 i = 0; i < image->segment_count; i++) {
        const struct boot_segment *s = &image->segments[i];
        if (!paging_map(p, s->vaddr, s->paddr, ROUND_UP(s->memsz, PAGE_SIZE), s->prot))
            return false;
    }
    return true;
}
