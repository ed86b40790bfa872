/* Who speaks for a function behind bridges.  Called by pci.c in its fiber, and by the tests. */
#include "drivers/pci_bridge.h"

#include "control/rt/sys.h"
#include "drivers/pci.h"

#define HEADER_BRIDGE 1u
#define SECONDARY 0x19u /* PCI-to-PCI Bridge 1.2, 3.2.5.4 */
#define CAP_EXPRESS 0x10u
#define TO_PCI 7u /* device type: PCI Express Base 7.5.3.2 */

static u32 read8(u32 function, u32 at)
{
    return (u32)sys_pci_read(function, at, 1) & 0xff;
}

/* The bridge to that bus, which is on one with a lower number; 0: none, it is a root's. */
static u32 bridge_to(u32 bus)
{
    for (u32 f = 0; f < bus << 8; f++) {
        u32 header = read8(f, PCI_HEADER);
        if ((header & 0x7f) == HEADER_BRIDGE && read8(f, SECONDARY) == bus)
            return f;
        if (f % 8 == 0 && (header == 0xff || !(header & PCI_HEADER_MULTI)))
            f += 7;
    }
    return 0;
}

static u32 express_capability(u32 function)
{
    if (!(sys_pci_read(function, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES))
        return 0;
    u32 at = read8(function, PCI_CAPABILITIES) & 0xfcu;
    for (u32 i = 0; at >= 0x40 && i < 48; i++) { /* a list may be a ring */
        if (read8(function, at) == CAP_EXPRESS)
            return at;
        at = read8(function, at + 1) & 0xfcu;
    }
    return 0;
}

/* VT-d 3.4.1: a bridge from PCI Express speaks as slot 0 of the bus behind it, one between buses of
 * PCI as itself; ports of PCI Express change nothing. */
u16 pci_bridge_source(u16 function)
{
    u32 source = function, bus = function >> 8, bridge;

    while (bus && (bridge = bridge_to(bus)) != 0) {
        u32 express = express_capability(bridge);
        if (!express)
            source = bridge;
        else if ((read8(bridge, express + 2) >> 4 & 15) == TO_PCI)
            source = bus << 8;
        bus = bridge >> 8;
    }
    return (u16)source;
}
