/* links: control/refusal.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/refusal.h"
#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"

/* ---- a clock that goes when told ---------------------------------------------------------------
 */
static u64 now_ns = 1000 * CLOCK_SECOND;
static struct loop_timer *timers[2];
static char last[256];
static u32 records;

u64 clock_ns(void)
{
    return now_ns;
}

u64 clock_after(u64 ns)
{
    return now_ns + ns;
}

void loop_timer_set(struct loop_timer *t, u64 deadline)
{
    u32 i = timers[0] && timers[0] != t;

    t->deadline = deadline;
    t->armed = true;
    timers[i] = t;
}

static void pass(u64 seconds)
{
    for (u64 end = now_ns + seconds * CLOCK_SECOND; now_ns < end; now_ns += CLOCK_SECOND) {
        for (u32 i = 0; i < ARRAY_LEN(timers); i++) {
            if (!timers[i] || !timers[i]->armed || timers[i]->deadline > now_ns)
                continue;
            timers[i]->armed = false;
            timers[i]->fn(timers[i]->owner);
        }
    }
}

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    assert_int_equal(level, LOG_NOTICE);
    va_start(ap, fmt);
    vsnprintf(last, sizeof(last), fmt, ap);
    va_end(ap);
    records++;
}

static void says_who_from_where_and_why(void **state)
{
    (void)state;
    records = 0;
    refusal_login("anna", "10.0.2.2:4711", "wrong password");
    assert_string_equal(last, "login of anna from 10.0.2.2:4711 refused: wrong password");
    refusal_login("a\nb\x1b\xff", "x", "y");
    assert_string_equal(last, "login of a?b?? from x refused: y");
    refusal_login("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", "x", "y");
    assert_string_equal(last, "login of abcdefghijklmnopqrstuvwxyzabcde from x refused: y");
    refusal_connection("10.0.2.2:4711", "too many");
    assert_string_equal(last, "connection of 10.0.2.2:4711 refused: too many");
    assert_int_equal(records, 4);
    pass(1000);
}

static void a_flood_is_counted(void **state)
{
    (void)state;
    records = 0;
    for (u32 i = 0; i < 1000; i++)
        refusal_login("anna", "x", i == 999 ? "the end" : "wrong password");
    assert_int_equal(records, REFUSAL_BURST);
    refusal_connection("x", "too many"); /* does not hide the other kind */
    assert_int_equal(records, REFUSAL_BURST + 1);
    pass(REFUSAL_SUMMARY);
    assert_int_equal(records, REFUSAL_BURST + 1);
    pass(2);
    assert_int_equal(records, REFUSAL_BURST + 2);
    assert_string_equal(last, "980 more logins were refused; the last: login of anna from x "
                              "refused: the end");
    pass(REFUSAL_SUMMARY + 2);
    assert_int_equal(records, REFUSAL_BURST + 2); /* once */
}

/* Ten thousand a second for an hour: one event each REFUSAL_REFILL seconds, and the summaries. */
static void a_flood_that_lasts_is_bounded(void **state)
{
    const u32 seconds = 3600;

    (void)state;
    pass(1000);
    records = 0;
    for (u32 i = 0; i < seconds; i++) {
        for (u32 j = 0; j < 10000; j++)
            refusal_login("anna", "x", "wrong password");
        pass(1);
    }
    assert_in_range(records, REFUSAL_BURST + seconds / REFUSAL_REFILL - 2,
                    REFUSAL_BURST + seconds / REFUSAL_REFILL + seconds / REFUSAL_SUMMARY + 2);
    pass(REFUSAL_SUMMARY + 2);
}

/* Idle time gives back the burst, and not more. */
static void idle_time_is_not_saved_up(void **state)
{
    (void)state;
    pass(100000);
    records = 0;
    for (u32 i = 0; i < 2 * REFUSAL_BURST; i++)
        refusal_login("anna", "x", "wrong password");
    assert_int_equal(records, REFUSAL_BURST);
    pass(REFUSAL_REFILL);
    refusal_login("anna", "x", "wrong password");
    refusal_login("anna", "x", "wrong password");
    assert_int_equal(records, REFUSAL_BURST + 1);
    pass(1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_who_from_where_and_why),
        cmocka_unit_test(a_flood_is_counted),
        cmocka_unit_test(a_flood_that_lasts_is_bounded),
        cmocka_unit_test(idle_time_is_not_saved_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
