/* IDE controllers: PCI IDE Controller Specification 1.0.  Called by pci.c; its channels do the
 * work. */
#include "drivers/ide.h"

#include <stdlib.h>

#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "drivers/driver.h"
#include "drivers/ide_channel.h"
#include "drivers/pci.h"

#define CHANNELS 2
#define CHANNEL_PORTS 8
#define MASTER_BAR 4
#define MASTER_PORTS 8 /* a channel */
#define INTERFACE_MASTER 0x80u
#define CONTROL_NATIVE 2u /* where the control register is from a base address */

static const u32 lines[CHANNELS] = {14, 15};

static bool is_native(const struct pci_device *pci, u32 n)
{
    return pci->class_code >> (2 * n) & 1;
}

/* NULL: the channel is not there. */
static struct ide_channel *new_channel(struct pci_device *pci, u32 n)
{
    if (pci_map(pci, 2 * n, CHANNEL_PORTS) != HV_OK || !pci->bars[2 * n].port ||
        pci_map(pci, 2 * n + 1, 1) != HV_OK || !pci->bars[2 * n + 1].port)
        return NULL;
    struct ide_channel *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->command = pci->bars[2 * n].port;
    c->control = (u16)(pci->bars[2 * n + 1].port + (is_native(pci, n) ? CONTROL_NATIVE : 0));
    c->prds = dma_alloc(PAGE_SIZE);
    c->scratch = dma_alloc(ATA_IDENTIFY_LEN);
    if (!c->prds || !c->scratch) {
        dma_free(c->prds, PAGE_SIZE);
        dma_free(c->scratch, ATA_IDENTIFY_LEN);
        free(c);
        return NULL;
    }
    if ((pci->class_code & INTERFACE_MASTER) &&
        pci_map(pci, MASTER_BAR, CHANNELS * MASTER_PORTS) == HV_OK &&
        dma_address(c->prds) + PAGE_SIZE <= 4 * GIB && dma_address(c->scratch) < 4 * GIB)
        c->master = (u16)(pci->bars[MASTER_BAR].port + n * MASTER_PORTS);
    return c;
}

static void serve_all(void *owner)
{
    struct ide_channel **channels = owner;

    for (u32 n = 0; n < CHANNELS; n++)
        if (channels[n])
            ide_channel_serve(channels[n]);
}

/* A channel has a line of its own where it lies at the old ports; otherwise PCI's serves both. */
static void take_interrupts(struct pci_device *pci, struct ide_channel **channels)
{
    if (is_native(pci, 0) || is_native(pci, 1)) {
        pci_interrupts(pci, 1);
        pci_on_interrupt(pci, 0, serve_all, channels);
        return;
    }
    pci_fixed_lines(pci, lines, CHANNELS);
    for (u32 n = 0; n < CHANNELS; n++)
        if (channels[n])
            pci_on_interrupt(pci, n, ide_channel_serve, channels[n]);
}

static bool attach_packet(struct ide_channel *c, u32 n)
{
    if (ata_packet_attach(c->units[n]->device))
        return true;
    c->units[n] = NULL;
    return false;
}

static enum hv_status probe(struct pci_device *pci)
{
    struct ide_channel **channels = calloc(CHANNELS, sizeof(*channels));
    u32 disks = 0;

    if (!channels)
        return HV_ENOMEM;
    pci->state = channels;
    pci_enable(pci);
    for (u32 n = 0; n < CHANNELS; n++) {
        channels[n] = new_channel(pci, n);
        if (channels[n])
            ide_channel_probe(channels[n]);
    }
    take_interrupts(pci, channels);
    for (u32 i = 0; i < 2 * CHANNELS;
         i++) /* drives of CDs first: they are asked while all is quiet */
        if (channels[i / 2] && channels[i / 2]->units[i % 2] &&
            channels[i / 2]->units[i % 2]->packet)
            disks += attach_packet(channels[i / 2], i % 2);
    for (u32 i = 0; i < 2 * CHANNELS; i++)
        if (channels[i / 2] && channels[i / 2]->units[i % 2] &&
            !channels[i / 2]->units[i % 2]->packet) {
            block_register(channels[i / 2]->units[i % 2]->device, "hd");
            disks++;
        }
    log_info("IDE: %u disks", disks);
    return HV_OK;
}

static const struct driver_id ids[] = {
    {DRIVER_ANY, DRIVER_ANY, 0x010100, 0xffff00, "IDE controller"},
    {0},
};
static const struct driver ide = {.name = "ide", .ids = ids, .probe = probe};
DRIVER(ide);
