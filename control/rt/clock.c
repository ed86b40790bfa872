/* Time from the TSC.  Called from anywhere in the control partition. */
#include "control/rt/clock.h"

#include <stdio.h>

#include "control/rt/sys.h"

static u64 tsc_hz = CLOCK_SECOND; /* until clock_init */
static u64 boot_tsc;
static u64 boot_unix_ns; /* 0: unknown */

void clock_init(void)
{
    const struct host_info *h = sys_host_info();

    tsc_hz = h->tsc_hz ? h->tsc_hz : CLOCK_SECOND;
    boot_tsc = h->boot_tsc;
    boot_unix_ns = h->boot_unix_time > 0 ? (u64)h->boot_unix_time * CLOCK_SECOND : 0;
}

u64 clock_tsc(void)
{
    return sys_tsc();
}

u64 clock_ticks_to_ns(u64 ticks)
{
    if (ticks < ~0ull / CLOCK_SECOND) /* a few seconds: mostly the length of something */
        return ticks * CLOCK_SECOND / tsc_hz;
    return (u64)((unsigned __int128)ticks * CLOCK_SECOND / tsc_hz);
}

u64 clock_ticks(u64 ns)
{
    unsigned __int128 ticks = ((unsigned __int128)ns * tsc_hz + CLOCK_SECOND - 1) / CLOCK_SECOND;

    return ticks > ~0ull ? ~0ull : (u64)ticks;
}

u64 clock_ns(void)
{
    return clock_ticks_to_ns(clock_tsc() - boot_tsc);
}

i64 clock_unix(void)
{
    return (i64)(clock_unix_ns() / CLOCK_SECOND);
}

u64 clock_unix_ns(void)
{
    return boot_unix_ns ? boot_unix_ns + clock_ns() : 0;
}

u64 clock_firmware_ns(void)
{
    i64 unix_s = sys_host_info()->boot_unix_time;

    return (unix_s > 0 ? (u64)unix_s * CLOCK_SECOND : 0) + clock_ns();
}

void clock_set_unix_ns(u64 unix_ns)
{
    u64 ns = clock_ns();

    boot_unix_ns = unix_ns > ns ? unix_ns - ns : 0;
}

/* Gregorian calendar, years counted from March: the leap day ends one. */
static void date_of(u64 days, u32 *year, u32 *month, u32 *day)
{
    u64 shifted = days + 719468, era = shifted / 146097, d = shifted % 146097;
    u64 y = (d - d / 1460 + d / 36524 - d / 146096) / 365,
        in_year = d - (365 * y + y / 4 - y / 100);
    u64 m = (5 * in_year + 2) / 153;

    *day = (u32)(in_year - (153 * m + 2) / 5 + 1);
    *month = (u32)(m < 10 ? m + 3 : m - 9);
    *year = (u32)(y + 400 * era + (*month <= 2));
}

void clock_text(u64 unix_ns, char buf[CLOCK_TEXT])
{
    u64 us = unix_ns / CLOCK_US, s = us / 1000000;
    u32 year, month, day;

    date_of(s / 86400, &year, &month, &day);
    snprintf(buf, CLOCK_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", year % 10000, month, day,
             (u32)(s / 3600 % 24), (u32)(s / 60 % 60), (u32)(s % 60), (u32)(us % 1000000));
}

u64 clock_after(u64 ns)
{
    u64 now = clock_tsc(), ticks = clock_ticks(ns);

    return now + ticks < now ? ~0ull : now + ticks;
}
