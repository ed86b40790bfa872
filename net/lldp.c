/* LLDP frames; called by net/discovery.c. */
#include "net/lldp.h"

#include <stdio.h>
#include <string.h>

#include "net/frame.h"

enum { /* table 8-1 */
       TLV_END,
       TLV_CHASSIS,
       TLV_PORT,
       TLV_TTL,
       TLV_PORT_DESCRIPTION,
       TLV_NAME,
       TLV_DESCRIPTION,
       TLV_CAPABILITIES,
       TLV_ADDRESS,
       TLV_ORGANISATION = 127,
};
enum { CHASSIS_MAC = 4, PORT_MAC = 3, PORT_NAME = 5, CAPABILITY_BRIDGE = 4, FAMILY_IPV4 = 1 };
#define OUI_8021 0x0080c2u
#define OUI_8023 0x00120fu

struct writer {
    u8 *at;
    u32 left;
    bool full;
};

static u8 *tlv(struct writer *w, u32 type, u32 len)
{
    static u8 nowhere[512]; /* what does not fit is written there */
    u8 *body = w->at + 2;

    if (w->full || w->left < len + 2) {
        w->full = true;
        return nowhere;
    }
    frame_put16(w->at, type << 9 | len);
    w->at += len + 2;
    w->left -= len + 2;
    return body;
}

static void text(struct writer *w, u32 type, int subtype, const char *s)
{
    u32 len = (u32)strlen(s), extra = subtype >= 0;
    u8 *body;

    if (!len)
        return;
    body = tlv(w, type, len + extra);
    if (extra)
        body[0] = (u8)subtype;
    memcpy(body + extra, s, len);
}

static u8 *organisation(struct writer *w, u32 oui, u32 subtype, u32 len)
{
    u8 *body = tlv(w, TLV_ORGANISATION, 4 + len);

    frame_put32(body, oui << 8 | subtype);
    return body + 4;
}

static void put_mac(u8 *to, u64 mac)
{
    frame_put16(to, (u32)(mac >> 32));
    frame_put32(to + 2, (u32)mac);
}

static void put_address(struct writer *w, const struct discovery_info *i)
{
    u8 *b = tlv(w, TLV_ADDRESS, 12); /* 8.5.9: length, family, address, interface by ifIndex 1 */

    b[0] = 5;
    b[1] = FAMILY_IPV4;
    memcpy(b + 2, i->address, 4);
    b[6] = 2;
    frame_put32(b + 7, 1);
    b[11] = 0;
}

u32 lldp_write(const struct discovery_info *i, u64 source, u8 *frame, u32 size)
{
    struct writer w = {frame + FRAME_HEADER, size - FRAME_HEADER, size < FRAME_HEADER};
    u8 *b;

    if (w.full)
        return 0;
    put_mac(frame, LLDP_ADDRESS);
    put_mac(frame + 6, source);
    frame_put16(frame + 12, ETH_LLDP);
    b = tlv(&w, TLV_CHASSIS, 7);
    b[0] = CHASSIS_MAC;
    put_mac(b + 1, i->mac);
    text(&w, TLV_PORT, PORT_NAME, i->port);
    frame_put16(tlv(&w, TLV_TTL, 2), i->ttl);
    if (i->ttl) { /* a good-bye has the mandatory ones only */
        text(&w, TLV_PORT_DESCRIPTION, -1, i->port_description);
        text(&w, TLV_NAME, -1, i->device);
        text(&w, TLV_DESCRIPTION, -1, i->platform);
        frame_put32(tlv(&w, TLV_CAPABILITIES, 4), CAPABILITY_BRIDGE << 16 | CAPABILITY_BRIDGE);
        if (frame_be32(i->address))
            put_address(&w, i);
        if (i->native_vlan)
            frame_put16(organisation(&w, OUI_8021, 1, 2), i->native_vlan);
        if (i->mtu)
            frame_put16(organisation(&w, OUI_8023, 4, 2), i->mtu + FRAME_HEADER + 4);
    }
    tlv(&w, TLV_END, 0);
    u32 len = w.full ? 0 : (u32)(w.at - frame);
    if (len && len < 60) { /* the least that Ethernet carries; what follows the end is ignored */
        if (size < 60)
            return 0;
        memset(frame + len, 0, 60 - len);
        len = 60;
    }
    return len;
}

static void mac_text(char to[DISCOVERY_TEXT], const u8 *m)
{
    snprintf(to, DISCOVERY_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
             m[5]);
}

static void read_chassis(struct discovery_info *i, const u8 *b, u32 len)
{
    if (b[0] == CHASSIS_MAC && len == 7) {
        i->mac = frame_mac(b + 1);
        mac_text(i->device, b + 1);
    } else {
        discovery_text(i->device, b + 1, len - 1);
    }
}

static void read_port(struct discovery_info *i, const u8 *b, u32 len)
{
    if (b[0] == PORT_MAC && len == 7)
        mac_text(i->port, b + 1);
    else
        discovery_text(i->port, b + 1, len - 1);
}

static void read_organisation(struct discovery_info *i, const u8 *b, u32 len)
{
    if (len < 6)
        return;
    if (frame_be32(b) == (OUI_8021 << 8 | 1))
        i->native_vlan = frame_be16(b + 4);
    else if (frame_be32(b) == (OUI_8023 << 8 | 4))
        i->mtu = MAX(frame_be16(b + 4), FRAME_HEADER + 4) - (FRAME_HEADER + 4);
}

static void read_optional(struct discovery_info *i, u32 type, const u8 *b, u32 len)
{
    switch (type) {
    case TLV_PORT_DESCRIPTION:
        discovery_text(i->port_description, b, len);
        break;
    case TLV_NAME:
        discovery_text(i->device, b, len);
        break;
    case TLV_DESCRIPTION:
        discovery_text(i->platform, b, len);
        break;
    case TLV_ADDRESS:
        if (len >= 6 && b[0] == 5 && b[1] == FAMILY_IPV4)
            memcpy(i->address, b + 2, 4);
        break;
    case TLV_ORGANISATION:
        read_organisation(i, b, len);
        break;
    default:
        break;
    }
}

bool lldp_read(const u8 *frame, u32 len, struct discovery_info *i)
{
    u32 at = FRAME_HEADER, order = 0;

    memset(i, 0, sizeof(*i));
    for (;; order++) {
        if (at + 2 > len)
            return order >= 3; /* an end TLV is not required of others */
        u32 type = frame[at] >> 1, size = frame_be16(frame + at) & 0x1ff;
        const u8 *b = frame + at + 2;

        if (type == TLV_END)
            return order >= 3;
        if (at + 2 + size > len)
            return false;
        /* 9.2.7.7.1: the first three are chassis, port and TTL, once each. */
        if ((order < 3) != (type <= TLV_TTL) || (order < 3 && type != order + 1))
            return false;
        if (type <= TLV_TTL && size < 2)
            return false;
        if (type == TLV_CHASSIS)
            read_chassis(i, b, size);
        else if (type == TLV_PORT)
            read_port(i, b, size);
        else if (type == TLV_TTL)
            i->ttl = frame_be16(b);
        else
            read_optional(i, type, b, size);
        at += 2 + size;
    }
}
