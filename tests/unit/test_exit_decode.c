/* links: kernel/exit_decode.c */
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

static void control_registers(void **state)
{
    (void)state;
    struct exit_cr c = exit_decode_cr(0x804);
    assert_int_equal(c.cr, 4);
    assert_int_equal(c.type, CR_MOV_TO);
    assert_int_equal(c.reg, REG_R8);
    c = exit_decode_cr(0x118);
    assert_int_equal(c.cr, 8);
    assert_int_equal(c.type, CR_MOV_FROM);
    assert_int_equal(c.reg, REG_RCX);
    assert_int_equal(exit_decode_cr(0x12340030).type, 3); /* LMSW */
}

static void ept_and_apic(void **state)
{
    (void)state;
    struct exit_ept e = exit_decode_ept(0x182);
    assert_true(e.write && e.gla_valid && e.final);
    assert_false(e.fetch);
    e = exit_decode_ept(0x81); /* a page table in a hole */
    assert_true(e.gla_valid);
    assert_false(e.final);
    assert_false(exit_decode_ept(0x100).final); /* bit 8 means nothing without bit 7 */
    struct exit_apic a = exit_decode_apic(0x10b0);
    assert_int_equal(a.offset, 0xb0);
    assert_int_equal(a.type, APIC_LINEAR_WRITE);
}

static void reinjection(void **state)
{
    bool len;

    (void)state;
    assert_int_equal(exit_reinject(0, &len), 0);
    assert_false(len);
    /* An external interrupt, with the undefined bit 12 set. */
    assert_int_equal(exit_reinject(0x80001030, &len), 0x80000030);
    assert_false(len);
    assert_int_equal(exit_reinject(0x80000b0e, &len), 0x80000b0e); /* #PF with error code */
    assert_false(len);
    assert_int_equal(exit_reinject(0x80000480, &len), 0x80000480); /* int 80h */
    assert_true(len);
    assert_int_equal(exit_reinject(0x80000603, &len), 0x80000603); /* int3 */
    assert_true(len);
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

/* The entry field has reserved bits that must be 0 whatever the CPU reported. */
static void random_words(void **state)
{
    bool len;

    (void)state;
    srand(1);
    for (int i = 0; i < 200000; i++) {
        u64 q = (u64)rand() << 33 ^ (u64)rand() << 11 ^ (u64)rand();
        u32 info = exit_reinject((u32)q, &len);
        assert_int_equal(info & ~(INTR_VALID | INTR_HAS_ERROR | INTR_TYPE | INTR_VECTOR), 0);
        struct exit_io x = exit_decode_io(q, (u32)(q >> 7), true);
        assert_true(x.size >= 1 && x.size <= 8);
        assert_true(exit_decode_cr(q).reg < REG_COUNT);
        assert_true(exit_decode_apic(q).offset < 0x1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io),           cmocka_unit_test(control_registers),
        cmocka_unit_test(ept_and_apic), cmocka_unit_test(reinjection),
        cmocka_unit_test(random_words), cmocka_unit_test(second_exception),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
