/* links: net/discovery.c net/lldp.c net/cdp.c net/frame.c */
/* LLDP and CDP: what we write can be read, also cut off anywhere; the neighbour table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/cdp.h"
#include "net/discovery.h"
#include "net/lldp.h"

#define SECOND 1000000000ull
#define MAC 0x064248010203ull

static struct discovery speaker(void)
{
    struct discovery d = {.mode = {DISCOVERY_BOTH, DISCOVERY_BOTH}};

    d.self = (struct discovery_info){.mac = MAC,
                                     .device = "lab1",
                                     .platform = "Bulkhead 0.2",
                                     .version = "Bulkhead 0.2 x86-64",
                                     .address = {10, 134, 188, 5}};
    return d;
}

static void what_is_written_is_read(void **state)
{
    struct discovery d = speaker(), listener = {.mode = {DISCOVERY_LISTEN, DISCOVERY_LISTEN}};
    u8 frame[DISCOVERY_FRAME];

    (void)state;
    for (u32 p = 0; p < DISCOVERY_PROTOCOLS; p++) {
        u32 len = discovery_frame(&d, p, "nic0", MAC, 10, 9000, false, frame);
        assert_in_range(len, 60, DISCOVERY_FRAME);
        assert_true(discovery_receive(&listener, p, 3, frame, len, SECOND));
        const struct discovery_neighbour *n = &listener.neighbours[p];
        assert_true(n->used && n->port == 3 && n->protocol == p);
        assert_string_equal(n->info.device, "lab1");
        assert_string_equal(n->info.port, "nic0");
        assert_string_equal(n->info.platform, "Bulkhead 0.2");
        assert_int_equal(n->info.native_vlan, 10);
        assert_int_equal(n->info.mtu, 9000);
        assert_memory_equal(n->info.address, d.self.address, 4);
        assert_false(discovery_receive(&listener, p, 3, frame, len, 2 * SECOND)); /* known */
    }
    /* LLDP says good-bye, CDP times out. */
    u32 len = discovery_frame(&d, DISCOVERY_LLDP, "nic0", MAC, 10, 9000, true, frame);
    assert_true(discovery_receive(&listener, DISCOVERY_LLDP, 3, frame, len, 3 * SECOND));
    assert_false(listener.neighbours[0].used);
    assert_false(discovery_expire(&listener, 181 * SECOND));
    assert_true(discovery_expire(&listener, 182 * SECOND));
    assert_false(listener.neighbours[1].used);
}

static void a_frame_cut_anywhere_is_refused_or_whole(void **state)
{
    struct discovery d = speaker();
    struct discovery_info info;
    u8 frame[DISCOVERY_FRAME];

    (void)state;
    u32 len = discovery_frame(&d, DISCOVERY_CDP, "nic0", MAC, 1, 1500, false, frame);
    assert_true(cdp_read(frame, len, &info));
    for (u32 i = 0; i < len; i++) {
        u8 *cut = malloc(i ? i : 1); /* so that ASan sees a byte too far */
        memcpy(cut, frame, i);
        assert_false(cdp_read(cut, i, &info));
        free(cut);
        frame[i] ^= 0x10;
        if (i >= 22)
            assert_false(cdp_read(frame, len, &info));
        frame[i] ^= 0x10;
    }
    len = discovery_frame(&d, DISCOVERY_LLDP, "nic0", MAC, 1, 1500, false, frame);
    for (u32 i = 0; i < len; i++) {
        u8 *cut = malloc(i ? i : 1);
        memcpy(cut, frame, i);
        if (i >= 14)
            assert_true(!lldp_read(cut, i, &info) || info.ttl);
        free(cut);
    }
}

static void strangers_cannot_fill_the_table(void **state)
{
    struct discovery d = speaker(), listener = {.mode = {DISCOVERY_LISTEN, DISCOVERY_OFF}};
    u8 frame[DISCOVERY_FRAME];
    u32 told = 0;

    (void)state;
    for (u32 i = 0; i < 100; i++) {
        d.self.mac = MAC + i;
        u32 len = discovery_frame(&d, DISCOVERY_LLDP, "p", MAC, 0, 0, false, frame);
        told += discovery_receive(&listener, DISCOVERY_LLDP, 0, frame, len, SECOND);
        len = discovery_frame(&d, DISCOVERY_CDP, "p", MAC, 0, 0, false, frame);
        assert_false(discovery_receive(&listener, DISCOVERY_CDP, 0, frame, len, SECOND));
    }
    assert_int_equal(told, DISCOVERY_NEIGHBOURS);
}

static void nothing_unprintable_reaches_the_terminal(void **state)
{
    static const u8 evil[] = "\033[2Jname\200\n";
    char text[DISCOVERY_TEXT];

    (void)state;
    discovery_text(text, evil, sizeof(evil) - 1);
    assert_string_equal(text, "?[2Jname??");
    u8 longer[200];
    memset(longer, 'x', sizeof(longer));
    discovery_text(text, longer, sizeof(longer));
    assert_int_equal(strlen(text), DISCOVERY_TEXT - 1);
    discovery_text(text, longer, 0);
    assert_string_equal(text, "");
}

static void it_is_due_at_its_interval(void **state)
{
    struct discovery d = speaker();
    u32 sent[DISCOVERY_PROTOCOLS] = {0};

    (void)state;
    for (u64 now = SECOND; now <= 600 * SECOND; now += SECOND) {
        for (u32 p = 0; p < DISCOVERY_PROTOCOLS; p++)
            sent[p] += discovery_due(&d, p, now);
    }
    assert_int_equal(sent[DISCOVERY_LLDP], 20);
    assert_int_equal(sent[DISCOVERY_CDP], 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_frame_cut_anywhere_is_refused_or_whole),
        cmocka_unit_test(strangers_cannot_fill_the_table),
        cmocka_unit_test(nothing_unprintable_reaches_the_terminal),
        cmocka_unit_test(it_is_due_at_its_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
