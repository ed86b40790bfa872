/* links: */
/* VT-x exit words: bit positions as in the manual's tables, and nothing breaks on random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/abi/vcpu_page.h"
#include "kernel/exit_decode.h"

static void io(void **state)
{
    (void)state;
    /* in al, 60h by immediate */
    struct exit_io i = exit_decode_io(0x600048, 0, true);
    assert_int_equal(i.port, 0x60);
    assert_int_equal(i.size, 1);
    assert_true(i.in);
    assert_false(i.string || i.rep);
    assert_int_equal(i.addr_size, 0);
    /* rep outsd, 64-bit addresses */
    i = exit_decode_io(0xcf80033, 2 << 7, true);
    assert_int_equal(i.port, 0xcf8);
    assert_int_equal(i.size, 4);
    assert_false(i.in);
    assert_true(i.string && i.rep);
    assert_int_equal(i.addr_size, 8);
    assert_int_equal(exit_decode_io(0xcf80033, 2 << 7, false).addr_size, 0);
}

/* SDM 3A table 6-5, all of it: rows are the first exception, columns the second. */
static void second_exception(void **state)
{
    static const u8 benign[] = {1, 2, 3, 4, 5, 6, 7, 9, 16, 17, 18, 19};
    static const u8 contributory[] = {0, 10, 11, 12, 13};
    u32 gp = INTR_INFO(INTR_EXCEPTION, 13), pf = INTR_INFO(INTR_EXCEPTION, 14);

    (void)state;
    for (u32 i = 0; i < sizeof(benign); i++) {
        u32 first = INTR_INFO(INTR_EXCEPTION, benign[i]);
        assert_int_equal(exit_second_exception(first, 13), 13);
        assert_int_equal(exit_second_exception(first, 14), 14);
        assert_int_equal(exit_second_exception(gp, benign[i]), benign[i]);
        assert_int_equal(exit_second_exception(pf, benign[i]), benign[i]);
        assert_int_equal(exit_second_exception(INTR_INFO(INTR_EXCEPTION, 8), benign[i]), benign[i]);
    }
    for (u32 i = 0; i < sizeof(contributory); i++) {
        u32 vector = contributory[i];
        assert_int_equal(exit_second_exception(gp, vector), 8);
        assert_int_equal(exit_second_exception(pf, vector), 8);
        assert_int_equal(exit_second_exception(INTR_INFO(INTR_EXCEPTION, vector), 14), 14);
        assert_int_equal(exit_second_exception(INTR_INFO(INTR_EXCEPTION, 8), vector),
                         EXCEPTION_SHUTDOWN);
        /* Interrupts of the same number are no exceptions; an invalid field is nothing. */
        assert_int_equal(exit_second_exception(INTR_INFO(INTR_SOFT, 13), vector), vector);
        assert_int_equal(exit_second_exception(INTR_INFO(INTR_EXTERNAL, 14), vector), vector);
        assert_int_equal(exit_second_exception(0, vector), vector);
        assert_int_equal(exit_second_exception(0x30d, vector), vector);
    }
    assert_int_equal(exit_second_exception(pf, 14), 8);
    assert_int_equal(exit_second_exception(INTR_INFO(INTR_EXCEPTION, 8), 14), EXCEPTION_SHUTDOWN);
}

static void random_words(void **state)
{
    (void)state;
    srand(1);
    for (int i = 0; i < 200000; i++) {
        u64 q = (u64)rand() << 33 ^ (u64)rand() << 11 ^ (u64)rand();
        struct exit_io x = exit_decode_io(q, (u32)(q >> 7), true);
        assert_true(x.size >= 1 && x.size <= 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io),
        cmocka_unit_test(random_words),
        cmocka_unit_test(second_exception),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
