/* A guest's PCI bus: configuration space, decoding of BARs, interrupts; called from the tables of
 * exits.c and by device models. */
#include "vmm/pci.h"

#include <string.h>

#include "vmm/chipset.h"
#include "vmm/exits.h"
#include "vmm/ioapic.h"
#include "vmm/platform.h"
#include "vmm/vm.h"

#define CF8_ENABLE BIT(31)
#define MSIX_ENABLE BIT(15)
#define MSIX_MASK_ALL BIT(14)
#define MSIX_CONTROL (MSIX_ENABLE | MSIX_MASK_ALL)
#define MSIX_PBA 0x800u

static void flush_pending(struct pci_device *d);

static bool is_open(const struct pci_state *s, u32 offset)
{
    return offset >= s->open_at && offset - s->open_at < s->open_len;
}

/* The host bridge is a row of identity and nothing else. */
static const struct pci_identity host_bridge = {0x1b36, 0x0008, 0x1100, 0x060000, 0};

void pci_attach(struct pci_bus *bus, struct pci_device *d)
{
    bus->slot[d->slot] = d;
}

void pci_detach(struct pci_bus *bus, struct pci_device *d)
{
    bus->slot[d->slot] = NULL;
}

void pci_reset(struct vm *vm)
{
    vm->state->pci_address = 0;
    for (u32 i = 0; i < PCI_SLOTS; i++) {
        struct pci_device *d = vm->pci.slot[i];
        if (d)
            d->ops->reset(d);
    }
}

/* ---- configuration space ----------------------------------------------------------------------
 */

u16 pci_get16(const struct pci_state *s, u32 offset)
{
    u16 value;
    memcpy(&value, s->config + offset, sizeof(value));
    return value;
}

u32 pci_get32(const struct pci_state *s, u32 offset)
{
    u32 value;
    memcpy(&value, s->config + offset, sizeof(value));
    return value;
}

void pci_put16(struct pci_state *s, u32 offset, u16 value)
{
    memcpy(s->config + offset, &value, sizeof(value));
}

void pci_put32(struct pci_state *s, u32 offset, u32 value)
{
    memcpy(s->config + offset, &value, sizeof(value));
}

static void put_identity(struct pci_state *s, const struct pci_identity *id)
{
    pci_put16(s, PCI_VENDOR_ID, id->vendor);
    pci_put16(s, PCI_DEVICE_ID, id->device);
    pci_put32(s, PCI_REVISION, id->class << 8 | id->revision);
    pci_put16(s, PCI_SUBSYSTEM_VENDOR, id->vendor);
    pci_put16(s, PCI_SUBSYSTEM_ID, id->subsystem);
}

void pci_config_init(struct pci_device *d, const struct pci_identity *id)
{
    struct pci_state *s = d->state;
    bool level = s->intx;
    if (level)
        pci_intx(d, false);
    memset(s, 0, sizeof(*s));
    put_identity(s, id);
    pci_put16(s, PCI_STATUS, PCI_STATUS_CAPS);
    s->config[PCI_INT_PIN] = 1;
    s->config[PCI_INT_LINE] = (u8)(PCI_PIN_BASE + d->slot % PCI_PINS);
    /* Firmware leaves BARs decoded; a kernel that is loaded without one expects the same. */
    pci_put16(s, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

void pci_config_bar(struct pci_device *d, u32 bar, u32 size, bool io, u32 at)
{
    u32 address = io ? (PCI_IO_BASE + d->slot * PCI_IO_SLOT + at) | PCI_BAR_IO
                     : (u32)PCI_MEM_BASE + d->slot * PCI_MEM_SLOT + at;
    d->state->bar_size[bar] = size;
    pci_put32(d->state, PCI_BAR0 + 4 * bar, address);
}

u8 pci_config_cap(struct pci_device *d, u8 id, u8 len)
{
    struct pci_state *s = d->state;
    u32 at = PCI_CAP_FIRST;
    u8 *link = &s->config[PCI_CAP_POINTER];
    /* The free space begins behind the last capability: its length is in byte 2 for vendor
     * capabilities (virtio 1.2, 4.1.4) and 12 for MSI-X. */
    while (*link) {
        at = *link;
        link = &s->config[at + 1];
        at += s->config[at] == PCI_CAP_MSIX ? 12 : s->config[at + 2];
    }
    *link = (u8)at;
    s->config[at] = id;
    if (id == PCI_CAP_VENDOR)
        s->config[at + 2] = len;
    return (u8)at;
}

void pci_config_msix(struct pci_device *d, u32 vectors, u32 bar)
{
    struct pci_state *s = d->state;
    u8 at = pci_config_cap(d, PCI_CAP_MSIX, 12);
    s->msix_cap = at;
    pci_put16(s, at + 2u, (u16)(vectors - 1));
    pci_put32(s, at + 4u, bar);
    pci_put32(s, at + 8u, 0x800 | bar);
    for (u32 i = 0; i < PCI_MSIX_MAX; i++)
        s->msix[i].control = 1;
}

/* Which bits of a byte of configuration space the guest may change. */
static u8 writable(const struct pci_state *s, u32 offset)
{
    if (offset == PCI_COMMAND)
        return PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    if (offset == PCI_COMMAND + 1)
        return PCI_COMMAND_NO_INTX >> 8;
    if (offset == PCI_INT_LINE)
        return 0xff;
    if (offset >= PCI_BAR0 && offset < PCI_BAR0 + 4 * PCI_BARS) {
        u32 size = s->bar_size[(offset - PCI_BAR0) / 4];
        return size ? (u8)(~(size - 1) >> (8 * (offset & 3))) : 0;
    }
    if (s->msix_cap && offset == s->msix_cap + 3u)
        return MSIX_CONTROL >> 8;
    return is_open(s, offset) ? 0xff : 0;
}

static u32 config_read(struct pci_device *d, u32 offset, u8 size)
{
    u32 value = 0;
    if (is_open(d->state, offset) && d->ops->config_read)
        d->ops->config_read(d, offset, size);
    memcpy(&value, d->state->config + offset, size);
    return value;
}

static void config_write(struct pci_device *d, u32 offset, u8 size, u32 value)
{
    struct pci_state *s = d->state;
    for (u32 i = 0; i < size; i++) {
        u8 mask = writable(s, offset + i), *byte = &s->config[offset + i];
        *byte = (u8)((*byte & ~mask) | (value >> (8 * i) & mask));
    }
    if (is_open(s, offset) && d->ops->config_wrote)
        d->ops->config_wrote(d, offset, size);
    if (offset < PCI_BAR0 + 4 * PCI_BARS && d->ops->moved)
        d->ops->moved(d);
    pci_intx(d, s->intx); /* INTx may have been switched on or off */
    flush_pending(d);
}

/* In a VM with firmware. */
static bool read_chipset(const struct vm *vm, u32 bdf, u32 offset, u8 size, u32 *value)
{
    u8 byte;
    *value = 0;
    for (u32 i = 0; i < size; i++) {
        if (!vm->firmware || !chipset_read(bdf, offset + i, &byte))
            return false;
        *value |= (u32)byte << (8 * i);
    }
    return true;
}

/* Configuration space of bus 0 by register; what is not there reads as ones.  Accesses do not
 * cross a doubleword (PCI 3.0, 3.2.2.3.2). */
static u32 bus_config_read(struct vm *vm, u32 bdf, u32 offset, u8 size)
{
    u32 slot = bdf >> 3, value;
    if ((offset & 3) + size > 4)
        return ~0u;
    if (read_chipset(vm, bdf, offset, size, &value))
        return value;
    if ((bdf & 7) || slot >= PCI_SLOTS)
        return ~0u;
    if (offset >= PCI_CONFIG_SIZE)
        return slot == 0 || vm->pci.slot[slot] ? 0 : ~0u;
    if (slot == 0) {
        struct pci_state bridge = {0};
        value = 0;
        put_identity(&bridge, &host_bridge);
        memcpy(&value, bridge.config + offset, size);
        return value;
    }
    return vm->pci.slot[slot] ? config_read(vm->pci.slot[slot], offset, size) : ~0u;
}

static void bus_config_write(struct vm *vm, u32 bdf, u32 offset, u8 size, u32 value)
{
    u32 slot = bdf >> 3;
    if ((bdf & 7) || slot >= PCI_SLOTS || offset >= PCI_CONFIG_SIZE || (offset & 3) + size > 4)
        return;
    if (vm->pci.slot[slot])
        config_write(vm->pci.slot[slot], offset, size, value);
}

u32 pci_config_in(struct vm *vm, u16 port, u8 size)
{
    u32 address = vm->state->pci_address;
    if (port == 0xcf8)
        return size == 4 ? address : ~0u;
    if (port < 0xcfc || !(address & CF8_ENABLE) || (address >> 16 & 0xff))
        return ~0u;
    return bus_config_read(vm, address >> 8 & 0xff, (address & 0xfc) + (port & 3u), size);
}

void pci_config_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    u32 address = vm->state->pci_address;
    if (port == 0xcf8 && size == 4)
        vm->state->pci_address = value & 0x80fffffc;
    else if (port >= 0xcfc && (address & CF8_ENABLE) && !(address >> 16 & 0xff))
        bus_config_write(vm, address >> 8 & 0xff, (address & 0xfc) + (port & 3u), size, value);
}

u64 pci_ecam_read(struct vm *vm, u64 gpa, u8 size)
{
    u32 at = (u32)(gpa - PCI_ECAM_BASE);
    return bus_config_read(vm, at >> 12, at & 0xfff, size);
}

void pci_ecam_write(struct vm *vm, u64 gpa, u8 size, u64 value)
{
    u32 at = (u32)(gpa - PCI_ECAM_BASE);
    bus_config_write(vm, at >> 12, at & 0xfff, size, (u32)value);
}

/* ---- decoding ---------------------------------------------------------------------------------
 */

static bool decodes(const struct pci_state *s, u32 bar, bool io, u64 at, u8 size, u32 *offset)
{
    u32 value = pci_get32(s, PCI_BAR0 + 4 * bar), len = s->bar_size[bar];
    u32 base = value & ~(io ? 3u : 15u);
    if (!len || !!(value & PCI_BAR_IO) != io || at < base || at - base > len - size)
        return false;
    if (!(pci_get16(s, PCI_COMMAND) & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return false;
    *offset = (u32)(at - base);
    return true;
}

static struct pci_device *find(struct vm *vm, bool io, u64 at, u8 size, u32 *bar, u32 *offset)
{
    for (u32 slot = 1; slot < PCI_SLOTS; slot++) {
        struct pci_device *d = vm->pci.slot[slot];
        for (*bar = 0; d && *bar < PCI_BARS; ++*bar) {
            if (decodes(d->state, *bar, io, at, size, offset))
                return d;
        }
    }
    return NULL;
}

static void unclaimed(struct vm *vm, bool io, u64 at, u8 size, const char *what)
{
    if (io)
        exits_unclaimed_port(vm, (u16)at, size, what);
    else
        exits_unclaimed_page(vm, at, what);
}

static u64 bar_read(struct vm *vm, bool io, u64 at, u8 size)
{
    u32 bar, offset;
    struct pci_device *d = find(vm, io, at, size, &bar, &offset);
    if (d)
        return d->ops->read(d, bar, offset, size);
    unclaimed(vm, io, at, size, "read");
    return ~0ull;
}

static void bar_write(struct vm *vm, bool io, u64 at, u8 size, u64 value)
{
    u32 bar, offset;
    struct pci_device *d = find(vm, io, at, size, &bar, &offset);
    if (d)
        d->ops->write(d, bar, offset, size, value);
    else
        unclaimed(vm, io, at, size, "write");
}

u32 pci_port_in(struct vm *vm, u16 port, u8 size)
{
    return (u32)bar_read(vm, true, port, size);
}

void pci_port_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    bar_write(vm, true, port, size, value);
}

u64 pci_mem_read(struct vm *vm, u64 gpa, u8 size)
{
    return bar_read(vm, false, gpa, size);
}

void pci_mem_write(struct vm *vm, u64 gpa, u8 size, u64 value)
{
    bar_write(vm, false, gpa, size, value);
}

/* ---- interrupts -------------------------------------------------------------------------------
 */

static u16 msix_control(const struct pci_state *s)
{
    return s->msix_cap ? pci_get16(s, s->msix_cap + 2u) : 0;
}

static u32 msix_count(const struct pci_state *s)
{
    return s->msix_cap ? (msix_control(s) & 0x7ffu) + 1 : 0;
}

bool pci_msix(struct pci_device *d, u32 vector)
{
    struct pci_state *s = d->state;
    u16 control = msix_control(s);
    if (!(control & MSIX_ENABLE))
        return false;
    if (vector >= msix_count(s))
        return true; /* the driver wants none */
    if ((control & MSIX_MASK_ALL) || (s->msix[vector].control & 1))
        s->msix_pending |= (u16)BIT(vector);
    else if ((pci_get16(s, PCI_COMMAND) & PCI_COMMAND_MASTER) && !(s->msix[vector].address >> 32))
        platform_msi(d->vm, (u32)s->msix[vector].address, s->msix[vector].data);
    return true;
}

static void flush_pending(struct pci_device *d)
{
    struct pci_state *s = d->state;
    u32 pending = s->msix_pending;
    if (!(msix_control(s) & MSIX_ENABLE))
        return;
    s->msix_pending = 0;
    for (; pending; pending &= pending - 1)
        (void)pci_msix(d, (u32)__builtin_ctz(pending)); /* sets its bit again if still masked */
}

static bool asserts(const struct pci_device *d)
{
    const struct pci_state *s = d->state;
    return s->intx && !(pci_get16(s, PCI_COMMAND) & PCI_COMMAND_NO_INTX) &&
           !(msix_control(s) & MSIX_ENABLE);
}

void pci_intx(struct pci_device *d, bool level)
{
    struct pci_state *s = d->state;
    u32 pin = d->slot % PCI_PINS;
    bool any = false;
    s->intx = level;
    s->config[PCI_STATUS] =
        (u8)((s->config[PCI_STATUS] & ~PCI_STATUS_INTX) | (level ? PCI_STATUS_INTX : 0));
    for (u32 slot = pin; slot < PCI_SLOTS; slot += PCI_PINS) {
        const struct pci_device *other = d->vm->pci.slot[slot];
        any |= other && asserts(other);
    }
    ioapic_set_irq(d->vm, PCI_PIN_BASE + pin, any);
}

/* Table entries of 16 bytes (PCI 3.0, 6.8.2.6), then the PBA. */
u64 pci_msix_read(struct pci_device *d, u32 offset, u8 size)
{
    struct pci_state *s = d->state;
    u64 value = 0;
    if (offset + size <= msix_count(s) * sizeof(s->msix[0]))
        memcpy(&value, (const u8 *)s->msix + offset, size);
    else if (offset == MSIX_PBA)
        value = s->msix_pending;
    return value;
}

void pci_msix_write(struct pci_device *d, u32 offset, u8 size, u64 value)
{
    struct pci_state *s = d->state;
    if ((size != 4 && size != 8) || offset % size || /* 6.8.2: whole words */
        offset + size > msix_count(s) * sizeof(s->msix[0]))
        return;
    memcpy((u8 *)s->msix + offset, &value, size);
    s->msix[offset / 16].control &= 1;
    flush_pending(d);
}
