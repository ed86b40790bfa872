/* Time from the TSC, whose rate the kernel measured (host_info.tsc_hz). */
#pragma once

#include "kernel/abi/types.h"

#define CLOCK_SECOND 1000000000ull /* nanoseconds */
#define CLOCK_MS 1000000ull
#define CLOCK_US 1000ull

void clock_init(void); /* before the first use of the rest */

u64 clock_tsc(void);
u64 clock_ns(void); /* since the kernel was entered */
/* UTC since 1970, by the firmware's clock until NTP sets it; 0: unknown. */
i64 clock_unix(void); /* seconds */
u64 clock_unix_ns(void);
/* UTC since 1970 by the firmware's clock alone, which setting ours does not move, so that it is the
 * same clock after a restart of the control partition; since the start if it is unknown. */
u64 clock_firmware_ns(void);
void clock_set_unix_ns(u64 unix_ns);
/* "2026-11-22T10:00:00.123456Z", RFC 3339. */
#define CLOCK_TEXT 40
void clock_text(u64 unix_ns, char buf[CLOCK_TEXT]);
u64 clock_ticks(u64 ns); /* a duration as TSC ticks, rounded up */
u64 clock_ticks_to_ns(u64 ticks);
u64 clock_after(u64 ns); /* TSC value that many nanoseconds from now: a deadline */
