/* Every second each CPU sends the next one an interrupt that it answers by a store (VECTOR_PING);
 * one that stays in the kernel, so with interrupts off, for ten of them gets an NMI and tells where
 * it is.  A CPU that is alone gets an NMI from the real-time clock every second (MC146818, the
 * update-ended interrupt).  Machine checks: SDM 3B chapter 16.  Own core, but for cpu->quiet. */
#include "kernel/health.h"

#include "kernel/apic.h"
#include "kernel/host.h"
#include "kernel/ioapic.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/timer.h"
#include "kernel/vtd.h"
#include "kernel/x86.h"

#define QUIET_LIMIT 10 /* seconds */
#define RTC_IRQ 8
#define RTC_B 0x0b
#define RTC_C 0x0c            /* reading it ends the interrupt */
#define RTC_UPDATE_ENDED 0x10 /* of both */
#define MCG_CAP 0x179u
#define MCG_STATUS 0x17au
#define MCG_CTL 0x17bu
#define MC_CTL(bank) (0x400u + 4 * (bank)) /* STATUS and ADDR follow */
#define CAP_CTL BIT(8)
#define CAP_RECOVERY BIT(24)
#define STATUS_RIPV BIT(0)
#define BANK_VALID BIT(63)
#define BANK_UNCORRECTED BIT(61)
#define BANK_ADDRESS BIT(58)
#define BANK_CONTEXT_LOST BIT(57)
#define BANK_ACTION BIT(55) /* what was interrupted must not go on */

static struct timer ticks[CPU_MAX];
static volatile u32 stray_nmis;
static u64 cap;             /* MCG_CAP; 0: no machine checks */
static volatile bool alone; /* NMIs of the real-time clock come */

static u8 rtc_read(u8 reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

/* Nobody else uses the clock: ring 3 does not get its ports. */
static void watch_alone(void)
{
    u32 target = cpus[0]->apic_id;
    u32 high = vtd_remap(VTD_WATCHDOG, VECTOR_NMI, target, false, ~0u)
                   ? VTD_WATCHDOG << 17 | 1 << 16
                   : target << 24;

    if (!ioapic_route(host_platform.isa[RTC_IRQ].gsi, APIC_NMI & 0x700, high, false,
                      host_platform.isa[RTC_IRQ].active_low))
        return;
    (void)rtc_read(RTC_C); /* now: an NMI whose flag it took would be nobody's */
    alone = true;
    u8 b = rtc_read(RTC_B);
    outb(0x71, b | RTC_UPDATE_ENDED);
}

/* Logs what the banks have and clears them; panics, leaving them to the firmware, if it is an error
 * that the machine cannot go on with.  f: at a machine check. */
static void look_at_banks(const struct user_frame *f)
{
    for (u32 bank = 0; bank < (cap & 0xff); bank++) {
        u64 status = rdmsr(MC_CTL(bank) + 1);
        u64 address = status & BANK_ADDRESS ? rdmsr(MC_CTL(bank) + 2) : 0;
        u64 fatal = cap & CAP_RECOVERY ? BANK_CONTEXT_LOST | BANK_ACTION : BANK_UNCORRECTED;
        if (!(status & BANK_VALID))
            continue;
        if (f && (status & BANK_UNCORRECTED) && (status & fatal))
            panic_at(f, "machine check: bank %u status %016lx address %lx", bank, status, address);
        log_error("machine check: cpu %u bank %u status %016lx address %lx: %s", this_cpu()->id,
                  bank, status, address, status & BANK_UNCORRECTED ? "not corrected" : "corrected");
        wrmsr(MC_CTL(bank) + 1, 0);
    }
}

void health_cpu_init(void)
{
    struct cpuid_regs r = cpuid(1, 0);

    if (!(r.edx & BIT(14)) || !rdmsr_safe(MCG_CAP, &cap))
        return;
    if (cap & CAP_CTL)
        wrmsr(MCG_CTL, ~0ull);
    look_at_banks(NULL);
    for (u32 bank = 0; bank < (cap & 0xff); bank++)
        wrmsr(MC_CTL(bank), ~0ull);
}

void health_machine_check(const struct user_frame *f)
{
    if (!(rdmsr(MCG_STATUS) & STATUS_RIPV) || !log_is_free())
        panic_at(f, "machine check, status %lx", rdmsr(MCG_STATUS));
    look_at_banks(f);
    wrmsr(MCG_STATUS, 0);
}

void health_nmi(const struct user_frame *f)
{
    bool clock = alone && (rtc_read(RTC_C) & RTC_UPDATE_ENDED);

    if (panic_stop())
        return;
    this_cpu()->quiet += clock;
    if (!(f->cs & 3) && this_cpu()->quiet > QUIET_LIMIT)
        panic_at(f, "cpu %u is stuck in the kernel, for %u s now", this_cpu()->id,
                 this_cpu()->quiet);
    stray_nmis += !clock; /* it may have interrupted log_write, so nothing can be logged here */
}

static void tick(struct timer *t)
{
    struct cpu *next = cpus[(this_cpu()->id + 1) % cpu_count];
    u32 strays = __atomic_exchange_n(&stray_nmis, 0, __ATOMIC_RELAXED);

    if (strays)
        log_warn("%u NMIs came that nobody here sent", strays);
    look_at_banks(NULL);
    if (next == this_cpu()) {
        health_alive();
    } else {
        if (++next->quiet > QUIET_LIMIT + 3)
            panic("cpu %u is stuck and takes no NMI", next->id);
        apic_send(next->apic_id, next->quiet > QUIET_LIMIT ? APIC_NMI : APIC_FIXED | VECTOR_PING);
    }
    timer_set(t, tsc_read() + tsc_hz);
}

void health_alive(void)
{
    this_cpu()->quiet = 0;
}

void health_waiting(void)
{
    struct timer *t = &ticks[this_cpu()->id];

    health_alive(); /* waiting is not being stuck: whom it waits for is watched, too */
    if (!t->armed || tsc_read() < t->deadline)
        return;
    timer_cancel(t);
    tick(t);
}

void health_start(void)
{
    struct timer *t = &ticks[this_cpu()->id];

    t->fire = tick;
    timer_set(t, tsc_read() + tsc_hz);
    if (cpu_count == 1 && !this_cpu()->id)
        watch_alone();
}
