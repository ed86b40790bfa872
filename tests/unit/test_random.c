/* links: control/rt/random.c */
/* The generator's cipher against RFC 8439, and its outputs against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/random.h"

/* RFC 8439, section 2.3.2. */
static void the_block_of_the_rfc(void **state)
{
    static const u32 expect[16] = {0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3,
                                   0xc7f4d1c7, 0x0368c033, 0x9aaa2204, 0x4e6cd4c3,
                                   0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9,
                                   0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2};
    u8 bytes[32];
    u32 key[8], out[16];
    (void)state;
    for (u32 i = 0; i < 32; i++)
        bytes[i] = (u8)i;
    memcpy(key, bytes, sizeof(key));
    random_chacha20(key, 1, (const u32[3]){0x09000000, 0x4a000000, 0}, out);
    assert_memory_equal(out, expect, sizeof(out));
}

static void outputs_differ_and_are_balanced(void **state)
{
    u8 a[4096], b[4096];
    u32 ones = 0;
    (void)state;
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (u32 i = 0; i < sizeof(a); i++)
        ones += (u32)__builtin_popcount(a[i]);
    assert_in_range(ones, 16384 - 700, 16384 + 700); /* eight standard deviations */
}

static void odd_lengths_are_filled(void **state)
{
    u8 bytes[200];
    (void)state;
    for (u32 len = 1; len < sizeof(bytes); len += 13) {
        u32 zeros = 0;
        memset(bytes, 0, sizeof(bytes));
        random_bytes(bytes, len);
        for (u32 i = len; i < sizeof(bytes); i++)
            assert_int_equal(bytes[i], 0);
        for (u32 i = 0; i < len; i++)
            zeros += !bytes[i];
        assert_true(len < 20 || zeros < len / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_block_of_the_rfc),
        cmocka_unit_test(outputs_differ_and_are_balanced),
        cmocka_unit_test(odd_lengths_are_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
