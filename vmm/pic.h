/* Two 8259A interrupt controllers, cascaded as in a PC: for guests before they use the I/O APIC.
 *
 * On the event loop.  Intel 8259A data sheet, order number 231468. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define PIC_CASCADE 2 /* input of the master that the slave drives */

struct pic_chip {
    u8 lines; /* levels of the inputs */
    u8 irr, isr, imr;
    u8 elcr; /* 1: level-triggered input */
    u8 base; /* vector of input 0 */
    u8 init; /* ICW expected next: 0 none, 2..4 */
    u8 icw4_expected, single;
    u8 auto_eoi, rotate_on_auto_eoi;
    u8 read_isr, poll;
    u8 special_mask, special_nested;
    u8 lowest; /* input with the lowest priority, 7 after reset */
};

struct pic {
    struct pic_chip chip[2]; /* 0: master */
    u8 output;               /* level of INTR */
};

void pic_reset(struct vm *vm);
u32 pic_in(struct vm *vm, u16 port, u8 size); /* 20h, 21h, a0h, a1h */
void pic_out(struct vm *vm, u16 port, u8 size, u32 value);
u32 pic_elcr_in(struct vm *vm, u16 port, u8 size); /* 4d0h, 4d1h */
void pic_elcr_out(struct vm *vm, u16 port, u8 size, u32 value);
/* Level of input `irq`: 0 to 15, not PIC_CASCADE.  True: the input is not masked, so call
 * pic_update(). */
static inline bool pic_set_line(struct pic *p, u32 irq, bool level)
{
    struct pic_chip *c = &p->chip[irq >> 3 & 1];
    u8 bit = (u8)(1u << (irq & 7));
    if (level) {
        if ((c->elcr & bit) || !(c->lines & bit))
            c->irr |= bit;
        c->lines |= bit;
    } else {
        c->irr &= ~bit; /* an edge that went away before INTA is lost */
        c->lines &= ~bit;
    }
    return !(c->imr & bit);
}
void pic_update(struct vm *vm); /* INTR may have changed */
/* The INTA cycle: the vector to deliver; the spurious one (input 7) when the request is gone. */
u8 pic_acknowledge(struct vm *vm);
