/* I/O APIC redirection entries (82093AA 3.2) and silencing of the two 8259s.  Boot CPU at boot,
 * later the control thread's core under irq.c's lock. */
#include "kernel/ioapic.h"

#include "kernel/host.h"
#include "kernel/log.h"
#include "kernel/paging.h"
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

/* Both PICs to vectors 20H.., where nothing listens, and every line masked. */
static void mask_pics(void)
{
    static const struct {
        u16 port;
        u8 value;
    } sequence[] = {
        {0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28}, {0x21, 0x04},
        {0xa1, 0x02}, {0x21, 0x01}, {0xa1, 0x01}, {0x21, 0xff}, {0xa1, 0xff},
    };
    for (u32 i = 0; i < ARRAY_LEN(sequence); i++)
        outb(sequence[i].port, sequence[i].value);
}

void ioapic_init(void)
{
    mask_pics();
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
        log_info("I/O APIC at %lx: GSI %u to %u", host_platform.ioapics[i].address,
                 ioapics[i].gsi_base, ioapics[i].gsi_base + ioapics[i].count - 1);
    }
}

bool ioapic_route(u32 gsi, u32 vector, u32 apic_id, bool level, bool active_low)
{
    for (u32 i = 0; i < host_platform.ioapic_count; i++) {
        u32 n = gsi - ioapics[i].gsi_base;
        if (n >= ioapics[i].count)
            continue;
        ioapic_write(i, IOAPIC_ENTRY(n) + 1, apic_id << 24);
        ioapic_write(
            i, IOAPIC_ENTRY(n),
            (u32)(vector | (level ? ENTRY_LEVEL : 0) | (active_low ? ENTRY_LOW_ACTIVE : 0)));
        return true;
    }
    return false;
}
