/* links: control/rt/ring.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/ring.h"

static void keeps_order_across_the_edge(void **state)
{
    u8 bytes[8], out[8];
    struct ring r;

    (void)state;
    ring_init(&r, bytes, sizeof(bytes));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(ring_put(&r, "abcde", 5), 5);
        assert_int_equal(ring_used(&r), 5);
        assert_int_equal(ring_get(&r, out, 8), 5);
        assert_memory_equal(out, "abcde", 5);
    }
    assert_int_equal(ring_get_byte(&r), -1);
}

static void takes_only_what_fits(void **state)
{
    u8 bytes[8], out[8];
    struct ring r;

    (void)state;
    ring_init(&r, bytes, sizeof(bytes));
    assert_int_equal(ring_put(&r, "0123456789", 10), 8);
    assert_false(ring_put_byte(&r, 'x'));
    assert_int_equal(ring_room(&r), 0);
    assert_int_equal(ring_get_byte(&r), '0');
    assert_true(ring_put_byte(&r, 'x'));
    assert_int_equal(ring_get(&r, out, 8), 8);
    assert_memory_equal(out, "1234567x", 8);
}

static void push_lets_the_oldest_go(void **state)
{
    u8 bytes[8], out[8];
    struct ring r;

    (void)state;
    ring_init(&r, bytes, sizeof(bytes));
    ring_push(&r, "abc", 3);
    ring_push(&r, "defghij", 7);
    assert_int_equal(ring_used(&r), 8);
    assert_int_equal(ring_peek_newest(&r, out, 4), 4);
    assert_memory_equal(out, "ghij", 4);
    ring_push(&r, "0123456789ABC", 13);
    assert_int_equal(ring_get(&r, out, 8), 8);
    assert_memory_equal(out, "56789ABC", 8);
    assert_int_equal(ring_peek_newest(&r, out, 4), 0);
}

static void survives_the_counters_wrapping(void **state)
{
    u8 bytes[8], out[8];
    struct ring r;

    (void)state;
    ring_init(&r, bytes, sizeof(bytes));
    r.head = r.tail = 0xfffffffd;
    assert_int_equal(ring_put(&r, "abcdefgh", 8), 8);
    assert_int_equal(ring_room(&r), 0);
    assert_int_equal(ring_get(&r, out, 8), 8);
    assert_memory_equal(out, "abcdefgh", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_across_the_edge),
        cmocka_unit_test(takes_only_what_fits),
        cmocka_unit_test(push_lets_the_oldest_go),
        cmocka_unit_test(survives_the_counters_wrapping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
