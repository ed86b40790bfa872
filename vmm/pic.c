/* The guest's 8259A pair; called from the port table and platform.c, on the event loop. */
#include "vmm/pic.h"

#include "vmm/platform.h"
#include "vmm/vm.h"

/* The request that wins, by priority; -1: none beats what is in service. */
static int winner(const struct pic_chip *c)
{
    u8 requests = c->irr & ~c->imr;
    if (!requests)
        return -1;
    u8 serving = c->special_mask ? c->isr & ~c->imr : c->isr;
    for (u32 i = 1; i <= 8; i++) {
        u32 input = (c->lowest + i) & 7;
        if (requests & BIT(input))
            return (int)input;
        if (serving & BIT(input)) {
            /* Special fully nested mode: the slave may interrupt itself. */
            if (c->special_nested && input == PIC_CASCADE)
                continue;
            if (!c->special_mask)
                return -1;
        }
    }
    return -1;
}

void pic_update(struct vm *vm)
{
    struct pic *p = &vm->state->pic;

    /* The slave's output is level for the master: it stays up while a request is unserved. */
    bool slave = winner(&p->chip[1]) >= 0;
    u8 bit = BIT(PIC_CASCADE);
    p->chip[0].irr = slave ? p->chip[0].irr | bit : p->chip[0].irr & ~bit;
    u8 out = winner(&p->chip[0]) >= 0;
    if (out == p->output)
        return;
    p->output = out;
    platform_lint(vm, out);
}

static void acknowledge(struct pic_chip *c, u32 input)
{
    if (!(c->elcr & BIT(input)))
        c->irr &= ~BIT(input);
    if (!c->auto_eoi)
        c->isr |= BIT(input);
    else if (c->rotate_on_auto_eoi)
        c->lowest = (u8)input;
}

u8 pic_acknowledge(struct vm *vm)
{
    struct pic *p = &vm->state->pic;
    int input = winner(&p->chip[0]);
    u8 vector = p->chip[0].base + 7;
    if (input == PIC_CASCADE) {
        int second = winner(&p->chip[1]);
        acknowledge(&p->chip[0], PIC_CASCADE);
        if (second >= 0)
            acknowledge(&p->chip[1], (u32)second);
        vector = p->chip[1].base + (second >= 0 ? (u8)second : 7);
    } else if (input >= 0) {
        acknowledge(&p->chip[0], (u32)input);
        vector = p->chip[0].base + (u8)input;
    }
    pic_update(vm);
    return vector;
}

static void end_of_interrupt(struct pic_chip *c, u8 ocw2)
{
    bool specific = ocw2 & 0x40, eoi = ocw2 & 0x20, rotate = ocw2 & 0x80;
    u32 input = ocw2 & 7;
    if (!eoi) {
        if (specific && rotate) /* c0: set priority; 40: no operation */
            c->lowest = (u8)input;
        else if (!specific)
            c->rotate_on_auto_eoi = rotate;
        return;
    }
    if (!specific) {
        for (u32 i = 1; i <= 8; i++) {
            input = (c->lowest + i) & 7;
            if ((c->isr & BIT(input)) && !(c->special_mask && (c->imr & BIT(input))))
                break;
        }
        if (!(c->isr & BIT(input)))
            return;
    }
    c->isr &= ~BIT(input);
    if (rotate)
        c->lowest = (u8)input;
}

static void start_init(struct pic_chip *c, u8 icw1)
{
    u8 lines = c->lines, elcr = c->elcr;
    *c = (struct pic_chip){.lowest = 7,
                           .lines = lines,
                           .elcr = elcr,
                           .irr = lines & elcr,
                           .init = 2,
                           .icw4_expected = icw1 & 1,
                           .single = !!(icw1 & 2)};
}

static void write_command(struct pic_chip *c, u8 v)
{
    if (v & 0x10) {
        start_init(c, v);
    } else if (v & 0x08) {
        if (v & 0x04)
            c->poll = 1;
        if (v & 0x02)
            c->read_isr = v & 1;
        if (v & 0x40)
            c->special_mask = !!(v & 0x20);
    } else {
        end_of_interrupt(c, v);
    }
}

static void write_data(struct pic_chip *c, u8 v)
{
    switch (c->init) {
    case 0:
        c->imr = v;
        return;
    case 2:
        c->base = v & 0xf8;
        c->init = !c->single ? 3 : c->icw4_expected ? 4 : 0;
        return;
    case 3: /* the wiring is fixed */
        c->init = c->icw4_expected ? 4 : 0;
        return;
    default:
        c->auto_eoi = !!(v & 2);
        c->special_nested = !!(v & 0x10);
        c->init = 0;
        return;
    }
}

void pic_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    struct pic *p = &vm->state->pic;
    struct pic_chip *c = &p->chip[port >= 0xa0];
    (void)size;
    if (port & 1)
        write_data(c, (u8)value);
    else
        write_command(c, (u8)value);
    pic_update(vm);
}

u32 pic_in(struct vm *vm, u16 port, u8 size)
{
    struct pic *p = &vm->state->pic;
    struct pic_chip *c = &p->chip[port >= 0xa0];
    (void)size;
    if (c->poll) { /* reading after a poll command acknowledges */
        int input = winner(c);
        c->poll = 0;
        if (input < 0)
            return 0;
        acknowledge(c, (u32)input);
        pic_update(vm);
        return 0x80 | (u32)input;
    }
    if (port & 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

u32 pic_elcr_in(struct vm *vm, u16 port, u8 size)
{
    (void)size;
    return vm->state->pic.chip[port & 1].elcr;
}

void pic_elcr_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)size;
    /* Inputs 0, 1, 2 and 8, 13 are always edge-triggered. */
    vm->state->pic.chip[port & 1].elcr = (u8)value & (port & 1 ? 0xde : 0xf8);
    pic_update(vm);
}

void pic_reset(struct vm *vm)
{
    struct pic *p = &vm->state->pic;
    *p = (struct pic){.chip = {{.lowest = 7, .imr = 0xff, .base = 0x08},
                               {.lowest = 7, .imr = 0xff, .base = 0x70}}};
}
