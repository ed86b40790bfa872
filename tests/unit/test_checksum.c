/* links: net/checksum.c */
/* The fast checksum against a plain one: every length and alignment, and sums that carry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/checksum.h"

static u16 plain(const u8 *at, u32 len)
{
    u32 sum = 0;

    for (u32 i = 0; i < len; i++) {
        sum += i & 1 ? (u32)at[i] << 8 : at[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (u16)sum;
}

/* Zero has two forms in one's complement. */
static void same(u16 a, u16 b)
{
    assert_true(a == b || (a == 0xffff && b == 0) || (a == 0 && b == 0xffff));
}

static void every_length_and_alignment(void **state)
{
    u8 bytes[700];

    (void)state;
    for (u32 fill = 0; fill < 3; fill++) {
        for (u32 i = 0; i < sizeof(bytes); i++)
            bytes[i] = fill == 0 ? (u8)(i * 37 + 11) : fill == 1 ? 0xff : (u8)rand();
        for (u32 from = 0; from < 16; from++) {
            for (u32 len = 0; len + from <= sizeof(bytes) - 16; len++)
                same(checksum_sum(bytes + from, (int)len), plain(bytes + from, len));
        }
    }
}

static void copies_and_sums(void **state)
{
    u8 from[1460], to[1460 + 16];

    (void)state;
    for (u32 i = 0; i < sizeof(from); i++)
        from[i] = (u8)rand();
    for (u32 len = 0; len <= sizeof(from); len += 7) {
        memset(to, 0xee, sizeof(to));
        same(checksum_copy(to + 3, from, (u16)len), plain(from, len));
        assert_memory_equal(to + 3, from, len);
        assert_int_equal(to[3 + len], 0xee);
    }
}

static void reads_no_further(void **state)
{
    (void)state;
    for (u32 len = 1; len < 200; len++) {
        u8 *exact = malloc(len); /* ASan watches its end */
        memset(exact, 0xab, len);
        same(checksum_sum(exact, (int)len), plain(exact, len));
        free(exact);
    }
    assert_int_equal(checksum_sum("x", 0), 0);
    assert_int_equal(checksum_sum("x", -1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_and_alignment),
        cmocka_unit_test(copies_and_sums),
        cmocka_unit_test(reads_no_further),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
