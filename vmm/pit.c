/* The guest's 8254; called from the port table and its timer, on the event loop. */
#include "vmm/pit.h"

#include "vmm/platform.h"
#include "vmm/vm.h"

#define PIT_IRQ 0

/* Nanoseconds to PIT clocks and back without overflow over days of uptime. */
static u64 to_clocks(u64 ns)
{
    return ns / NS_PER_SEC * PIT_HZ + ns % NS_PER_SEC * PIT_HZ / NS_PER_SEC;
}

static u64 to_ns(u64 clocks)
{
    return clocks / PIT_HZ * NS_PER_SEC + (clocks % PIT_HZ * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ;
}

static bool periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

static u64 elapsed(const struct pit_channel *c)
{
    return to_clocks(platform_now() - c->start);
}

static u16 to_bcd(u32 v)
{
    return (u16)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

static u32 from_bcd(u16 v)
{
    return (v & 15u) + (v >> 4 & 15u) * 10 + (v >> 8 & 15u) * 100 + (v >> 12) * 1000u;
}

static u16 count_now(const struct pit_channel *c)
{
    u32 modulus = c->bcd ? 10000 : 65536;
    u64 left;
    if (!c->counting || (!c->gate && c->mode != 1 && c->mode != 5))
        left = c->reload;
    else if (c->mode == 3)
        left = c->reload - 2 * elapsed(c) % c->reload;
    else if (c->mode == 2)
        left = c->reload - elapsed(c) % c->reload;
    else
        left = modulus - (elapsed(c) + modulus - c->reload) % modulus;
    u32 v = (u32)(left % modulus);
    return c->bcd ? to_bcd(v) : (u16)v;
}

static bool output(const struct pit_channel *c)
{
    if (!c->counting)
        return c->mode != 0;
    u64 t = elapsed(c);
    switch (c->mode) {
    case 0:
    case 1:
        return t >= c->reload;
    case 2:
        return !c->gate || t % c->reload != c->reload - 1;
    case 3:
        return !c->gate || t % c->reload < (c->reload + 1) / 2;
    default:
        return t != c->reload;
    }
}

/* Arm the timer for channel 0's next rising edge. */
static void arm(struct vm *vm)
{
    const struct pit_channel *c = &vm->state->pit.channel[0];
    u64 edge = c->reload;
    if (!c->counting || !c->gate) {
        platform_timer(vm, VM_TIMER_PIT, PLATFORM_NEVER);
        return;
    }
    if (periodic(c)) /* edges that were missed are not made up for */
        edge = (elapsed(c) / c->reload + 1) * c->reload;
    else if (elapsed(c) >= edge)
        return;
    platform_timer(vm, VM_TIMER_PIT, c->start + to_ns(edge));
}

void pit_timer(struct vm *vm)
{
    platform_irq(vm, PIT_IRQ, false);
    platform_irq(vm, PIT_IRQ, true);
    if (periodic(&vm->state->pit.channel[0]))
        arm(vm);
}

static void load(struct vm *vm, u32 index, u16 value)
{
    struct pit_channel *c = &vm->state->pit.channel[index];
    u32 count = c->bcd ? from_bcd(value) : value;
    c->reload = count ? count : c->bcd ? 10000 : 65536;
    if (periodic(c) && c->reload == 1)
        c->reload = 2; /* 1 is not allowed */
    c->start = platform_now();
    c->counting = c->mode != 1 && c->mode != 5; /* those wait for the gate */
    if (index != 0)
        return;
    platform_irq(vm, PIT_IRQ, c->mode != 0);
    arm(vm);
}

static void write_count(struct vm *vm, u32 index, u8 v)
{
    struct pit_channel *c = &vm->state->pit.channel[index];
    if (c->access == 1) {
        load(vm, index, v);
    } else if (c->access == 2) {
        load(vm, index, (u16)(v << 8));
    } else if (!c->write_high) {
        c->write_low = v;
        c->write_high = 1;
    } else {
        c->write_high = 0;
        load(vm, index, (u16)(v << 8 | c->write_low));
    }
}

static void latch_count(struct pit_channel *c)
{
    if (c->count_latched)
        return;
    c->latched = count_now(c);
    c->count_latched = c->access == 3 ? 2 : 1;
}

static void latch_status(struct pit_channel *c)
{
    if (c->status_latched)
        return;
    c->status = (u8)((output(c) ? 0x80 : 0) | (c->counting ? 0 : 0x40) | c->access << 4 |
                     c->mode << 1 | c->bcd);
    c->status_latched = 1;
}

static void write_control(struct vm *vm, u8 v)
{
    struct pit *p = &vm->state->pit;
    u32 index = v >> 6;
    if (index == 3) { /* read-back */
        for (u32 i = 0; i < 3; i++) {
            if (!(v & 2u << i))
                continue;
            if (!(v & 0x20))
                latch_count(&p->channel[i]);
            if (!(v & 0x10))
                latch_status(&p->channel[i]);
        }
        return;
    }
    struct pit_channel *c = &p->channel[index];
    if (!(v & 0x30)) {
        latch_count(c);
        return;
    }
    u8 mode = v >> 1 & 7;
    *c = (struct pit_channel){.gate = c->gate,
                              .reload = c->reload,
                              .access = v >> 4 & 3,
                              .mode = mode > 5 ? mode - 4 : mode,
                              .bcd = v & 1};
    if (index == 0) {
        platform_timer(vm, VM_TIMER_PIT, PLATFORM_NEVER);
        platform_irq(vm, PIT_IRQ, c->mode != 0);
    }
}

static u8 read_count(struct pit_channel *c)
{
    u16 v;
    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    if (c->count_latched) {
        bool high = c->access == 2 || (c->access == 3 && c->count_latched == 1);
        c->count_latched--;
        return (u8)(high ? c->latched >> 8 : c->latched);
    }
    v = count_now(c);
    if (c->access == 3)
        c->read_high ^= 1;
    bool high = c->access == 2 || (c->access == 3 && !c->read_high);
    return (u8)(high ? v >> 8 : v);
}

u32 pit_in(struct vm *vm, u16 port, u8 size)
{
    u32 index = port & 3;
    (void)size;
    return index == 3 ? 0xff : read_count(&vm->state->pit.channel[index]);
}

void pit_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    u32 index = port & 3;
    (void)size;
    if (index == 3)
        write_control(vm, (u8)value);
    else
        write_count(vm, index, (u8)value);
}

u32 pit_speaker_in(struct vm *vm, u16 port, u8 size)
{
    struct pit *p = &vm->state->pit;
    (void)port;
    (void)size;
    p->refresh ^= 0x10; /* toggles with DRAM refresh; software only waits for a change */
    return p->channel[2].gate | p->speaker | p->refresh | (output(&p->channel[2]) ? 0x20u : 0u);
}

void pit_speaker_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    struct pit *p = &vm->state->pit;
    struct pit_channel *c = &p->channel[2];
    u8 gate = value & 1;
    (void)port;
    (void)size;
    p->speaker = value & 2;
    if (gate && !c->gate && c->mode != 0 && c->mode != 4) { /* a rising gate restarts the count */
        c->start = platform_now();
        c->counting = 1;
    }
    c->gate = gate;
}

void pit_reset(struct vm *vm)
{
    struct pit *p = &vm->state->pit;
    *p = (struct pit){0};
    for (u32 i = 0; i < 3; i++)
        p->channel[i] = (struct pit_channel){.reload = 65536, .access = 3, .gate = i < 2};
    platform_timer(vm, VM_TIMER_PIT, PLATFORM_NEVER);
}
