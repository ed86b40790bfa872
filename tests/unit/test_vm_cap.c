/* links: vmm/vm_cap.c */
/* cpu.cap: over many periods a VM gets its percentage, however it runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "control/rt/loop.h"
#include "vmm/vm_cap.h"

#define PERIOD 1000000ull

/* What the other half of the file calls; never called here. */
void loop_timer_set(struct loop_timer *t, u64 deadline)
{
    (void)t;
    (void)deadline;
}
void loop_timer_cancel(struct loop_timer *t)
{
    (void)t;
}

/* Percent that a VM gets whose `vcpus` are busy all the time; each look comes up to `late` late. */
static u64 share(u32 percent, u32 vcpus, u64 late)
{
    struct vm_cap c = {0};
    u64 now = 12345678, used = 777, begin = now, first = used;

    c.start = now;
    c.base = used;
    while (now - begin < 200 * PERIOD) {
        u64 next = vm_cap_step(&c, now, used, PERIOD, percent, vcpus);
        assert_true(next > now && next <= c.start + PERIOD);
        next += late ? (u64)rand() % late : 0;
        if (!c.held)
            used += (next - now) * vcpus;
        now = next;
    }
    return (used - first) * 100 / (now - begin);
}

static void busy(void **state)
{
    static const u32 percents[] = {5, 10, 50, 75, 100, 150, 399};

    (void)state;
    srand(1);
    for (u32 i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        for (u32 vcpus = 1; vcpus <= 4; vcpus++) {
            u32 want = percents[i] < 100 * vcpus ? percents[i] : 100 * vcpus;
            u64 got = share(percents[i], vcpus, 0), late = share(percents[i], vcpus, PERIOD / 50);
            assert_in_range(got, want - want / 20 - 1, want + want / 20 + 1);
            assert_in_range(late, want - want / 10 - 2, want + want / 10 + 2);
        }
    }
}

static void idle(void **state)
{
    struct vm_cap c = {0};

    (void)state;
    for (u64 now = PERIOD; now < 50 * PERIOD; now += PERIOD / 3) {
        (void)vm_cap_step(&c, now, 0, PERIOD, 10, 1);
        assert_false(c.held);
    }
    /* What it did not use is not saved up: a burst is held like any other. */
    (void)vm_cap_step(&c, 50 * PERIOD + 1, PERIOD / 5, PERIOD, 10, 1);
    (void)vm_cap_step(&c, 50 * PERIOD + 2, PERIOD / 5 + PERIOD / 9, PERIOD, 10, 1);
    assert_true(c.held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(busy), cmocka_unit_test(idle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
