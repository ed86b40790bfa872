/* links: control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* The clock that can be set, and its times as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"

static void stamps(void **state)
{
    static const struct {
        u64 seconds;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000001Z"},          {951782400, "2000-02-29T00:00:00.000001Z"},
        {951868799, "2000-02-29T23:59:59.000001Z"},  {951868800, "2000-03-01T00:00:00.000001Z"},
        {4102444800, "2100-01-01T00:00:00.000001Z"}, {4107542399, "2100-02-28T23:59:59.000001Z"},
        {4107542400, "2100-03-01T00:00:00.000001Z"}, {1795338000, "2026-11-22T09:00:00.000001Z"},
    };
    char text[CLOCK_TEXT];

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(cases); i++) {
        clock_text(cases[i].seconds * CLOCK_SECOND + 1999, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void the_clock_can_be_set(void **state)
{
    (void)state;
    clock_init();
    clock_set_unix_ns(4102444800 * CLOCK_SECOND);
    assert_true(clock_unix() - 4102444800 < 1000);
    clock_set_unix_ns(1000 * CLOCK_SECOND + clock_ns());
    assert_true(clock_unix_ns() >= 1000 * CLOCK_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamps),
        cmocka_unit_test(the_clock_can_be_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
