/* The local APIC timer's cases, and those of its priorities, in whichever mode it is in. */
#include "tests/guests/lib/timer_cases.h"

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define TIMER 0x40
#define DIVIDE_BY_1 0xb
#define DIVIDE_BY_16 0x3
#define LIMIT_MS 2000

/* Ticks of the timer (divided by 1) a millisecond; its clock is the platform's business. */
static u32 ticks_per_ms;

static void measure(void)
{
    apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | TIMER);
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_TIMER_INITIAL, ~0u);
    u32 first = apic_read(APIC_TIMER_CURRENT);
    delay_ms(2);
    u32 second = apic_read(APIC_TIMER_CURRENT);
    check(second < first, "timer does not count: %x, %x", first, second);
    ticks_per_ms = (first - second) / 2;
    check(ticks_per_ms > 100, "timer counts %u a millisecond", ticks_per_ms);
}

/* Sleeps until `vector` was counted `times` more. */
static void sleep_for(u64 before, u64 times)
{
    u64 start = rdtsc();
    while (guest_count[TIMER] < before + times) {
        sti_hlt_cli();
        check(!guest_late(start, LIMIT_MS), "timer interrupt %lu of %lu did not come",
              guest_count[TIMER] - before, times);
    }
}

static void one_shot(void)
{
    u64 before = guest_count[TIMER];
    apic_write(APIC_LVT_TIMER, TIMER);
    u64 start = rdtsc();
    apic_write(APIC_TIMER_INITIAL, 3 * ticks_per_ms);
    sleep_for(before, 1);
    u64 took = rdtsc() - start;
    check(took > 2 * tsc_per_ms(), "3 ms took %lu TSC ticks, a ms is %lu", took, tsc_per_ms());
    check_equal(apic_read(APIC_TIMER_CURRENT), 0, "current count after a one-shot");
    delay_ms(5);
    take_interrupts();
    check_equal(guest_count[TIMER] - before, 1, "interrupts of a one-shot timer");
}

static void periodic(void)
{
    u64 before = guest_count[TIMER];
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
    check_equal(apic_read(APIC_TIMER_DIVIDE), DIVIDE_BY_16, "divide configuration");
    apic_write(APIC_LVT_TIMER, TIMER | APIC_TIMER_PERIODIC);
    u64 start = rdtsc();
    apic_write(APIC_TIMER_INITIAL, 2 * ticks_per_ms / 16);
    sleep_for(before, 5);
    u64 took = rdtsc() - start;
    check(took > 8 * tsc_per_ms(), "five times 2 ms took %lu TSC ticks, a ms is %lu", took,
          tsc_per_ms());
    apic_write(APIC_LVT_TIMER, TIMER | APIC_LVT_MASKED);
    before = guest_count[TIMER];
    delay_ms(5);
    take_interrupts();
    check(guest_count[TIMER] <= before + 1, "a masked timer goes on interrupting");
    apic_write(APIC_TIMER_INITIAL, 0);
    check_equal(apic_read(APIC_TIMER_CURRENT), 0, "current count of a stopped timer");
}

static void deadline(void)
{
    if (!(cpuid(1, 0).ecx & BIT(24))) {
        print("no TSC-deadline mode\n");
        return;
    }
    u64 before = guest_count[TIMER];
    apic_write(APIC_LVT_TIMER, TIMER | APIC_TIMER_DEADLINE);
    asm volatile("mfence" : : : "memory");
    u64 want = rdtsc() + 3 * tsc_per_ms();
    wrmsr(MSR_TSC_DEADLINE, want);
    u64 got = rdmsr(MSR_TSC_DEADLINE); /* it has fired already if we were held up that long */
    check_equal(got, !got && rdtsc() >= want ? 0 : want, "TSC_DEADLINE");
    sleep_for(before, 1);
    check(rdtsc() >= want, "TSC-deadline interrupt came early");
    check_equal(rdmsr(MSR_TSC_DEADLINE), 0, "TSC_DEADLINE after it fired");
    wrmsr(MSR_TSC_DEADLINE, 1); /* long past: fires at once */
    sleep_for(before, 2);
    u64 fired, armed, disarmed;
    do { /* once more when it was held up so long that the deadline may have come */
        fired = guest_count[TIMER];
        armed = rdtsc();
        wrmsr(MSR_TSC_DEADLINE, armed + 20 * tsc_per_ms());
        wrmsr(MSR_TSC_DEADLINE, 0);
        disarmed = rdtsc();
        delay_ms(30);
        take_interrupts();
    } while (disarmed - armed >= 20 * tsc_per_ms());
    check_equal(guest_count[TIMER] - fired, 0, "interrupts of a disarmed deadline");
    /* In this mode the initial count does nothing, SDM 3A 11.5.4.1. */
    apic_write(APIC_TIMER_INITIAL, 1000);
    check_equal(apic_read(APIC_TIMER_CURRENT), 0, "current count in deadline mode");
}

void timer_cases(void)
{
    measure();
    one_shot();
    periodic();
    deadline();
    apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
}

#define LOW 0x51
#define HIGH 0x81
static volatile u64 order[4], order_count;

static void note_order(struct frame *f)
{
    if (order_count < ARRAY_LEN(order))
        order[order_count] = f->vector & 0xff;
    order_count++;
    apic_eoi();
}

static void self(unsigned vector)
{
    apic_ipi(0, APIC_ICR_SELF | APIC_ICR_ASSERT | vector);
}

static volatile u64 nested_seen;
static void nested_handler(struct frame *f)
{
    (void)f;
    check(apic_bit(APIC_ISR, HIGH), "no ISR bit in the handler");
    check_equal(apic_read(APIC_PPR) & 0xf0, HIGH & 0xf0, "PPR in the handler");
    self(LOW);
    take_interrupts();
    nested_seen = order_count; /* the lower one waits for the EOI */
    apic_eoi();
    check(!apic_bit(APIC_ISR, HIGH), "ISR bit after EOI");
}

void priority_cases(void)
{
    guest_handlers[LOW] = guest_handlers[HIGH] = note_order;
    order_count = 0;
    self(LOW);
    self(HIGH);
    self(LOW); /* merges with the first */
    check(apic_bit(APIC_IRR, LOW) && apic_bit(APIC_IRR, HIGH), "no IRR bit with interrupts off");
    take_interrupts();
    check_equal(order_count, 2, "interrupts delivered");
    check_equal(order[0], HIGH, "first vector");
    check_equal(order[1], LOW, "second vector");

    order_count = 0;
    write_cr8(6);
    check_equal(apic_read(APIC_TPR), 0x60, "TPR after a write of CR8");
    self(LOW);
    take_interrupts();
    check_equal(order_count, 0, "interrupts below the TPR");
    self(HIGH);
    take_interrupts();
    check_equal(order_count, 1, "interrupts above the TPR");
    sti();
    apic_write(APIC_TPR, 0x40);
    for (unsigned i = 0; i < 10; i++)
        pause();
    cli();
    check_equal(order_count, 2, "interrupts after the TPR went down");
    check_equal(read_cr8(), 4, "CR8 after a write of the TPR");
    write_cr8(0);

    order_count = 0;
    guest_handlers[HIGH] = nested_handler;
    self(HIGH);
    take_interrupts();
    check_equal(nested_seen, 0, "lower interrupts before the EOI of a higher one");
    take_interrupts();
    check_equal(order_count, 1, "lower interrupts after the EOI of a higher one");
    guest_handlers[LOW] = guest_handlers[HIGH] = NULL;
}
