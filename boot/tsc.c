/* TSC calibration: what CPUID says if a timer agrees, else what the timer says.  Called by main.c
 * on the boot CPU, when the firmware's interrupts are over. */
#include "boot/tsc.h"

#include <cpuid.h>

#include "boot/port.h"

#define PM_TIMER_HZ 3579545ull /* ACPI 6.4, 4.8.3.3 */
#define PIT_HZ 1193182ull
#define FALLBACK_HZ 1000000000ull
#define SPAN_US 2500 /* of one measurement */
#define TRIES 6
#define AGREE 500      /* two measurements agree within 1/500 */
#define CPUID_AGREE 20 /* CPUID is believed within 1/20 of the measurement */
#define POLL_LIMIT 2000000

/* IA-PC HPET 1.0a, 2.3: a period is at most 100 ns; less than 1 ns is none. */
enum { HPET_PERIOD = 4, HPET_CONFIG = 0x10, HPET_COUNTER = 0xf0 };
enum { HPET_PERIOD_MIN = 1000000, HPET_PERIOD_MAX = 100000000 };

u64 tsc_read(void)
{
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

/* TSC ticks a second by a counter of `hz`, `bits` wide, over SPAN_US; 0: it stands still. */
static u64 measure_counter(u32 (*read)(const struct platform_timers *),
                           const struct platform_timers *t, u64 hz, unsigned bits)
{
    u32 mask = (u32)BITS(bits - 1, 0), first = read(t), now = first;
    u64 want = hz * SPAN_US / 1000000;

    for (u32 i = 0; now == first; i++) { /* start at an edge */
        if (i == POLL_LIMIT)
            return 0;
        now = read(t);
    }
    first = now;
    u64 start = tsc_read();
    for (u32 i = 0; ((now - first) & mask) < want; i++) {
        if (i == POLL_LIMIT)
            return 0;
        now = read(t);
    }
    return (tsc_read() - start) * hz / ((now - first) & mask);
}

static u32 pm_timer_read(const struct platform_timers *t)
{
    u32 value;
    asm volatile("inl %1, %0" : "=a"(value) : "d"(t->pm_port));
    return value;
}

static u64 pm_timer_measure(const struct platform_timers *t)
{
    return t->pm_port ? measure_counter(pm_timer_read, t, PM_TIMER_HZ, t->pm_32bit ? 32 : 24) : 0;
}

static volatile u32 *hpet_register(const struct platform_timers *t, u32 offset)
{
    return (volatile u32 *)(t->hpet + offset);
}

static u32 hpet_read(const struct platform_timers *t)
{
    return *hpet_register(t, HPET_COUNTER);
}

static u64 hpet_measure(const struct platform_timers *t)
{
    /* Above 4 GiB the firmware need not have mapped it. */
    if (!t->hpet || t->hpet >= 4 * GIB)
        return 0;
    u32 period = *hpet_register(t, HPET_PERIOD); /* in femtoseconds */
    if (period < HPET_PERIOD_MIN || period > HPET_PERIOD_MAX)
        return 0;
    *hpet_register(t, HPET_CONFIG) |= 1; /* it may not have been started */
    return measure_counter(hpet_read, t, 1000000000000000ull / period, 32);
}

/* Channel 2, mode 0: its output, seen in port 61H bit 5, rises when the count is over. */
static u64 pit_measure(const struct platform_timers *t)
{
    (void)t;
    u32 count = (u32)(PIT_HZ * SPAN_US / 1000000);
    u8 gate = inb(0x61) & 0xfc;

    outb(0x61, gate | 1);
    outb(0x43, 0xb0);
    outb(0x42, (u8)count);
    outb(0x42, (u8)(count >> 8));
    u64 start = tsc_read();
    for (u32 i = 0; !(inb(0x61) & 0x20); i++)
        if (i == POLL_LIMIT)
            return 0;
    u64 ticks = tsc_read() - start;
    outb(0x61, gate);
    return ticks * PIT_HZ / count;
}

static u64 cpuid_hz(void)
{
    u32 a, b, c, d;
    if (__get_cpuid_count(0x15, 0, &a, &b, &c, &d) && a && b && c)
        return (u64)c * b / a;
    return __get_cpuid(0x16, &a, &b, &c, &d) ? (a & 0xffff) * 1000000ull : 0;
}

static bool near(u64 a, u64 b, u64 part)
{
    return (a > b ? a - b : b - a) <= MAX(a, b) / part;
}

/* Until two in a row agree; a measurement that was disturbed is only ever too large. */
static u64 settle(u64 (*measure)(const struct platform_timers *), const struct platform_timers *t)
{
    u64 best = 0, last = 0;
    for (int i = 0; i < TRIES; i++) {
        u64 hz = measure(t);
        if (!hz)
            return 0;
        if (last && near(hz, last, AGREE))
            return MIN(hz, last);
        best = best ? MIN(best, hz) : hz;
        last = hz;
    }
    return best;
}

static const struct {
    const char *name;
    u64 (*measure)(const struct platform_timers *);
} sources[] = {
    {"ACPI PM timer", pm_timer_measure},
    {"HPET", hpet_measure},
    {"PIT", pit_measure},
};

void tsc_measure(struct boot_info *bi, const struct platform_timers *timers)
{
    const char *source = NULL;
    u64 told = cpuid_hz(), measured = 0;

    for (u32 i = 0; i < ARRAY_LEN(sources) && !measured; i++) {
        measured = settle(sources[i].measure, timers);
        source = sources[i].name;
    }
    bi->tsc_hz = measured;
    if (told && (!measured || near(told, measured, CPUID_AGREE))) {
        bi->tsc_hz = told;
        source = "CPUID 15H";
    } else if (!measured) {
        bi->tsc_hz = FALLBACK_HZ;
        source = "guess";
    }
    for (u32 i = 0; source[i]; i++)
        bi->tsc_source[i] = source[i];
}
