/* Time from the TSC.  Called from anywhere in the control partition. */
#include "control/rt/clock.h"

#include "control/rt/sys.h"

static u64 tsc_hz = CLOCK_SECOND; /* until clock_init */
static u64 boot_tsc;
static i64 boot_unix;

void clock_init(void)
{
    const struct host_info *h = sys_host_info();

    tsc_hz = h->tsc_hz ? h->tsc_hz : CLOCK_SECOND;
    boot_tsc = h->boot_tsc;
    boot_unix = h->boot_unix_time;
}

u64 clock_tsc(void)
{
    return sys_tsc();
}

u64 clock_ticks_to_ns(u64 ticks)
{
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
    return boot_unix ? boot_unix + (i64)(clock_ns() / CLOCK_SECOND) : 0;
}

u64 clock_after(u64 ns)
{
    u64 now = clock_tsc(), ticks = clock_ticks(ns);

    return now + ticks < now ? ~0ull : now + ticks;
}
