/* Parsing of frames and their way out; called by the switch for each frame and by ports. */
#include "net/frame.h"

#include <string.h>

static bool is_tag(u16 type)
{
    return type == ETH_VLAN || type == ETH_SVLAN || type == ETH_QINQ;
}

bool frame_parse(struct net_frame *f)
{
    u32 at = 12;

    f->tagged = f->inner_tag = 0;
    f->tci = f->vlan_tci = 0;
    if (f->len < FRAME_HEADER)
        return false;
    u16 type = frame_be16(f->data + at);
    if (__builtin_expect(is_tag(type), 0)) {
        if (type == ETH_VLAN) {
            if (f->len < FRAME_HEADER + FRAME_TAG)
                return false;
            f->tagged = FRAME_TAG;
            f->tci = frame_be16(f->data + 14);
            at += FRAME_TAG;
            type = frame_be16(f->data + at);
        }
        f->inner_tag = is_tag(type);
        /* Two more at most are looked through, for what filters by protocol. */
        for (u32 i = 0; i < 2 && is_tag(type) && f->len >= at + 6; i++) {
            at += FRAME_TAG;
            type = frame_be16(f->data + at);
        }
    }
    f->type = type;
    f->network = (u16)(at + 2);
    return true;
}

static bool ipv4(const struct net_frame *f, struct frame_ip *ip)
{
    const u8 *h = f->data + f->network;
    u32 room = f->len - f->network;

    if (room < 20 || h[0] >> 4 != 4)
        return false;
    u32 header = (h[0] & 15u) * 4, total = frame_be16(h + 2);
    if (f->gso_type && total < header)
        total = room; /* a segment to be cut may be longer than the field can say */
    if (header < 20 || total < header || total > room || (frame_be16(h + 6) & 0x1fff))
        return false;
    *ip = (struct frame_ip){4, h[9], (u16)(f->network + header), total - header};
    return true;
}

static bool ipv6(const struct net_frame *f, struct frame_ip *ip)
{
    const u8 *h = f->data + f->network;
    u32 room = f->len - f->network;

    if (room < 40 || h[0] >> 4 != 6)
        return false;
    u32 at = 40, end = 40 + frame_be16(h + 4);
    u8 next = h[6];
    if (f->gso_type && end == 40)
        end = room;
    if (end > room)
        return false;
    /* RFC 8200 section 4: hop-by-hop 0, routing 43, fragment 44, destination options 60. */
    for (u32 i = 0; next == 0 || next == 43 || next == 44 || next == 60; i++) {
        if (i == 8 || at + 8 > end)
            return false;
        if (next == 44 && frame_be16(h + at + 2) >> 3)
            return false;
        u32 len = next == 44 ? 8 : (h[at + 1] + 1u) * 8;
        next = h[at];
        at += len;
    }
    if (at > end || f->network + at > 0xffff)
        return false;
    *ip = (struct frame_ip){6, next, (u16)(f->network + at), end - at};
    return true;
}

bool frame_ip(const struct net_frame *f, struct frame_ip *ip)
{
    if (f->network > f->len)
        return false;
    return f->type == ETH_IPV4 ? ipv4(f, ip) : f->type == ETH_IPV6 && ipv6(f, ip);
}

u32 frame_parts(const struct net_frame *f, u16 tag, u8 tag_bytes[FRAME_TAG],
                struct frame_part part[FRAME_PARTS])
{
    u32 n = 0, behind = 12u + f->tagged, front = frame_front(f);

    if (tag == FRAME_UNTAGGED ? !f->tagged : f->tagged && tag == f->tci) {
        part[n++] = (struct frame_part){f->data, front};
    } else {
        part[n++] = (struct frame_part){f->data, 12};
        if (tag != FRAME_UNTAGGED) {
            frame_put16(tag_bytes, ETH_VLAN);
            frame_put16(tag_bytes + 2, tag);
            part[n++] = (struct frame_part){tag_bytes, FRAME_TAG};
        }
        part[n++] = (struct frame_part){f->data + behind, front - behind};
    }
    for (u32 i = 0; i < f->rest_count; i++)
        part[n++] = f->rest[i];
    return n;
}

void frame_read(const struct net_frame *f, u32 from, void *to, u32 len)
{
    struct frame_part part = {f->data, frame_front(f)};
    u8 *at = to;

    for (u32 i = 0; len; part = f->rest[i++]) {
        u32 skip = MIN(from, part.len), n = MIN(len, part.len - skip);

        memcpy(at, part.at + skip, n);
        from -= skip;
        at += n;
        len -= n;
        if (i == f->rest_count)
            return;
    }
}

u32 frame_copy(const struct net_frame *f, u16 tag, void *to, u32 size)
{
    struct frame_part part[FRAME_PARTS];
    u8 tag_bytes[FRAME_TAG];
    u32 n = frame_parts(f, tag, tag_bytes, part), at = 0;

    if (frame_out_len(f, tag) > size)
        return 0;
    for (u32 i = 0; i < n; i++) {
        memcpy((u8 *)to + at, part[i].at, part[i].len);
        at += part[i].len;
    }
    return at;
}
