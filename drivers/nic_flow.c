/* A frame's flow: addresses and ports as RFC 791, 8200, 768 and 9293 place them.  Pure; called by
 * drivers of cards with several queues. */
#include "drivers/nic_flow.h"

#include <string.h>

#define START 96u /* bytes that are looked at: with two tags, and IPv4's options */
#define MACS 12u  /* bytes of both addresses */
#define TYPE_VLAN 0x8100u
#define TYPE_SERVICE_VLAN 0x88a8u
#define TYPE_IPV4 0x0800u
#define TYPE_IPV6 0x86ddu
#define TCP 6u
#define UDP 17u

static u32 get16(const u8 *p)
{
    return (u32)p[0] << 8 | p[1];
}

static u32 mix(u32 h, const u8 *p, u32 len)
{
    for (u32 i = 0; i < len; i += 2)
        h = (h ^ get16(p + i)) * 0x9e3779b1u;
    return h;
}

static u32 ports(u32 h, u32 protocol, const u8 *p, u32 left)
{
    return (protocol == TCP || protocol == UDP) && left >= 4 ? mix(h, p, 4) : h;
}

/* Of the IP packet at p; false: it is none. */
static bool ip(u32 *h, u32 type, const u8 *p, u32 left)
{
    if (type == TYPE_IPV4 && left >= 20) {
        u32 header = (p[0] & 15u) * 4;
        *h = mix(0, p + 12, 8);
        if (!(get16(p + 6) & 0x3fff) && header >= 20 && header <= left)
            *h = ports(*h, p[9], p + header, left - header);
        return true;
    }
    if (type != TYPE_IPV6 || left < 40)
        return false;
    *h = ports(mix(0, p + 8, 32), p[6], p + 40, left - 40);
    return true;
}

static u32 flow_of(const u8 *start, u32 len)
{
    u32 at = MACS, h = 0;

    for (u32 tags = 0; tags < 2 && at + 6 <= len; tags++, at += 4)
        if (get16(start + at) != TYPE_VLAN && get16(start + at) != TYPE_SERVICE_VLAN)
            break;
    if (at + 2 > len || !ip(&h, get16(start + at), start + at + 2, len - at - 2))
        h = len >= MACS ? mix(0, start, MACS) : 0;
    h = (h ^ h >> 16) * 0x7feb352du;
    return h ^ h >> 15;
}

u32 nic_flow(const struct nic_frame *f)
{
    u8 start[START];
    u32 len = 0;

    if (f->len >= START || !f->more)
        return flow_of(f->data, f->len);
    for (; f && len < START; f = f->more) {
        u32 n = MIN(f->len, START - len);

        memcpy(start + len, f->data, n);
        len += n;
    }
    return flow_of(start, len);
}
