/* I/O APIC redirection entries (82093AA 3.2).  Boot CPU at boot, later any core: one lock. */
#include "kernel/ioapic.h"

#include "kernel/host.h"
#include "kernel/log.h"
#include "kernel/paging.h"
#include "kernel/spinlock.h"
#include "kernel/x86.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY(n) (0x10 + 2 * (n))
#define ENTRY_LOW_ACTIVE BIT(13)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)

static struct {
    volatile u8 *registers;
    u32 gsi_base, count;
} ioapics[BOOT_IOAPICS];
static struct spinlock lock;

static u32 ioapic_read(u32 i, u32 reg)
{
    mmio_write32(ioapics[i].registers + REG_SELECT, reg);
    return mmio_read32(ioapics[i].registers + REG_WINDOW);
}

static void ioapic_write(u32 i, u32 reg, u32 value)
{
    mmio_write32(ioapics[i].registers + REG_SELECT, reg);
    mmio_write32(ioapics[i].registers + REG_WINDOW, value);
}

void ioapic_init(void)
{
    for (u32 i = 0; i < host_platform.ioapic_count; i++) {
        ioapics[i].registers = paging_map_mmio(HPA(host_platform.ioapics[i].address), PAGE_SIZE);
        ioapics[i].gsi_base = host_platform.ioapics[i].gsi_base;
        u32 version = ioapic_read(i, IOAPIC_VERSION);
        if (version == ~0u) {
            log_warn("no I/O APIC answers at %lx: the console is polled",
                     host_platform.ioapics[i].address);
            continue;
        }
        ioapics[i].count = (version >> 16 & 0xff) + 1;
        for (u32 n = 0; n < ioapics[i].count; n++) {
            ioapic_write(i, IOAPIC_ENTRY(n), ENTRY_MASKED);
            ioapic_write(i, IOAPIC_ENTRY(n) + 1, 0);
        }
    }
}

/* Writes one entry's low half, and its high half before that if `high` is given. */
static bool set_entry(u32 gsi, u64 keep, u64 set, const u32 *high)
{
    bool found = false;

    spin_lock(&lock);
    for (u32 i = 0; i < host_platform.ioapic_count && !found; i++) {
        u32 n = gsi - ioapics[i].gsi_base;
        found = n < ioapics[i].count;
        if (found && high)
            ioapic_write(i, IOAPIC_ENTRY(n) + 1, *high);
        if (found)
            ioapic_write(i, IOAPIC_ENTRY(n),
                         (u32)((keep ? ioapic_read(i, IOAPIC_ENTRY(n)) & keep : 0) | set));
    }
    spin_unlock(&lock);
    return found;
}

bool ioapic_route(u32 gsi, u32 vector, u32 target, bool level, bool active_low)
{
    return set_entry(
        gsi, 0, vector | (level ? ENTRY_LEVEL : 0) | (active_low ? ENTRY_LOW_ACTIVE : 0), &target);
}

void ioapic_mask(u32 gsi, bool masked)
{
    (void)set_entry(gsi, ~ENTRY_MASKED, masked ? ENTRY_MASKED : 0, NULL);
}
