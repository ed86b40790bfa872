/* What Intel's gigabit cards interrupt for, by MSI-X or else; included by drivers/e1000.c alone. */
#pragma once

#include "drivers/e1000_card.h"

#define E1000_INT_LINK 0x04u /* of REG_ICR, whatever brought the interrupt */

static inline bool e1000_uses_msix(const struct e1000 *c)
{
    return c->pci->irq_mode == PCI_IRQ_MSIX;
}
/* After a reset; pci_interrupts() has been called. */
void e1000_interrupts_start(struct e1000 *c);
/* By MSI-X, when all that has come was looked at: a message masks its causes when it is sent; those
 * that are there again by now send the next one. */
void e1000_interrupts_unmask(struct e1000 *c);
