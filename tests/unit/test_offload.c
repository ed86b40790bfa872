/* links: net/offload.c net/frame.c net/checksum.c */
/* Sums and segments made in software: each piece is a whole, correct packet, and together they are
 * what was sent; claims that the bytes do not bear out are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net/checksum.h"
#include "net/offload.h"

static u8 frame[FRAME_MAX + 64], piece[16384], whole[FRAME_MAX];

static u16 transport_sum(const u8 *ip, u32 at, u32 len, u8 protocol)
{
    u8 pseudo[40] = {0};
    bool four = ip[0] >> 4 == 4;

    memcpy(pseudo, ip + (four ? 12 : 8), four ? 8 : 32);
    frame_put32(pseudo + 32, len);
    frame_put32(pseudo + 36, protocol);
    u16 sums[2] = {checksum_sum(pseudo, sizeof(pseudo)), checksum_sum(ip + at, (int)len)};
    return checksum_sum(sums, sizeof(sums));
}

/* TCP in IPv4 or IPv6 with `len` bytes of payload, its sum left to the wire. */
static struct net_frame make(u32 version, u32 options, u32 len, bool tagged)
{
    u32 network = tagged ? 18 : 14, header = version == 4 ? 20 : 40, tcp = network + header,
        size = 20 + options + len;
    struct net_frame f = {.data = frame, .len = tcp + size, .flags = FRAME_CSUM_NEEDED};

    memset(frame, 0, sizeof(frame));
    memcpy(frame, "\x06\x42\x48\0\0\1\x06\x42\x48\0\0\2", 12);
    if (tagged)
        memcpy(frame + 12, "\x81\0\0\x0a", 4);
    frame_put16(frame + network - 2, version == 4 ? ETH_IPV4 : ETH_IPV6);
    u8 *ip = frame + network;
    if (version == 4) {
        memcpy(ip, "\x45\0\0\0\xff\xfe\x40\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 20);
        frame_put16(ip + 2, header + size);
    } else {
        ip[0] = 0x60;
        frame_put16(ip + 4, size);
        ip[6] = 6;
        ip[7] = 64;
        ip[8 + 15] = 1;
        ip[24 + 15] = 2;
    }
    frame_put32(frame + tcp + 4, 0xfffffff0u); /* the sequence number wraps */
    frame[tcp + 12] = (u8)((20 + options) / 4 << 4);
    frame[tcp + 13] = 0x80 | 0x18 | 1; /* CWR, ACK, PSH, FIN */
    for (u32 i = 0; i < len; i++)
        frame[tcp + 20 + options + i] = (u8)(i * 7 + (i >> 8));
    f.csum_start = (u16)tcp;
    f.csum_offset = 16;
    return f;
}

static void whole_frames(void **state)
{
    (void)state;
    for (u32 version = 4; version <= 6; version += 2) {
        struct net_frame f = make(version, 12, 700, false);
        struct offload o;

        /* What a driver leaves in the field: the pseudo header's sum. */
        u8 *ip = frame + 14, *tcp = frame + f.csum_start;
        u16 sum = transport_sum(ip, version == 4 ? 20 : 40, 0, 6);
        (void)sum;
        u8 pseudo[40] = {0};
        memcpy(pseudo, ip + (version == 4 ? 12 : 8), version == 4 ? 8 : 32);
        frame_put32(pseudo + 32, f.len - f.csum_start);
        frame_put32(pseudo + 36, 6);
        sum = checksum_sum(pseudo, sizeof(pseudo));
        memcpy(tcp + 16, &sum, 2);
        assert_true(offload_check(&f) && frame_parse(&f));
        assert_int_equal(offload_wire_len(&f), f.len);
        offload_start(&o, &f, 7); /* with a tag put in */
        assert_int_equal(offload_next(&o, piece, sizeof(piece)), f.len + 4);
        assert_int_equal(offload_next(&o, piece + 4096, 4096), 0);
        assert_memory_equal(piece + 12, "\x81\0\0\7", 4);
        assert_int_equal(transport_sum(piece + 18, version == 4 ? 20 : 40, f.len - f.csum_start, 6),
                         0xffff);
    }
}

static void cut(u32 version, u32 options, u32 len, u32 size, bool tagged, u16 tag)
{
    struct net_frame f = make(version, options, len, tagged);
    u32 network = tag == FRAME_UNTAGGED ? 14 : 18, header = version == 4 ? 20 : 40, got = 0, n = 0,
        bytes = 0;
    struct offload o;

    f.gso_type = version == 4 ? FRAME_GSO_TCP4 : FRAME_GSO_TCP6;
    f.gso_size = (u16)size;
    assert_true(offload_check(&f) && frame_parse(&f));
    offload_start(&o, &f, tag);
    for (u32 l; (l = offload_next(&o, piece, sizeof(piece))); n++) {
        const u8 *ip = piece + network, *tcp = ip + header;
        u32 payload = l - network - header - 20 - options;

        bytes += l;
        assert_true(payload == size || got + payload == len);
        if (version == 4) {
            assert_int_equal(frame_be16(ip + 2), l - network);
            assert_int_equal(frame_be16(ip + 4), (0xfffe + n) & 0xffff);
            assert_int_equal(checksum_sum(ip, 20), 0xffff);
        } else {
            assert_int_equal(frame_be16(ip + 4), l - network - 40);
        }
        assert_int_equal(frame_be32(tcp + 4), 0xfffffff0u + got);
        assert_int_equal(transport_sum(ip, header, l - network - header, 6), 0xffff);
        assert_int_equal(tcp[13], (n ? 0 : 0x80) | 0x10 | (got + payload == len ? 9 : 0));
        memcpy(whole + got, tcp + 20 + options, payload);
        got += payload;
    }
    assert_int_equal(got, len);
    assert_int_equal(n, (len + size - 1) / size);
    assert_memory_equal(whole, frame + f.header_len, len);
    if (tagged ? tag != FRAME_UNTAGGED : tag == FRAME_UNTAGGED)
        assert_int_equal(offload_wire_len(&f), bytes);
}

static void segments(void **state)
{
    (void)state;
    for (u32 version = 4; version <= 6; version += 2) {
        cut(version, 0, 1, 1448, false, FRAME_UNTAGGED);
        cut(version, 12, 1448, 1448, false, FRAME_UNTAGGED);
        cut(version, 12, 1449, 1448, false, 10);
        cut(version, 40, 65000, 1448, false, FRAME_UNTAGGED);
        cut(version, 12, 60000, 536, true, FRAME_UNTAGGED);
        cut(version, 12, 60000, 8948, true, 11);
        cut(version, 0, 100, 1, false, FRAME_UNTAGGED);
    }
}

static bool refused(struct net_frame f)
{
    return !offload_check(&f);
}

static void claims(void **state)
{
    struct net_frame f = make(4, 0, 3000, false), g;

    (void)state;
    f.gso_type = FRAME_GSO_TCP4;
    f.gso_size = 1448;
    assert_false(refused(f));
#define WITH(field, value) (g = f, g.field = (value), refused(g))
    assert_true(WITH(gso_size, 0));
    assert_true(WITH(gso_type, FRAME_GSO_TCP6));
    assert_true(WITH(gso_type, FRAME_GSO_UDP));
    assert_true(WITH(gso_type, 77));
    assert_true(WITH(csum_start, 33));
    assert_true(WITH(csum_offset, 6));
    assert_true(WITH(csum_offset, 0xffff));
    assert_true(WITH(len, 54));   /* no payload */
    assert_true(WITH(len, 40));   /* no header */
    assert_true(WITH(len, 1000)); /* less than the packet claims */
    g = f;
    g.gso_type = FRAME_GSO_NONE;
    assert_false(refused(g));
    g.csum_start = 13;
    assert_true(refused(g));
    g.csum_start = (u16)(g.len - 1);
    g.csum_offset = 0;
    assert_true(refused(g));
    frame[14 + 9] = 17; /* UDP */
    assert_true(refused(f));
    frame[14 + 9] = 6;
    frame[34 + 12] = 0x40; /* a TCP header of 16 bytes */
    assert_true(refused(f));
    frame[34 + 12] = 0xf0; /* and of 60, which are there */
    assert_false(refused(f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_frames),
        cmocka_unit_test(segments),
        cmocka_unit_test(claims),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
