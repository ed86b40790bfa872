/* links: control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "control/rt/sys.h"

static char trace[256];

static void note(char c)
{
    u32 n = (u32)strlen(trace);

    trace[n] = c;
    trace[n + 1] = 0;
}

static void tick(void *owner)
{
    (void)owner;
}

static void step(void) /* an iteration that does not sleep for ever */
{
    struct loop_timer t = {.fn = tick};

    loop_timer_set(&t, clock_after(CLOCK_MS));
    loop_step();
    loop_timer_cancel(&t);
}

static void drive(void) /* the loop until no fiber is left */
{
    for (int i = 0; i < 10000 && fiber_count(); i++)
        step();
    assert_int_equal(fiber_count(), 0);
}

static void yielder(void *arg)
{
    for (int i = 0; i < 3; i++) {
        note(*(const char *)arg);
        fiber_yield();
    }
}

static void fibers_take_turns(void **state)
{
    (void)state;
    trace[0] = 0;
    fiber_spawn("a", yielder, "a");
    fiber_spawn("b", yielder, "b");
    drive();
    assert_string_equal(trace, "ababab");
    assert_null(fiber_self());
}

static struct event event;

static void waiter(void *arg)
{
    (void)arg;
    assert_string_equal(fiber_name(fiber_self()), "waiter");
    note(fiber_wait(&event, LOOP_NEVER) == HV_OK ? 'w' : 't');
}

static void signaller(void *arg)
{
    (void)arg;
    note('s');
    event_signal(&event);
}

static void a_signal_wakes_all_and_is_kept_for_one(void **state)
{
    (void)state;
    trace[0] = 0;
    fiber_spawn("waiter", waiter, NULL);
    fiber_spawn("waiter", waiter, NULL);
    fiber_spawn("signaller", signaller, NULL);
    drive();
    assert_string_equal(trace, "sww");
    event_signal(&event); /* nobody there */
    fiber_spawn("waiter", waiter, NULL);
    drive();
    assert_string_equal(trace, "swww");
    assert_false(event.signalled);
}

static void timed(void *arg)
{
    (void)arg;
    u64 until = clock_after(5 * CLOCK_MS);
    note(fiber_wait(&event, until) == HV_ETIMEDOUT ? 't' : 'w');
    assert_true(clock_tsc() >= until);
    until = clock_after(5 * CLOCK_MS);
    fiber_sleep_until(until);
    assert_true(clock_tsc() >= until);
    note('z');
}

static void a_wait_times_out(void **state)
{
    (void)state;
    trace[0] = 0;
    fiber_spawn("timed", timed, NULL);
    drive();
    assert_string_equal(trace, "tz");
    assert_null(event.waiters);
}

static struct fiber *patient;

static void waits_for_ever(void *arg)
{
    struct event never = {0};

    (void)arg;
    note(fiber_wait_cancellable(&never, LOOP_NEVER) == HV_ETIMEDOUT ? 'c' : '?');
    assert_null(never.waiters);
    note(fiber_wait_cancellable(&never, clock_after(3600 * CLOCK_SECOND)) == HV_ETIMEDOUT ? 'd'
                                                                                          : '?');
    note(fiber_wait(&event, LOOP_NEVER) == HV_OK ? 'e' : '?');
    patient = NULL;
}

static void canceller(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < 5; i++) { /* the last three find a wait that goes on to its end */
        fiber_yield();
        fiber_cancel(patient);
    }
    fiber_yield();
    assert_non_null(patient);
    note('s');
    event_signal(&event);
}

static void a_wait_can_be_cancelled(void **state)
{
    (void)state;
    trace[0] = 0;
    patient = fiber_spawn("patient", waits_for_ever, NULL);
    fiber_spawn("canceller", canceller, NULL);
    drive();
    assert_string_equal(trace, "cdse");
    assert_null(event.waiters);
}

static void on_timer(void *owner)
{
    note(*(char *)owner);
}

static void timers_run_in_order_and_can_be_cancelled(void **state)
{
    struct loop_timer t[4];
    char name[4] = {'0', '1', '2', '3'};
    u64 now = clock_tsc();

    (void)state;
    trace[0] = 0;
    memset(t, 0, sizeof(t));
    for (int i = 0; i < 4; i++)
        t[i].fn = on_timer, t[i].owner = &name[i];
    loop_timer_set(&t[2], now + 3000000);
    loop_timer_set(&t[0], now + 1000000);
    loop_timer_set(&t[3], now + 4000000);
    loop_timer_set(&t[1], now + 2000000);
    loop_timer_cancel(&t[2]);
    loop_timer_cancel(&t[2]);
    loop_timer_set(&t[0], now + 3500000); /* moved */
    while (t[3].armed)
        step();
    assert_string_equal(trace, "103");
}

static void many(void *arg)
{
    char deep[8000];

    memset(deep, 1, sizeof(deep));
    fiber_yield();
    *(u32 *)arg += (u32)deep[7999];
}

static void stacks_are_used_again(void **state)
{
    u32 sum = 0;

    (void)state;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 10; i++)
            assert_non_null(fiber_spawn("many", many, &sum));
        drive();
    }
    assert_int_equal(sum, 200);
}

static u64 seen[2];

static bool on_exit_of(u32 vm, u32 vcpu)
{
    seen[0] = vm;
    seen[1] |= BIT(vcpu);
    return vcpu == 5;
}

static void vcpu_exits_reach_the_hook(void **state)
{
    struct control_page *page = sys_control_page();

    (void)state;
    loop_on_exit(on_exit_of);
    page->vcpu_pending[3] = BIT(5) | BIT(7);
    page->vm_pending = BIT(3);
    page->events = EVENT_VCPU | EVENT_LOG;
    step();
    assert_int_equal(seen[0], 3);
    assert_int_equal(seen[1], BIT(5) | BIT(7));
    assert_int_equal(page->vm_pending | page->events | page->vcpu_pending[3], 0);
    assert_int_equal(page->vm_complete, BIT(3));
    assert_int_equal(page->vcpu_complete[3], BIT(5));
}

static u32 find_report(const char *name, struct fiber_report *out)
{
    u32 found = 0;
    struct fiber_report r;

    for (u32 i = 0; fiber_report(i, &r); i++) {
        if (strcmp(r.name, name))
            continue;
        *out = r;
        found++;
    }
    return found;
}

static void deep(void *arg)
{
    volatile u8 much[20000];

    memset((u8 *)much, 0xa5, sizeof(much));
    *(u8 *)arg = much[19999];
}

static void the_report_tells_depth_and_runs(void **state)
{
    struct fiber_report r;
    u8 byte = 0;

    (void)state;
    fiber_spawn("deep", deep, &byte);
    assert_int_equal(find_report("deep", &r), 1);
    assert_true(r.live);
    drive();
    assert_int_equal(byte, 0xa5);
    assert_int_equal(find_report("deep", &r), 1);
    assert_false(r.live);
    assert_int_equal(r.runs, 1);
    assert_true(r.stack_used > 20000 && r.stack_used < FIBER_STACK_SIZE);
    assert_true(r.longest <= r.ticks);
    assert_false(fiber_report(1000, &r));
}

static struct loop_timer busy_timer;
static u32 interrupts;

/* A device that always has more: it does its share and asks to be called again. */
static void endless(void *owner)
{
    interrupts++;
    loop_timer_set(owner, clock_tsc());
}

/* Others run after each share, whatever the driver still has to do. */
static void a_busy_driver_starves_nobody(void **state)
{
    u64 before = loop_load(LOOP_INTERRUPTS).count;

    (void)state;
    busy_timer = (struct loop_timer){.fn = endless, .owner = &busy_timer};
    loop_on_irq(9, endless, &busy_timer);
    trace[0] = 0;
    interrupts = 0;
    sys_control_page()->irq_pending |= BIT(9);
    fiber_spawn("a", yielder, "a");
    for (int i = 0; i < 3; i++) {
        sys_control_page()->irq_pending |= BIT(9);
        loop_step();
    }
    assert_string_equal(trace, "aaa");
    assert_true(interrupts >= 3 && interrupts <= 6);
    assert_int_equal(loop_load(LOOP_INTERRUPTS).count - before, 3);
    loop_timer_cancel(&busy_timer);
    drive();
}

static u32 looks;

static bool look(void)
{
    looks++;
    return looks % 2;
}

/* It sleeps no more, and timers, interrupts and fibers have their turn all the same. */
static void a_loop_that_polls_serves_all(void **state)
{
    struct loop_timer never = {.fn = tick};
    u64 before = loop_load(LOOP_DOORBELLS).count;

    (void)state;
    loop_on_irq(9, endless, &busy_timer);
    busy_timer = (struct loop_timer){.fn = tick};
    loop_timer_set(&never, LOOP_NEVER);
    loop_on_poll(look);
    loop_poll(0);
    interrupts = 0;
    trace[0] = 0;
    sys_control_page()->irq_pending |= BIT(9);
    fiber_spawn("a", yielder, "a");
    for (int i = 0; i < 6; i++)
        loop_step();
    assert_int_equal(looks, 6);
    assert_int_equal(loop_load(LOOP_DOORBELLS).count - before, 3);
    assert_int_equal(interrupts, 1);
    assert_string_equal(trace, "aaa");
    loop_poll(LOOP_NO_CPU);
    step();
    assert_int_equal(looks, 6);
    loop_timer_cancel(&busy_timer);
    loop_timer_cancel(&never);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fibers_take_turns),
        cmocka_unit_test(a_signal_wakes_all_and_is_kept_for_one),
        cmocka_unit_test(a_wait_times_out),
        cmocka_unit_test(a_wait_can_be_cancelled),
        cmocka_unit_test(timers_run_in_order_and_can_be_cancelled),
        cmocka_unit_test(stacks_are_used_again),
        cmocka_unit_test(vcpu_exits_reach_the_hook),
        cmocka_unit_test(the_report_tells_depth_and_runs),
        cmocka_unit_test(a_busy_driver_starves_nobody),
        cmocka_unit_test(a_loop_that_polls_serves_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
