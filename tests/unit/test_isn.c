/* links: net/isn.c net/shape.c tests/unit/net_lab.c */
/* Initial sequence numbers: nobody can tell one from another's, or from those of the start before;
 * for the same pair they go up with time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net/isn.h"
#include "tests/unit/net_lab.h"

static const ip_addr_t here = IPADDR4_INIT_BYTES(10, 0, 0, 2),
                       there = IPADDR4_INIT_BYTES(10, 0, 0, 1);

/* The paper's appendix A and the vectors that go with its own implementation. */
static void the_hash_is_siphash(void **state)
{
    static const u64 expected[] = {0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a,
                                   0x85676696d7fb7e2d, 0xcf2794e0277187b7, 0x18765564cd99a68d,
                                   0xcbc9466e58fee3ce, 0xab0200f58b01d137, 0x93f5f5799a932462};
    const u64 key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    u8 bytes[15];

    (void)state;
    for (u32 i = 0; i < sizeof(bytes); i++)
        bytes[i] = (u8)i;
    for (u32 i = 0; i < ARRAY_LEN(expected); i++)
        assert_int_equal(isn_hash(key, bytes, i), expected[i]);
    assert_int_equal(isn_hash(key, bytes, 15), 0xa129ca6149be45e5);
}

/* Each part of a connection's name counts: with one secret, at one time. */
static void each_part_counts(void **state)
{
    ip_addr_t six = IPADDR6_INIT_HOST(0xfe800000, 0, 0, 1), other = here, far = six;
    u32 all[8], n = 0;

    (void)state;
    ip_2_ip4(&other)->addr ^= 0x01000000;
    ip_2_ip6(&far)->addr[3] ^= 0x01000000;
    isn_init();
    all[n++] = isn_next(&here, 22, &there, 40000);
    all[n++] = isn_next(&here, 23, &there, 40000);
    all[n++] = isn_next(&here, 22, &there, 40001);
    all[n++] = isn_next(&other, 22, &there, 40000);
    all[n++] = isn_next(&here, 22, &other, 40000);
    all[n++] = isn_next(&there, 22, &here, 40000);
    all[n++] = isn_next(&six, 22, &six, 40000);
    all[n++] = isn_next(&six, 22, &far, 40000);
    for (u32 i = 0; i < n; i++) {
        for (u32 k = 0; k < i; k++) /* more apart than a few seconds of the clock are */
            assert_true(MIN(all[i] - all[k], all[k] - all[i]) > 100000);
    }
    assert_int_equal(isn_next(&here, 22, &there, 40000), all[0]);
}

static void it_goes_up_with_time(void **state)
{
    (void)state;
    for (u32 i = 0; i < 1000; i++) {
        u32 before = isn_next(&here, 22, &there, 40000);

        net_lab_now += 4000ull * (i + 1);
        assert_int_equal(isn_next(&here, 22, &there, 40000) - before, i + 1);
    }
}

static void each_start_has_a_secret_of_its_own(void **state)
{
    u32 seen[16];

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(seen); i++) {
        isn_init();
        seen[i] = isn_next(&here, 22, &there, 40000);
        for (u32 k = 0; k < i; k++)
            assert_true(MIN(seen[i] - seen[k], seen[k] - seen[i]) > 100000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_siphash),
        cmocka_unit_test(each_part_counts),
        cmocka_unit_test(it_goes_up_with_time),
        cmocka_unit_test(each_start_has_a_secret_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
