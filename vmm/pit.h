/* The 8254 interval timer and port 61h: channel 0 is IRQ 0, channel 2 the speaker's.
 *
 * On the event loop.  Intel 8254 data sheet, order number 231164. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define PIT_HZ 1193182ull

struct pit_channel {
    u64 start;   /* ns: when counting (last) began */
    u32 reload;  /* 1..65536 */
    u16 latched; /* count held by a latch command */
    u8 mode;     /* 0..5 */
    u8 access;   /* 1 low byte, 2 high byte, 3 low then high */
    u8 bcd;
    u8 gate;
    u8 counting;              /* a count has been written */
    u8 write_high, write_low; /* next write is the high byte; the low byte so far */
    u8 read_high;
    u8 count_latched; /* bytes of `latched` still to be read */
    u8 status_latched, status;
};

struct pit {
    struct pit_channel channel[3];
    u8 speaker; /* bit 1 of port 61h */
    u8 refresh;
};

void pit_reset(struct vm *vm);
u32 pit_in(struct vm *vm, u16 port, u8 size); /* 40h..43h */
void pit_out(struct vm *vm, u16 port, u8 size, u32 value);
u32 pit_speaker_in(struct vm *vm, u16 port, u8 size); /* 61h */
void pit_speaker_out(struct vm *vm, u16 port, u8 size, u32 value);
void pit_timer(struct vm *vm); /* VM_TIMER_PIT is due */
