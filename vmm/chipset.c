/* The chipset's PCI functions; called by pci.c.  Pure. */
#include "vmm/chipset.h"

#include "vmm/acpi_pm.h"
#include "vmm/pci.h"

#define INTEL 0x8086
#define MULTI_FUNCTION 0x80
#define HEADER_TYPE 0x0e
#define PIIX4_PM_BASE 0x40
#define PIIX4_PM_MISC 0x80 /* bit 0: the ports at the base are on */

static const struct chip {
    u8 function;
    u8 header;
    u16 device;
    u32 class;
    u8 revision;
    u16 pm_base;
} chips[] = {
    {.function = 0, .device = 0x1237, .class = 0x060000, .revision = 2},
    {.function = 1 << 3, .device = 0x7000, .class = 0x060100, .header = MULTI_FUNCTION},
    {.function = 1 << 3 | 3,
     .device = 0x7113,
     .class = 0x068000,
     .revision = 3,
     .pm_base = ACPI_PM1_EVENT},
};

static u32 word(const struct chip *c, u32 offset)
{
    switch (offset) {
    case PCI_VENDOR_ID:
        return (u32)c->device << 16 | INTEL;
    case PCI_COMMAND:
        return PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    case PCI_REVISION:
        return c->class << 8 | c->revision;
    case HEADER_TYPE & ~3:
        return (u32)c->header << 16;
    case PIIX4_PM_BASE:
        return c->pm_base ? c->pm_base | PCI_BAR_IO : 0;
    case PIIX4_PM_MISC:
        return c->pm_base ? 1 : 0;
    default:
        return 0;
    }
}

bool chipset_read(u32 function, u32 offset, u8 *value)
{
    for (u32 i = 0; i < ARRAY_LEN(chips); i++) {
        if (chips[i].function != function)
            continue;
        *value = (u8)(word(&chips[i], offset & ~3u) >> (8 * (offset & 3)));
        return true;
    }
    return false;
}
