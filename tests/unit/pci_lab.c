/* One vector, one window; time passes while a register is waited for.  Linked into unit tests of
 * drivers. */
#include "tests/unit/pci_lab.h"

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/mmio.h"

volatile u8 *pci_lab_window;
u64 pci_lab_len;
u32 pci_lab_silenced;
bool pci_lab_has_msix;
static void (*handler)(void *owner);
static void *handler_owner;

void pci_lab_interrupt(void)
{
    handler(handler_owner);
}

enum hv_status pci_map(struct pci_device *d, u32 n, u64 least)
{
    d->bars[n] = (struct pci_bar){.registers = pci_lab_window, .len = pci_lab_len};
    return least <= pci_lab_len ? HV_OK : HV_E2BIG;
}

void pci_enable(struct pci_device *d)
{
    (void)d;
}

void pci_silence(struct pci_device *d)
{
    (void)d;
    pci_lab_silenced++;
}

u32 pci_interrupts(struct pci_device *d, u32 want)
{
    d->irq_mode = pci_lab_has_msix && want ? PCI_IRQ_MSIX : PCI_IRQ_MSI;
    return 1;
}

void pci_on_interrupt(struct pci_device *d, u32 n, void (*fn)(void *owner), void *owner)
{
    (void)d, (void)n;
    handler = fn;
    handler_owner = owner;
}

enum hv_status pci_wait_register(const volatile void *at, u32 mask, u32 want, u64 ns)
{
    u64 end = clock_after(ns);

    while ((mmio_read32(at) & mask) != want) {
        if (clock_tsc() > end)
            return HV_ETIMEDOUT;
        fiber_sleep_until(clock_after(CLOCK_MS));
    }
    return HV_OK;
}
