/* links: drivers/nic_flow.c */
/* Frames of one connection are one flow, others spread; what is cut short does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/nic_flow.h"

static u32 flow(const u8 *bytes, u32 len)
{
    u8 *exact = malloc(len ? len : 1); /* so that a look past the end is seen */

    memcpy(exact, bytes, len);
    u32 value = nic_flow(&(struct nic_frame){.data = exact, .len = len});
    free(exact);
    return value;
}

/* A TCP frame with `tags` VLAN tags; returns its length. */
static u32 make(u8 *f, bool six, u32 tags, u8 protocol, u16 port)
{
    u32 at = 12;

    memset(f, 0x11, 128);
    for (; tags--; at += 4)
        memcpy(f + at, (u8[]){0x81, 0x00, 0x00, 0x05}, 4);
    f[at] = six ? 0x86 : 0x08;
    f[at + 1] = six ? 0xdd : 0x00;
    u8 *ip = f + at + 2;
    ip[0] = six ? 0x60 : 0x45;
    ip[6] = six ? protocol : 0x40;
    ip[7] = 0;
    ip[9] = protocol;
    u8 *l4 = ip + (six ? 40 : 20);
    l4[0] = (u8)(port >> 8);
    l4[1] = (u8)port;
    return (u32)(l4 - f) + 20;
}

static void a_connection_is_one_flow(void **state)
{
    u8 f[128];

    (void)state;
    for (u32 six = 0; six < 2; six++) {
        for (u32 tags = 0; tags < 3; tags++) {
            u32 len = make(f, six, tags, 6, 1000), first = flow(f, len);
            f[len - 10] ^= 0xff; /* its sequence number */
            f[0] ^= 0xff;        /* by another router */
            assert_int_equal(flow(f, len), first);
            len = make(f, six, tags, 6, 1001);
            assert_int_not_equal(flow(f, len), first);
        }
    }
}

static void connections_spread(void **state)
{
    u32 count[4] = {0};
    u8 f[128];

    (void)state;
    for (u32 port = 40000; port < 40400; port++) {
        u32 len = make(f, false, 0, 6, (u16)port);
        count[flow(f, len) % 4]++;
    }
    for (u32 i = 0; i < 4; i++)
        assert_in_range(count[i], 60, 140);
}

static void fragments_and_other_protocols_have_no_ports(void **state)
{
    u8 f[128];
    u32 len = make(f, false, 0, 6, 1000);

    (void)state;
    f[14 + 6] = 0x20; /* more fragments */
    u32 first = flow(f, len);
    f[14 + 6] = 0x00;
    f[14 + 7] = 0x10; /* a later one, whose bytes are data */
    f[34] = 0x77;
    assert_int_equal(flow(f, len), first);
    u32 one = flow(f, make(f, false, 0, 1, 1000)), two = flow(f, make(f, false, 0, 1, 1001));
    assert_int_equal(one, two);
    make(f, false, 0, 6, 1000);
    f[13] = 6; /* ARP: by its MACs */
    one = flow(f, 42);
    f[30] ^= 1;
    assert_int_equal(flow(f, 42), one);
    f[11] ^= 1;
    assert_int_not_equal(flow(f, 42), one);
}

/* Wherever a frame is cut into pieces. */
static void pieces_are_the_same_flow(void **state)
{
    u8 f[1024] = {0};
    u32 len = make(f, true, 2, 17, 1000) + 900, whole = flow(f, len);
    struct nic_frame piece[3] = {{.data = f, .more = &piece[1]}, {.more = &piece[2]}, {0}};

    (void)state;
    for (u32 a = 0; a < 100; a++) {
        for (u32 b = a; b < 100; b += 7) {
            piece[0].len = a;
            piece[1].data = f + a;
            piece[1].len = b - a;
            piece[2].data = f + b;
            piece[2].len = len - b;
            assert_int_equal(nic_flow(&piece[0]), whole);
        }
    }
}

static void any_length_and_any_byte(void **state)
{
    u8 f[128];
    u32 seed = 1;

    (void)state;
    for (u32 round = 0; round < 20000; round++) {
        u32 len = make(f, round & 1, round % 3, 6, 1000);
        for (u32 i = 0; i < round % 5; i++) {
            seed = seed * 1103515245 + 12345;
            f[(seed >> 8) % len] = (u8)(seed >> 20);
        }
        (void)flow(f, round % (len + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_one_flow),
        cmocka_unit_test(connections_spread),
        cmocka_unit_test(fragments_and_other_protocols_have_no_ports),
        cmocka_unit_test(pieces_are_the_same_flow),
        cmocka_unit_test(any_length_and_any_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
