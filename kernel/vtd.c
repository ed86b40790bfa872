/* VT-d in legacy mode with queued invalidation.  Changed at boot and on the control thread's core;
 * vtd_fault() runs on the boot CPU. */
#include "kernel/vtd.h"

#include "kernel/apic.h"
#include "kernel/host.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/timer.h"
#include "kernel/x86.h"

enum vtd_register { /* VT-d chapter 11.4 */
                    REG_CAP = 0x08,
                    REG_ECAP = 0x10,
                    REG_GCMD = 0x18,
                    REG_GSTS = 0x1c,
                    REG_RTADDR = 0x20,
                    REG_FSTS = 0x34,
                    REG_FECTL = 0x38,
                    REG_FEDATA = 0x3c,
                    REG_FEADDR = 0x40,
                    REG_FEUADDR = 0x44,
                    REG_PMEN = 0x64,
                    REG_IQT = 0x88,
                    REG_IQA = 0x90,
                    REG_IRTA = 0xb8,
};
#define CAP_39_BIT BIT(9) /* SAGAW */
#define CAP_48_BIT BIT(10)
#define CAP_FRO BITS(33, 24)
#define CAP_2M BIT(34)
#define CAP_NFR BITS(47, 40)
#define ECAP_COHERENT BIT(0)
#define ECAP_QUEUE BIT(1)
#define ECAP_REMAP BIT(3)
#define ECAP_X2APIC BIT(4)
/* GCMD and GSTS have the same bits. */
#define ON_TRANSLATION BIT(31)
#define ON_ROOT BIT(30)
#define ON_QUEUE BIT(26)
#define ON_REMAP BIT(25)
#define ON_REMAP_TABLE BIT(24)
#define ONE_SHOT (ON_ROOT | ON_REMAP_TABLE | BIT(29) | BIT(27)) /* not to be written back */
#define FAULT_VALID BIT(63)
#define FAULT_READ BIT(62)

#define QUEUE_ENTRIES 256
/* Descriptors of VT-d 6.5.2: everything of one kind, and a wait that stores a word. */
#define FORGET_CONTEXTS 0x11
#define FORGET_TRANSLATIONS 0xd2
#define FORGET_INTERRUPTS 0x04
#define WAIT_AND_STORE (0x25 | BIT(32))

#define DOMAIN 1
struct pair {
    u64 low, high;
};

static struct unit {
    volatile u8 *registers;
    u64 cap, ecap;
    struct pair *queue;
    u32 tail;
} units[BOOT_IOMMUS];
static u32 unit_count;
static struct pgtab domain;
static struct pair *roots, *remaps;
static volatile u32 *done;    /* what a wait stores into */
static u64 all_cap, all_ecap; /* what every unit has */
static u64 faults;

static u64 read64(const struct unit *u, u32 at)
{
    return mmio_read32(u->registers + at) | (u64)mmio_read32(u->registers + at + 4) << 32;
}

static void write64(const struct unit *u, u32 at, u64 value)
{
    mmio_write32(u->registers + at, (u32)value);
    mmio_write32(u->registers + at + 4, (u32)(value >> 32));
}

/* Frames must not change owner while a unit may still use what it remembers of them. */
static NORETURN void silent(u64 base)
{
    panic("IOMMU unit %lu does not answer. Try: switch VT-d off in firmware setup", base);
}

static void command(struct unit *u, u64 bit)
{
    u64 end = tsc_read() + tsc_hz;
    u32 now = mmio_read32(u->registers + REG_GSTS);

    mmio_write32(u->registers + REG_GCMD, (u32)((now & ~ONE_SHOT) | bit));
    while (!(mmio_read32(u->registers + REG_GSTS) & bit))
        if (tsc_read() > end)
            silent((u64)(u - units));
}

static void enqueue(struct unit *u, u64 low, u64 high)
{
    u->queue[u->tail] = (struct pair){low, high};
    u->tail = (u->tail + 1) % QUEUE_ENTRIES;
}

static void forget(struct unit *u)
{
    u64 end = tsc_read() + tsc_hz;

    *done = 0;
    enqueue(u, FORGET_CONTEXTS, 0);
    enqueue(u, FORGET_TRANSLATIONS, 0);
    if (all_ecap & ECAP_REMAP)
        enqueue(u, FORGET_INTERRUPTS, 0);
    enqueue(u, WAIT_AND_STORE, virt_to_phys((void *)done).raw);
    if (!(u->ecap & ECAP_COHERENT)) /* it reads memory past the caches */
        asm volatile("wbinvd" : : : "memory");
    mmio_write32(u->registers + REG_IQT, u->tail * sizeof(struct pair));
    while (!*done)
        if (tsc_read() > end)
            silent((u64)(u - units));
}

static void forget_all(void)
{
    for (u32 i = 0; i < unit_count; i++)
        forget(&units[i]);
}

/* A 39-bit unit starts a level lower: with the table of the first 512 GiB. */
static bool wide(void)
{
    return all_cap & CAP_48_BIT;
}

enum hv_status vtd_attach(u16 function)
{
    if (!unit_count)
        return HV_OK;
    struct pair *root = &roots[function >> 8];
    if (!root->low) {
        struct pair *contexts = mem_page(&quota_kernel);
        if (!contexts)
            return HV_ENOMEM;
        root->low = virt_to_phys(contexts).raw | 1;
    }
    struct pair *context = phys_to_virt(HPA(root->low & ~(PAGE_SIZE - 1)));
    u64 table = wide() ? domain.root.raw : pgtab_top_entry(&domain, 0) & BITS(51, 12);
    /* VT-d 9.3: address width, domain; then the table, translated by it, present. */
    context[function & 0xff].high = DOMAIN << 8 | (wide() ? 2 : 1);
    context[function & 0xff].low = table | 1;
    forget_all();
    return HV_OK;
}

enum hv_status vtd_map(u64 address, u64 len)
{
    if (!unit_count)
        return HV_OK;
    if (address + len > domain.address_limit)
        return HV_E2BIG;
    enum hv_status status = pgtab_map(&domain, address, address, len, PG_R | PG_W);
    if (status == HV_OK)
        forget_all(); /* a unit in caching mode remembers what is not there, too */
    return status;
}

void vtd_detach_all(void)
{
    if (!unit_count)
        return;
    for (u32 bus = 0; bus < 256; bus++)
        if (roots[bus].low) {
            struct pair *context = phys_to_virt(HPA(roots[bus].low & ~(PAGE_SIZE - 1)));
            for (u32 i = 0; i < PAGE_SIZE / sizeof(*context); i++)
                context[i].low = 0;
        }
    for (u32 i = 0; i < VTD_WATCHDOG; i++)
        remaps[i].low = 0;
    if (pgtab_unmap(&domain, 0, domain.address_limit) != HV_OK) /* whole leaves only */
        panic("IOMMU: cannot unmap");
    forget_all();
}

bool vtd_remap(u32 index, u32 vector, u32 apic_id, bool level, u32 function)
{
    if (!(all_ecap & ECAP_REMAP))
        return false;
    /* VT-d 9.10: fixed delivery; a message only from the function it was made for. */
    remaps[index].high = function == ~0u ? 0 : function | 1 << 18;
    remaps[index].low = (u64)(all_ecap & ECAP_X2APIC ? apic_id : apic_id << 8) << 32 |
                        vector << 16 | (vector == VECTOR_NMI ? BIT(7) : 0) | (level ? BIT(4) : 0) |
                        1;
    forget_all();
    return true;
}

bool vtd_has_registers(u64 base, u64 len)
{
    for (u32 i = 0; i < host_platform.iommu_count; i++)
        if (host_platform.iommus[i] + PAGE_SIZE > base && host_platform.iommus[i] < base + len)
            return true;
    return false;
}

static void report(u64 where, u64 what)
{
    u32 source = (u32)what & 0xffff, reason = (u32)(what >> 32) & 0xff;
    bool interrupt = reason >= 0x20;

    faults++;
    if (faults & (faults - 1)) /* the 1st, 2nd, 4th, 8th...: a device may never stop */
        return;
    log_error("IOMMU: %02x:%02x.%u: %s %lx blocked, reason %u (fault %lu)", source >> 8,
              source >> 3 & 31, source & 7,
              interrupt           ? "interrupt"
              : what & FAULT_READ ? "DMA read of"
                                  : "DMA write to",
              interrupt ? where >> 48 : where, reason, faults);
}

void vtd_fault(void)
{
    for (u32 n = 0; n < unit_count; n++) {
        struct unit *u = &units[n];
        u32 at = (u32)FIELD_GET(CAP_FRO, u->cap) * 16;
        for (u32 i = 0; i <= FIELD_GET(CAP_NFR, u->cap); i++, at += 16) {
            u64 what = read64(u, at + 8);
            if (!(what & FAULT_VALID))
                continue;
            report(read64(u, at), what);
            mmio_write32(u->registers + at + 12, (u32)(FAULT_VALID >> 32));
        }
        mmio_write32(u->registers + REG_FSTS, mmio_read32(u->registers + REG_FSTS));
    }
}

/* Registers of all units; false: one cannot be used, and then none is. */
static bool look(void)
{
    all_cap = all_ecap = ~0ull;
    for (u32 i = 0; i < host_platform.iommu_count; i++) {
        struct unit *u = &units[i];
        u->registers = paging_map_mmio(HPA(host_platform.iommus[i]), PAGE_SIZE);
        u->cap = read64(u, REG_CAP);
        u->ecap = read64(u, REG_ECAP);
        all_cap &= u->cap;
        all_ecap &= u->ecap;
        u64 end = (FIELD_GET(CAP_FRO, u->cap) + FIELD_GET(CAP_NFR, u->cap) + 1) * 16;
        if (u->cap == ~0ull || end > PAGE_SIZE || !(u->queue = mem_page(&quota_kernel)))
            return false;
    }
    if (!host_platform.interrupt_remapping)
        all_ecap &= ~ECAP_REMAP;
    return (all_ecap & ECAP_QUEUE) && (all_cap & (CAP_39_BIT | CAP_48_BIT));
}

static bool build_tables(void)
{
    if (pgtab_init(&domain, &pgtab_vtd, &quota_kernel, all_cap & CAP_2M, false) != HV_OK)
        return false;
    domain.address_limit = 1ull << (wide() ? 48 : 39);
    roots = mem_page(&quota_kernel);
    remaps = mem_page(&quota_kernel);
    done = mem_page(&quota_kernel);
    /* Leaves the table of the first 512 GiB behind, for 39-bit units. */
    return roots && remaps && done && pgtab_map(&domain, 0, 0, PAGE_SIZE, PG_R) == HV_OK &&
           pgtab_unmap(&domain, 0, PAGE_SIZE) == HV_OK;
}

static void switch_on(struct unit *u)
{
    u32 low = 0xfee00000u | (cpus[0]->apic_id & 0xff) << 12;

    write64(u, REG_IQA, virt_to_phys(u->queue).raw);
    mmio_write32(u->registers + REG_IQT, 0);
    command(u, ON_QUEUE);
    write64(u, REG_RTADDR, virt_to_phys(roots).raw);
    command(u, ON_ROOT);
    if (all_ecap & ECAP_REMAP) {
        write64(u, REG_IRTA, virt_to_phys(remaps).raw | (all_ecap & ECAP_X2APIC ? BIT(11) : 0) | 7);
        command(u, ON_REMAP_TABLE);
    }
    forget(u);
    command(u, ON_TRANSLATION);
    if (all_ecap & ECAP_REMAP)
        command(u, ON_REMAP);
    mmio_write32(u->registers + REG_PMEN, 0); /* the firmware's protection is not needed now */
    mmio_write32(u->registers + REG_FEDATA, VECTOR_IOMMU);
    mmio_write32(u->registers + REG_FEADDR, low);
    mmio_write32(u->registers + REG_FEUADDR, cpus[0]->apic_id & ~0xffu);
    mmio_write32(u->registers + REG_FECTL, 0);
}

void vtd_init(void)
{
    u32 count = host_platform.iommu_count;

    if (count && look() && build_tables()) {
        unit_count = count;
        for (u32 i = 0; i < count; i++)
            switch_on(&units[i]);
    } else {
        all_ecap = 0;
    }
    host_info->iommu = (count ? HOST_IOMMU_FOUND : 0) | (unit_count ? HOST_IOMMU_ON : 0) |
                       (all_ecap & ECAP_REMAP ? HOST_IOMMU_REMAP : 0);
}
