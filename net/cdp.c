/* CDP frames; called by net/discovery.c.  The layout is the one Cisco's and Wireshark's
 * documentation describe: 802.3 length, LLC/SNAP with OUI 00000c and type 2000h, header, TLVs whose
 * lengths include their own four bytes. */
#include "net/cdp.h"

#include <string.h>

#include "net/frame.h"

enum { HEADER = 22, FIRST_TLV = HEADER + 4 };
enum {
    TLV_DEVICE = 1,
    TLV_ADDRESSES = 2,
    TLV_PORT = 3,
    TLV_CAPABILITIES = 4,
    TLV_VERSION = 5,
    TLV_PLATFORM = 6,
    TLV_NATIVE_VLAN = 10,
    TLV_DUPLEX = 11,
    TLV_MTU = 17,
    TLV_MANAGEMENT = 22,
};
#define CAPABILITY_SWITCH 0x08u

static const u8 snap[] = {0xaa, 0xaa, 0x03, 0x00, 0x00, 0x0c, 0x20, 0x00};
static const u8 ip_protocol[] = {0x01, 0x01, 0xcc, 0x00, 0x04}; /* NLPID, IP, 4 bytes */

static u32 sum(const u8 *at, u32 len)
{
    u32 total = 0;

    for (u32 i = 0; i + 1 < len; i += 2)
        total += frame_be16(at + i);
    return total;
}

static u16 fold(u32 total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (u16)~total;
}

/* An odd last byte is the low half of a word, and signed: how Cisco's devices count. */
static bool sum_good(const u8 *at, u32 len)
{
    u32 even = sum(at, len), last = len & 1 ? at[len - 1] : 0;

    if (!(len & 1))
        return fold(even) == 0;
    return fold(even + last) == 0 || fold(even + (last << 8)) == 0 ||
           (last & 0x80 && fold(even + 0xff00 + last - 1) == 0);
}

struct writer {
    u8 *at;
    u32 left;
    bool full;
};

static u8 *tlv(struct writer *w, u32 type, u32 len)
{
    static u8 nowhere[128];
    u8 *body = w->at + 4;

    if (w->full || w->left < len + 4 || len > sizeof(nowhere)) {
        w->full = true;
        return nowhere;
    }
    frame_put16(w->at, type);
    frame_put16(w->at + 2, len + 4);
    w->at += len + 4;
    w->left -= len + 4;
    return body;
}

/* Texts get a blank at the end where needed: the frame's length is even, for the sake of the sum.
 * `odd`: there is another TLV of odd length. */
static void text(struct writer *w, u32 type, const char *s, bool odd)
{
    u32 len = (u32)strlen(s), room = ROUND_UP(len + odd, 2u) - odd;
    u8 *body = tlv(w, type, room);

    memset(body, ' ', room);
    memcpy(body, s, len);
}

static void address(struct writer *w, u32 type, const u8 ip[4])
{
    u8 *b = tlv(w, type, 13);

    frame_put32(b, 1);
    memcpy(b + 4, ip_protocol, 5);
    memcpy(b + 9, ip, 4);
}

u32 cdp_write(const struct discovery_info *i, u64 source, u8 *frame, u32 size)
{
    struct writer w = {frame + FIRST_TLV, size - FIRST_TLV, size < FIRST_TLV};
    bool addressed = frame_be32(i->address) != 0;

    if (w.full)
        return 0;
    frame_put16(frame, CDP_ADDRESS >> 32);
    frame_put32(frame + 2, (u32)CDP_ADDRESS);
    frame_put16(frame + 6, (u32)(source >> 32));
    frame_put32(frame + 8, (u32)source);
    memcpy(frame + 14, snap, sizeof(snap));
    frame[HEADER] = 2;
    frame[HEADER + 1] = (u8)MIN(i->ttl, 255u);
    frame_put16(frame + HEADER + 2, 0);
    text(&w, TLV_DEVICE, i->device, false);
    if (addressed)
        address(&w, TLV_ADDRESSES, i->address);
    text(&w, TLV_PORT, i->port, false);
    frame_put32(tlv(&w, TLV_CAPABILITIES, 4), CAPABILITY_SWITCH);
    text(&w, TLV_VERSION, i->version, addressed);
    text(&w, TLV_PLATFORM, i->platform, false);
    if (i->native_vlan)
        frame_put16(tlv(&w, TLV_NATIVE_VLAN, 2), i->native_vlan);
    if (i->mtu)
        frame_put32(tlv(&w, TLV_MTU, 4), i->mtu);
    if (w.full)
        return 0;
    u32 len = (u32)(w.at - frame);
    frame_put16(frame + 12, len - FRAME_HEADER);
    frame_put16(frame + HEADER + 2, fold(sum(frame + HEADER, len - HEADER)));
    return len;
}

static void read_tlv(struct discovery_info *i, u32 type, const u8 *b, u32 len)
{
    switch (type) {
    case TLV_DEVICE:
        discovery_text(i->device, b, len);
        break;
    case TLV_ADDRESSES:
    case TLV_MANAGEMENT:
        if (len >= 13 && !memcmp(b + 4, ip_protocol, 5) && !frame_be32(i->address))
            memcpy(i->address, b + 9, 4);
        break;
    case TLV_PORT:
        discovery_text(i->port, b, len);
        break;
    case TLV_VERSION:
        discovery_text(i->version, b, len);
        break;
    case TLV_PLATFORM:
        discovery_text(i->platform, b, len);
        break;
    case TLV_NATIVE_VLAN:
        if (len >= 2)
            i->native_vlan = frame_be16(b);
        break;
    case TLV_MTU:
        if (len >= 4)
            i->mtu = frame_be32(b);
        break;
    default:
        break;
    }
}

bool cdp_read(const u8 *frame, u32 len, struct discovery_info *i)
{
    u32 at = FIRST_TLV, end;

    memset(i, 0, sizeof(*i));
    if (len < FIRST_TLV || memcmp(frame + 14, snap, sizeof(snap)))
        return false;
    end = FRAME_HEADER + frame_be16(frame + 12); /* short frames are padded: the length says */
    if (end > len || end < FIRST_TLV || !frame[HEADER] || !sum_good(frame + HEADER, end - HEADER))
        return false;
    i->ttl = frame[HEADER + 1];
    while (at + 4 <= end) {
        u32 size = frame_be16(frame + at + 2);

        if (size < 4 || at + size > end)
            return false;
        read_tlv(i, frame_be16(frame + at), frame + at + 4, size - 4);
        at += size;
    }
    return i->device[0] != 0;
}
