/* The TSC written and adjusted: both MSRs move together, one vCPU alone moves, deadlines follow,
 * and INIT leaves the adjustment (SDM 3B 17.17.3, 3A table 10-1). */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define TIMER 0x40
#define STEP (1ull << 44)
#define SLACK (1ull << 40) /* far more than any delay here, far less than a step */

static volatile u64 other_tsc, other_adjust, asked, answered, starts;

static void other(unsigned index)
{
    (void)index;
    starts++;
    for (;;) {
        if (asked != answered) {
            other_tsc = rdtsc();
            other_adjust = rdmsr(MSR_TSC_ADJUST);
            if (asked == 3)
                wrmsr(MSR_TSC_ADJUST, other_adjust + STEP);
            answered = asked;
        }
        pause();
    }
}

static void ask_other(u64 what)
{
    u64 rounds = 0;
    asked = what;
    while (answered != what) {
        pause();
        check(rounds++ < 1000000000, "the other vCPU does not answer");
    }
}

static bool near(u64 a, u64 b)
{
    return a - b < SLACK || b - a < SLACK;
}

static void written(void)
{
    u64 adjust = rdmsr(MSR_TSC_ADJUST), before = rdtsc();
    wrmsr(MSR_TSC, before + STEP);
    check(near(rdtsc(), before + STEP), "TSC after it was written: %lx, was %lx", rdtsc(), before);
    check(near(rdmsr(MSR_TSC_ADJUST), adjust + STEP), "TSC_ADJUST after the TSC was written: %lx",
          rdmsr(MSR_TSC_ADJUST));
    wrmsr(MSR_TSC_ADJUST, adjust);
    check_equal(rdmsr(MSR_TSC_ADJUST), adjust, "TSC_ADJUST");
    check(near(rdtsc(), before), "TSC after TSC_ADJUST went back");
    wrmsr(MSR_TSC_ADJUST, adjust - before); /* about where it began */
    check(rdtsc() < SLACK, "TSC set to zero by TSC_ADJUST: %lx", rdtsc());
    wrmsr(MSR_TSC_ADJUST, adjust);
    for (unsigned i = 0; i < 1000; i++) {
        u64 first = rdtsc();
        wrmsr(MSR_TSC_ADJUST, adjust + i);
        check(rdtsc() >= first, "the TSC went back");
    }
    wrmsr(MSR_TSC_ADJUST, adjust);
}

/* A deadline is met by the TSC that the guest sees. */
static void deadline_moves(void)
{
    u64 adjust = rdmsr(MSR_TSC_ADJUST), before = guest_count[TIMER], start;
    if (!(cpuid(1, 0).ecx & BIT(24)))
        return;
    apic_write(APIC_LVT_TIMER, TIMER | APIC_TIMER_DEADLINE);
    asm volatile("mfence" : : : "memory");
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + STEP);
    take_interrupts();
    check_equal(guest_count[TIMER], before, "a deadline far away");
    wrmsr(MSR_TSC_ADJUST, adjust + 2 * STEP); /* and now it is past */
    start = rdtsc();
    while (guest_count[TIMER] == before) {
        take_interrupts();
        check(!guest_late(start, 2000), "the deadline did not move with the TSC");
    }
    wrmsr(MSR_TSC_ADJUST, adjust);
    apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
}

void guest_main(void)
{
    u64 adjust;
    if (!(cpuid(7, 0).ebx & BIT(1)) || guest_on_qemu()) {
        print("no TSC_ADJUST\n");
        return;
    }
    apic_enable_x();
    tsc_per_ms();
    written();
    deadline_moves();

    guest_start_cpus(other);
    ask_other(1);
    check(near(other_tsc, rdtsc()), "two TSCs at the start: %lx, %lx", other_tsc, rdtsc());
    check_equal(other_adjust, 0, "TSC_ADJUST of a started vCPU");
    adjust = rdmsr(MSR_TSC_ADJUST);
    wrmsr(MSR_TSC_ADJUST, adjust + STEP);
    ask_other(2);
    check(near(other_tsc + STEP, rdtsc()), "the other's TSC moved: %lx, mine %lx", other_tsc,
          rdtsc());
    wrmsr(MSR_TSC_ADJUST, adjust);
    ask_other(3); /* it moves its own */
    ask_other(4);
    check(near(other_tsc, rdtsc() + STEP), "the other's TSC did not move: %lx, mine %lx", other_tsc,
          rdtsc());
    u64 was = starts;
    guest_send_sipi(guest_apic_id_of(1));
    for (unsigned ms = 0; starts == was; ms++) {
        check(ms < 5000, "it did not start again");
        delay_ms(1);
    }
    ask_other(5);
    check_equal(other_adjust, STEP, "TSC_ADJUST after INIT");
    check(near(other_tsc, rdtsc() + STEP), "TSC after INIT: %lx, mine %lx", other_tsc, rdtsc());
}
