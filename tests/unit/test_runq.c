/* links: kernel/runq.c */
/* Shares of a core: weights, blocking, waking after a long sleep, moving between cores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernel/runq.h"
#include "kernel/vcpu.h"

#define SLICE 1000
#define KEEP 100

/* Runs `rounds` slices among what is queued; each vCPU's real time is summed in ready_since. */
static void run_slices(struct runq *q, unsigned rounds, u64 slice)
{
    struct vcpu *last = NULL;

    for (unsigned i = 0; i < rounds; i++) {
        struct vcpu *v = runq_choose(q, last, KEEP);
        assert_non_null(v);
        assert_true(runq_remove(q, v));
        runq_started(q, v);
        runq_charge(v, slice, 2 * SLICE);
        v->ready_since += slice;
        runq_wake(q, v, SLICE);
        runq_insert(q, v);
        last = v;
    }
}

static void shares_follow_weights(void **state)
{
    static const struct {
        u32 a, b, percent_a;
    } cases[] = {{100, 100, 50}, {200, 100, 66}, {100, 300, 25}, {10000, 100, 99}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct vcpu a = {.weight = cases[i].a}, b = {.weight = cases[i].b};
        struct runq q = {0};
        runq_insert(&q, &a);
        runq_insert(&q, &b);
        run_slices(&q, 2000, SLICE);
        u64 percent = 100 * a.ready_since / (a.ready_since + b.ready_since);
        assert_in_range(percent, cases[i].percent_a - 1, cases[i].percent_a + 1);
    }
}

static void four_equals_get_a_quarter_each(void **state)
{
    struct vcpu v[4] = {{.weight = 100}, {.weight = 100}, {.weight = 100}, {.weight = 100}};
    struct runq q = {0};

    (void)state;
    for (int i = 0; i < 4; i++)
        runq_insert(&q, &v[i]);
    run_slices(&q, 4000, SLICE);
    for (int i = 0; i < 4; i++)
        assert_in_range(v[i].ready_since, 999 * SLICE, 1001 * SLICE);
}

static void many_short_exits_do_not_win_time(void **state)
{
    /* `a` leaves after a hundredth of a slice each time; both still get half. */
    struct vcpu a = {.weight = 100}, b = {.weight = 100};
    struct runq q = {0};
    struct vcpu *last = NULL;

    (void)state;
    runq_insert(&q, &a);
    runq_insert(&q, &b);
    for (int i = 0; i < 100000; i++) {
        struct vcpu *v = runq_choose(&q, last, KEEP);
        u64 ran = v == &a ? SLICE / 100 : SLICE;
        runq_remove(&q, v);
        runq_started(&q, v);
        runq_charge(v, ran, 2 * SLICE);
        v->ready_since += ran;
        runq_insert(&q, v);
        last = v;
    }
    assert_in_range(100 * a.ready_since / (a.ready_since + b.ready_since), 49, 51);
}

static void the_last_one_stays_while_it_is_not_far_ahead(void **state)
{
    struct vcpu a = {.weight = 100, .vruntime = 50}, b = {.weight = 100};
    struct runq q = {0};

    (void)state;
    runq_insert(&q, &a);
    runq_insert(&q, &b);
    assert_ptr_equal(runq_choose(&q, NULL, KEEP), &b);
    assert_ptr_equal(runq_choose(&q, &a, KEEP), &a);
    assert_ptr_equal(runq_choose(&q, &a, 49), &b);
    /* One that is not queued any more is not chosen. */
    assert_true(runq_remove(&q, &a));
    assert_false(runq_remove(&q, &a));
    assert_ptr_equal(runq_choose(&q, &a, KEEP), &b);
    assert_int_equal(q.count, 1);
}

static void a_long_sleep_earns_one_bonus_only(void **state)
{
    struct vcpu busy = {.weight = 100}, sleeper = {.weight = 100};
    struct runq q = {0};

    (void)state;
    runq_insert(&q, &busy);
    run_slices(&q, 1000, SLICE);
    runq_wake(&q, &sleeper, SLICE);
    assert_int_equal(sleeper.vruntime, q.floor - SLICE);
    runq_insert(&q, &sleeper);
    assert_ptr_equal(runq_choose(&q, &busy, KEEP), &sleeper);
    busy.ready_since = 0;
    run_slices(&q, 100, SLICE);
    assert_in_range(sleeper.ready_since, 50 * SLICE, 52 * SLICE);
}

static void time_alone_is_not_paid_back(void **state)
{
    struct vcpu alone = {.weight = 100}, woken = {.weight = 100};
    struct runq q = {0};

    (void)state;
    runq_started(&q, &alone);
    runq_wake(&q, &woken, SLICE);
    runq_insert(&q, &woken);
    runq_charge(&alone, 100000 * SLICE, 2 * SLICE);
    runq_insert(&q, &alone);
    run_slices(&q, 100, SLICE);
    assert_in_range(woken.ready_since, 50 * SLICE, 52 * SLICE);
}

static void moving_keeps_the_lead_not_the_clock(void **state)
{
    struct runq from = {.floor = 1000000}, to = {.floor = 10};
    struct vcpu v = {.weight = 100, .vruntime = 1000500}, w = {.weight = 100, .vruntime = 5};

    (void)state;
    runq_transfer(&from, &to, &v);
    assert_int_equal(v.vruntime, 510);
    runq_transfer(&from, &to, &w);
    assert_int_equal(w.vruntime, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_weights),
        cmocka_unit_test(four_equals_get_a_quarter_each),
        cmocka_unit_test(many_short_exits_do_not_win_time),
        cmocka_unit_test(the_last_one_stays_while_it_is_not_far_ahead),
        cmocka_unit_test(a_long_sleep_earns_one_bonus_only),
        cmocka_unit_test(time_alone_is_not_paid_back),
        cmocka_unit_test(moving_keeps_the_lead_not_the_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
