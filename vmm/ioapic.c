/* The guest's I/O APIC; called from the MMIO table, platform.c and for EOI exits, on the event
 * loop.  Interrupts leave as MSI-form messages. */
#include "vmm/ioapic.h"

#include "vmm/platform.h"
#include "vmm/vm.h"

#define ENTRY_VECTOR BITS(7, 0)
#define ENTRY_MODE BITS(10, 8)
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_STATUS BIT(12)     /* read-only */
#define ENTRY_POLARITY BIT(13)   /* the models drive asserted/deasserted, so it has no effect */
#define ENTRY_REMOTE_IRR BIT(14) /* read-only */
#define ENTRY_LEVEL IOAPIC_LEVEL
#define ENTRY_MASKED BIT(16)
#define ENTRY_DEST BITS(63, 56)
#define ENTRY_READ_ONLY (ENTRY_STATUS | ENTRY_REMOTE_IRR)

#define REG_ID 0
#define REG_VERSION 1
#define REG_ARBITRATION 2
#define REG_TABLE 0x10
#define VERSION ((u32)(IOAPIC_PINS - 1) << 16 | 0x11)

static void send(struct vm *vm, u64 e)
{
    /* SDM 3A 11.11.1: destination in 19:12, destination mode in 2.  The PIC reaches LINT0 by its
     * own wire. */
    u32 address = 0xfee00000u | (u32)(e >> 56) << 12 | ((u32)e & (u32)ENTRY_LOGICAL) >> 9;
    u32 data = ((u32)e & (u32)(ENTRY_VECTOR | ENTRY_MODE | ENTRY_LEVEL)) | 1u << 14;
    if ((e & ENTRY_MODE) != ENTRY_MODE)
        platform_msi(vm, address, data);
}

/* Send what level-triggered pin `pin` asks for, if it may be sent (82093AA 3.2.4). */
static void deliver(struct vm *vm, struct ioapic *io, u32 pin)
{
    u64 e = io->entry[pin];
    if (!(io->requests & BIT(pin)) || (e & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
        return;
    io->entry[pin] |= ENTRY_REMOTE_IRR;
    send(vm, e);
}

static __attribute__((noinline)) void set_level(struct vm *vm, struct ioapic *io, u32 pin,
                                                bool level)
{
    u32 bit = 1u << pin;
    io->requests = level ? io->requests | bit : io->requests & ~bit;
    deliver(vm, io, pin);
}

void ioapic_set_irq(struct vm *vm, u32 pin, bool level)
{
    struct ioapic *io = &vm->state->ioapic;
    if (pin >= IOAPIC_PINS)
        return;
    u64 e = io->entry[pin];
    u32 bit = 1u << pin, before = io->lines;
    if (!level) {
        io->lines = before & ~bit;
        if (e & ENTRY_LEVEL)
            set_level(vm, io, pin, false);
        return;
    }
    io->lines = before | bit;
    if (e & ENTRY_LEVEL)
        set_level(vm, io, pin, true);
    else if (!(before & bit) && !(e & ENTRY_MASKED))
        send(vm, e); /* an edge on a masked pin is lost, as on the chip */
}

void ioapic_eoi(struct vm *vm, u32 vector)
{
    struct ioapic *io = &vm->state->ioapic;
    for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
        u64 e = io->entry[pin];
        if (!(e & ENTRY_LEVEL) || !(e & ENTRY_REMOTE_IRR) || (e & ENTRY_VECTOR) != vector)
            continue;
        io->entry[pin] &= ~ENTRY_REMOTE_IRR;
        deliver(vm, io, pin);
    }
}

static void write_entry(struct vm *vm, struct ioapic *io, u32 reg, u32 value)
{
    u32 pin = (reg - REG_TABLE) / 2, bit = (u32)BIT(pin);
    u64 *e = &io->entry[pin];
    if (reg & 1) {
        *e = (*e & BITS(31, 0)) | ((u64)value << 32 & ENTRY_DEST);
        return;
    }
    *e = (*e & (BITS(63, 32) | ENTRY_READ_ONLY)) | (value & (BITS(16, 0) & ~ENTRY_READ_ONLY));
    if (*e & ENTRY_LEVEL) {
        io->requests = (io->requests & ~bit) | (io->lines & bit);
    } else {
        /* Switching to edge clears what EOI would have: Linux relies on it to end a lost level
         * interrupt. */
        *e &= ~ENTRY_REMOTE_IRR;
        io->requests &= ~bit;
    }
    deliver(vm, io, pin);
}

static u32 read_register(const struct ioapic *io)
{
    u32 reg = io->select;
    if (reg == REG_ID || reg == REG_ARBITRATION)
        return (u32)io->id << 24;
    if (reg == REG_VERSION)
        return VERSION;
    if (reg < REG_TABLE || reg >= REG_TABLE + 2 * IOAPIC_PINS)
        return ~0u;
    u64 e = io->entry[(reg - REG_TABLE) / 2];
    return (u32)(reg & 1 ? e >> 32 : e);
}

u64 ioapic_read(struct vm *vm, u64 gpa, u8 size)
{
    struct ioapic *io = &vm->state->ioapic;
    u32 offset = gpa & 0xfff;
    (void)size;
    if (offset == 0x00)
        return io->select;
    return offset == 0x10 ? read_register(io) : ~0ull;
}

void ioapic_write(struct vm *vm, u64 gpa, u8 size, u64 value)
{
    struct ioapic *io = &vm->state->ioapic;
    u32 offset = gpa & 0xfff;
    (void)size;
    if (offset == 0x00) {
        io->select = (u8)value;
    } else if (offset == 0x10) {
        if (io->select == REG_ID)
            io->id = value >> 24 & 0x0f;
        else if (io->select >= REG_TABLE && io->select < REG_TABLE + 2 * IOAPIC_PINS)
            write_entry(vm, io, io->select, (u32)value);
    }
}

void ioapic_reset(struct vm *vm)
{
    struct ioapic *io = &vm->state->ioapic;
    *io = (struct ioapic){0};
    for (u32 i = 0; i < IOAPIC_PINS; i++)
        io->entry[i] = ENTRY_MASKED;
}
