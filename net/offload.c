/* Checksums and segmentation in software; called by the owners of ports and by the switch. */
#include "net/offload.h"

#include <string.h>

#include "net/checksum.h"

#define TCP 6u
#define UDP 17u
#define UDP_HEADER 8u
#define UDP_SUM 6u
#define TCP_HEADER 20u
#define TCP_SUM 16u /* offset of the checksum */
#define TCP_FLAGS 13u
#define TCP_FIN BIT(0)
#define TCP_PSH BIT(3)
#define TCP_CWR BIT(7)

static bool to_be_cut(const struct net_frame *f)
{
    return f->gso_type == FRAME_GSO_TCP4 || f->gso_type == FRAME_GSO_TCP6;
}

bool offload_check(struct net_frame *f)
{
    struct frame_ip ip;

    f->header_len = 0;
    if (f->flags & FRAME_CSUM_NEEDED &&
        (f->csum_start < FRAME_HEADER || (u32)f->csum_start + f->csum_offset + 2 > f->len))
        return false;
    if (!f->gso_type)
        return true;
    if (!to_be_cut(f) || !f->gso_size || f->len > FRAME_MAX || !frame_parse(f) || !frame_ip(f, &ip))
        return false;
    if (ip.protocol != TCP || ip.version != (f->gso_type == FRAME_GSO_TCP4 ? 4 : 6) ||
        ip.len < TCP_HEADER)
        return false;
    u32 header = (f->data[ip.offset + 12] >> 4) * 4u;
    if (header < TCP_HEADER || header >= ip.len || ip.offset + ip.len != f->len)
        return false;
    if (f->flags & FRAME_CSUM_NEEDED && (f->csum_start != ip.offset || f->csum_offset != TCP_SUM))
        return false;
    f->header_len = (u16)(ip.offset + header);
    return true;
}

static u32 pieces(const struct net_frame *f)
{
    return (f->len - f->header_len + f->gso_size - 1) / f->gso_size;
}

u32 offload_wire_len(const struct net_frame *f)
{
    return f->gso_type && f->header_len ? f->len + (pieces(f) - 1) * f->header_len : f->len;
}

void offload_start(struct offload *o, const struct net_frame *f, u16 tag)
{
    struct frame_ip ip;

    *o = (struct offload){.frame = f, .tag = tag};
    if (!f->gso_type || !f->header_len || !frame_ip(f, &ip))
        return;
    o->payload = f->len - f->header_len;
    o->transport = ip.offset;
    o->version = ip.version;
}

static void put_sum(u8 *at, u16 sum, bool never_zero)
{
    if (never_zero && !sum)
        sum = 0xffff; /* zero would say that there is none (RFC 768) */
    memcpy(at, &sum, sizeof(sum));
}

u32 offload_copy(const struct net_frame *f, u16 tag, void *to, u32 size)
{
    u32 len = frame_copy(f, tag, to, size), start = f->csum_start + len - f->len;
    u8 *bytes = to;

    if (len && f->flags & FRAME_CSUM_NEEDED && start + f->csum_offset + 2 <= len)
        put_sum(bytes + start + f->csum_offset,
                (u16)~checksum_sum(bytes + start, (int)(len - start)), true);
    return len;
}

/* The sum of what stands before a transport header: addresses, length, protocol. */
static u16 pseudo_header(const u8 *ip, u32 version, u32 protocol, u32 len)
{
    u8 p[40] = {0};

    memcpy(p, ip + (version == 4 ? 12 : 8), version == 4 ? 8 : 32);
    frame_put32(p + 32, len);
    frame_put32(p + 36, protocol);
    return checksum_sum(p, sizeof(p));
}

/* Lengths and the header's sum, after the payload has grown. */
static void set_lengths(u8 *ip, const struct frame_ip *at, u32 network, u32 len)
{
    if (at->version == 6) {
        frame_put16(ip + 4, len - network - 40);
        return;
    }
    frame_put16(ip + 2, len - network);
    frame_put16(ip + 10, 0);
    put_sum(ip + 10, (u16)~checksum_sum(ip, (int)(at->offset - network)), false);
}

/* Where a transport header has its sum; 0: it is neither TCP nor UDP, or not whole. */
static u32 sum_offset(const struct net_frame *f, const struct frame_ip *ip)
{
    if (ip->protocol == TCP && ip->len >= TCP_HEADER)
        return TCP_SUM;
    if (ip->protocol == UDP && ip->len >= UDP_HEADER &&
        frame_be16(f->data + ip->offset + 4) == ip->len)
        return UDP_SUM;
    return 0;
}

/* The sum of `len` bytes from `from` on, which are at data first, and then in pieces. */
static u16 sum_of(const struct net_frame *f, u32 from, u32 len)
{
    struct frame_part part = {f->data + from, frame_front(f) - from};
    u32 sum = 0, done = 0;

    for (u32 i = 0;; part = f->rest[i++]) {
        u32 n = MIN(part.len, len - done), one = checksum_sum(part.at, (int)n);

        sum += done & 1 ? (one >> 8 | one << 8) & 0xffff : one; /* RFC 1071, 2 (B) */
        done += n;
        if (done == len)
            break;
    }
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

bool offload_leave_sum(struct net_frame *f, u8 *bytes, bool can_sum)
{
    struct frame_ip ip;

    u32 at = frame_parse(f) && frame_ip(f, &ip) ? sum_offset(f, &ip) : 0;

    if (!at)
        return !f->gso_type;
    if (f->gso_type) {
        set_lengths(bytes + f->network, &ip, f->network, f->len);
        if (!frame_ip(f, &ip))
            return false;
    }
    u8 *sum = bytes + ip.offset + at;
    u16 part[2] = {pseudo_header(bytes + f->network, ip.version, ip.protocol, ip.len), 0};
    memcpy(sum, part, sizeof(part[0]));
    if (can_sum || f->gso_type) {
        f->flags |= FRAME_CSUM_NEEDED;
        f->csum_start = ip.offset;
        f->csum_offset = (u16)at;
        return offload_check(f);
    }
    put_sum(sum, (u16)~sum_of(f, ip.offset, ip.len), ip.protocol == UDP);
    return true;
}

static void fix_ip(const struct offload *o, u8 *ip, u32 len)
{
    if (o->version == 6) {
        frame_put16(ip + 4, len - 40);
        return;
    }
    u32 header = (ip[0] & 15u) * 4;
    frame_put16(ip + 2, len);
    frame_put16(ip + 4, frame_be16(ip + 4) + o->count);
    frame_put16(ip + 10, 0);
    put_sum(ip + 10, (u16)~checksum_sum(ip, (int)header), false);
}

static void fix_tcp(const struct offload *o, u8 *tcp, const u8 *ip, u32 len, bool last)
{
    u16 part[2] = {pseudo_header(ip, o->version, TCP, len), 0};

    frame_put32(tcp + 4, frame_be32(tcp + 4) + o->done);
    if (!last)
        tcp[TCP_FLAGS] &= (u8) ~(TCP_FIN | TCP_PSH);
    if (o->count)
        tcp[TCP_FLAGS] &= (u8)~TCP_CWR; /* RFC 3168: only in the first */
    frame_put16(tcp + TCP_SUM, 0);
    part[1] = checksum_sum(tcp, (int)len);
    put_sum(tcp + TCP_SUM, (u16)~checksum_sum(part, sizeof(part)), false);
}

u32 offload_next(struct offload *o, void *to, u32 size)
{
    const struct net_frame *f = o->frame;
    u8 *bytes = to;

    if (!o->payload)
        return o->count++ ? 0 : offload_copy(f, o->tag, bytes, size);
    if (o->done == o->payload)
        return 0;
    struct net_frame headers = *f;
    headers.len = f->header_len;
    headers.rest_count = 0;
    u32 len = MIN((u32)f->gso_size, o->payload - o->done),
        at = frame_copy(&headers, o->tag, bytes, size);
    if (!at || len > size - at)
        return 0;
    i32 moved = (i32)(at - f->header_len); /* a tag may have come or gone */
    frame_read(f, f->header_len + o->done, bytes + at, len);
    u8 *ip = bytes + (f->network + moved), *tcp = bytes + ((i32)o->transport + moved);
    fix_ip(o, ip, (u32)(bytes + at + len - ip));
    fix_tcp(o, tcp, ip, (u32)(bytes + at + len - tcp), o->done + len == o->payload);
    o->done += len;
    o->count++;
    return at + len;
}
