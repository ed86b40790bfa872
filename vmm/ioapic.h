/* An I/O APIC with 24 pins, as the MADT tells the guest: GSI n is pin n, ISA IRQ 0 is pin 2.
 *
 * On the event loop.  Intel 82093AA data sheet, order number 290566. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_PINS 24
#define IOAPIC_LEVEL BIT(15) /* of a redirection entry */

struct ioapic {
    u8 select, id, pad[2];
    u32 lines;              /* levels of the pins */
    u32 requests;           /* edges and levels not sent yet (masked pins keep them) */
    u64 entry[IOAPIC_PINS]; /* redirection table */
};

void ioapic_reset(struct vm *vm);
u64 ioapic_read(struct vm *vm, u64 gpa, u8 size);
void ioapic_write(struct vm *vm, u64 gpa, u8 size, u64 value);
void ioapic_set_irq(struct vm *vm, u32 pin, bool level);
/* A pin below IOAPIC_PINS goes low: all there is to do if it is edge-triggered.  False: it is not,
 * and nothing was done. */
static inline bool ioapic_end_edge(struct ioapic *io, u32 pin)
{
    if (io->entry[pin] & IOAPIC_LEVEL)
        return false;
    io->lines &= ~(u32)BIT(pin);
    return true;
}
/* A local APIC ended a level-triggered interrupt with this vector. */
void ioapic_eoi(struct vm *vm, u32 vector);
