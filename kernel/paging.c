/* The host's page tables, built once at boot by the boot CPU; other CPUs only load them. */
#include "kernel/paging.h"

#include "kernel/log.h"
#include "kernel/string.h"
#include "kernel/x86.h"

struct pgtab paging_host;

static u64 next_mmio = KERNEL_MMIO_BASE;

void paging_early(void)
{
    write_cr0(read_cr0() & ~CR0_WP);
    u64 *root = (u64 *)(read_cr3() & BITS(51, 12)); /* mapped one-to-one, as all memory is */
    for (u64 i = 0; i < PHYSMAP_SIZE >> 39; i++)
        root[(PHYSMAP_BASE >> 39) % 512 + i] = root[i];
}

static void must_map(u64 va, u64 pa, u64 len, u32 attr)
{
    enum hv_status status = pgtab_map(&paging_host, va, pa, len, attr | PG_R | PG_GLOBAL);
    if (status != HV_OK)
        panic("cannot map %lx bytes at %lx to %lx: status %d", len, va, pa, status);
}

static void map_image(const struct boot_image *image)
{
    for (u32 i = 0; i < image->segment_count; i++) {
        const struct boot_segment *s = &image->segments[i];
        must_map(s->vaddr, s->paddr, ROUND_UP(s->memsz, PAGE_SIZE),
                 (s->prot & BOOT_SEG_W ? PG_W : 0) | (s->prot & BOOT_SEG_X ? PG_X : 0));
    }
}

static void map_regions(const struct boot_info *bi)
{
    for (u32 i = 0; i < bi->region_count; i++) {
        const struct boot_region *r = &bi->regions[i];
        if (r->type <= BOOT_MEM_IMAGE && r->base + r->len <= PHYSMAP_SIZE)
            must_map(PHYSMAP_BASE + r->base, r->base, r->len, PG_W);
    }
}

void paging_init(const struct boot_info *bi)
{
    bool big = cpuid(0x80000001, 0).edx & BIT(26);
    if (!(cpuid(0x80000001, 0).edx & BIT(20)))
        panic("the CPU cannot mark pages non-executable. Try: enable NX (XD) in firmware setup");
    if (pgtab_init(&paging_host, &pgtab_host, &quota_kernel, true, big) != HV_OK)
        panic("no memory for page tables");
    map_image(&bi->kernel);
    map_regions(bi);
    paging_cpu_init();
}

void paging_cpu_init(void)
{
    u32 leaf7 = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).ebx : 0;
    u32 leaf7c = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).ecx : 0;

    wrmsr(MSR_EFER, (rdmsr(MSR_EFER) | EFER_NXE) & ~EFER_SCE);
    wrmsr(MSR_PAT, RESET_PAT); /* PWT|PCD selects UC */
    /* PGE, PCIDE off while CR3 changes: nothing of the loader's map stays in the TLB. */
    write_cr4(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT);
    write_cr3(paging_host.root.raw);
    write_cr0((read_cr0() & CR0_PG) | BIT(0) | BIT(4) | CR0_MP | CR0_NE | CR0_WP);
    write_cr4(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PGE | CR4_MCE | CR4_DE |
              (leaf7 & BIT(7) ? CR4_SMEP : 0) | (leaf7 & BIT(20) ? CR4_SMAP : 0) |
              (leaf7c & BIT(2) ? CR4_UMIP : 0));
}

void paging_patch(void *at, const void *bytes, u64 len)
{
    u64 cr0 = read_cr0();

    write_cr0(cr0 & ~CR0_WP);
    memcpy(at, bytes, len);
    write_cr0(cr0);
}

volatile void *paging_map_mmio(hpa_t at, u64 len)
{
    u64 offset = at.raw % PAGE_SIZE;
    u64 va = next_mmio;
    len = ROUND_UP(len + offset, PAGE_SIZE);
    must_map(va, at.raw - offset, len, PG_W | PG_UC);
    next_mmio += len;
    return (volatile void *)(va + offset);
}

void paging_alloc(u64 va, u64 len, u32 attr)
{
    if (pgtab_alloc(&paging_host, va, len, attr | PG_R | PG_GLOBAL, PAGE_SIZE) != HV_OK)
        panic("no memory for kernel data at %lx", va);
}
