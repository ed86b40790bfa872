/* TSC calibration: what CPUID says if a timer agrees, else what the timer says.  Boot CPU, once. */
#include "kernel/tsc.h"

#include "kernel/lib/fmt.h"
#include "kernel/log.h"
#include "kernel/paging.h"
#include "kernel/platform.h"
#include "kernel/x86.h"

#define PM_TIMER_HZ 3579545ull /* ACPI 6.4, 4.8.3.3 */
#define PIT_HZ 1193182ull
#define FALLBACK_HZ 1000000000ull
#define SPAN_US 2500 /* of one measurement */
#define TRIES 6
#define AGREE 500      /* two measurements agree within 1/500 */
#define CPUID_AGREE 20 /* CPUID is believed within 1/20 of the measurement */
#define POLL_LIMIT 2000000

u64 tsc_hz;

static volatile u8 *hpet;

/* TSC ticks while a counter of `hz`, `bits` wide, advances for SPAN_US; 0: it stands still. */
static u64 measure_counter(u32 (*read)(void), u64 hz, unsigned bits, u64 *counted)
{
    u32 mask = (u32)BITS(bits - 1, 0), first = read(), now = first;
    u64 want = hz * SPAN_US / 1000000;

    for (u32 i = 0; now == first; i++) { /* start at an edge */
        if (i == POLL_LIMIT)
            return 0;
        now = read();
    }
    first = now;
    u64 start = tsc_read();
    for (u32 i = 0; ((now - first) & mask) < want; i++) {
        if (i == POLL_LIMIT)
            return 0;
        now = read();
    }
    *counted = (now - first) & mask;
    return tsc_read() - start;
}

static u32 pm_timer_read(void)
{
    return inl(platform.pm_timer_port);
}

static u64 pm_timer_measure(void)
{
    u64 counted = 0;
    if (!platform.pm_timer_port)
        return 0;
    u64 ticks =
        measure_counter(pm_timer_read, PM_TIMER_HZ, platform.pm_timer_32bit ? 32 : 24, &counted);
    return ticks ? mul_div(ticks, PM_TIMER_HZ, counted) : 0;
}

static u32 hpet_read(void)
{
    return mmio_read32(hpet + 0xf0);
}

static u64 hpet_measure(void)
{
    u64 counted = 0;
    if (!platform.hpet)
        return 0;
    if (!hpet)
        hpet = paging_map_mmio(HPA(platform.hpet), PAGE_SIZE);
    u32 femtoseconds = mmio_read32(hpet + 4); /* a tick; at most 100 ns: IA-PC HPET 2.3.4 */
    if (femtoseconds == 0 || femtoseconds > 100000000)
        return 0;
    u64 hz = 1000000000000000ull / femtoseconds;
    mmio_write32(hpet + 0x10, mmio_read32(hpet + 0x10) | 1); /* it may not have been started */
    u64 ticks = measure_counter(hpet_read, hz, 32, &counted);
    return ticks ? mul_div(ticks, hz, counted) : 0;
}

/* Channel 2, mode 0: its output, seen in port 61H bit 5, rises when the count is over. */
static u64 pit_measure(void)
{
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
    return mul_div(ticks, PIT_HZ, count);
}

static u64 cpuid_hz(void)
{
    u32 most = cpuid(0, 0).eax;
    if (most < 0x15)
        return 0;
    struct cpuid_regs r = cpuid(0x15, 0);
    if (r.eax && r.ebx && r.ecx)
        return (u64)r.ecx * r.ebx / r.eax;
    return most >= 0x16 ? (cpuid(0x16, 0).eax & 0xffff) * 1000000ull : 0;
}

static bool near(u64 a, u64 b, u64 part)
{
    return (a > b ? a - b : b - a) <= MAX(a, b) / part;
}

/* Until two in a row agree; a measurement that was disturbed is only ever too large. */
static u64 settle(u64 (*measure)(void))
{
    u64 best = 0, last = 0;
    for (int i = 0; i < TRIES; i++) {
        u64 hz = measure();
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
    u64 (*measure)(void);
} sources[] = {
    {"ACPI PM timer", pm_timer_measure},
    {"HPET", hpet_measure},
    {"PIT", pit_measure},
};

void tsc_init(struct host_info *hi)
{
    const char *source = NULL;
    u64 told = cpuid_hz(), measured = 0;

    for (u32 i = 0; i < ARRAY_LEN(sources) && !measured; i++) {
        measured = settle(sources[i].measure);
        source = sources[i].name;
    }
    tsc_hz = measured;
    if (told && (!measured || near(told, measured, CPUID_AGREE))) {
        tsc_hz = told;
        source = "CPUID 15H";
    } else if (!measured) {
        tsc_hz = FALLBACK_HZ;
        source = "guess";
        log_warn("no timer to calibrate the TSC with: 1 GHz assumed, times are wrong");
    }
    fmt_snprintf(hi->tsc_source, sizeof(hi->tsc_source), "%s", source);
    hi->tsc_hz = tsc_hz;
    log_info("TSC: %lu Hz (%s; CPUID says %lu)", tsc_hz, source, told);
}

void tsc_delay(u64 microseconds)
{
    u64 end = tsc_read() + tsc_hz / 1000000 * microseconds;
    while (tsc_read() < end)
        cpu_relax();
}
