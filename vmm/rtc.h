/* The MC146818 clock with its 128 bytes of CMOS memory.
 *
 * Time is the host's wall clock plus what the guest has set.  On the event loop.  Motorola
 * MC146818A data sheet. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define RTC_IRQ 8

#define RTC_KEPT 14u /* from this byte on the battery keeps its memory, and its time */
#define RTC_OFFSET_MAX (1ll << 61)

struct rtc {
    u8 index;
    u8 ram[128];       /* registers A..D and the rest; time registers are computed */
    bool changed;      /* what the battery keeps, since it was last saved */
    i64 offset;        /* ns: guest's clock minus the host's */
    u64 halted_at;     /* ns of the guest's clock while register B bit SET holds it */
    u64 next_periodic; /* ns of platform_now; PLATFORM_NEVER: off */
    u64 next_second;   /* the same, for update-ended and alarm interrupts */
};

void rtc_reset(struct vm *vm);                /* keeps what the battery keeps */
u32 rtc_in(struct vm *vm, u16 port, u8 size); /* 70h, 71h */
void rtc_out(struct vm *vm, u16 port, u8 size, u32 value);
void rtc_timer(struct vm *vm); /* VM_TIMER_RTC is due */

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. */
i64 rtc_days_from_date(i64 year, u32 month, u32 day);
void rtc_date_from_days(i64 days, i64 *year, u32 *month, u32 *day);
