/* One Ethernet frame, by reference: where its bytes are and what its headers say.
 *
 * Pure.  The switch core passes frames as pointers to struct net_frame and never writes to the
 * bytes: an 802.1Q tag that an output port needs or must not see is described beside the frame
 * and applied when the bytes are copied or gathered (frame_copy, frame_parts). */
#pragma once

#include "kernel/abi/types.h"

struct frame_buffer; /* net/frame_buffer.h */

#define FRAME_HEADER 14u /* two addresses and a type */
#define FRAME_TAG 4u
#define FRAME_MAX 65550u /* a 64 KiB segment that is still to be cut, with its headers */

enum {
    ETH_IPV4 = 0x0800,
    ETH_ARP = 0x0806,
    ETH_RARP = 0x8035,
    ETH_VLAN = 0x8100, /* IEEE 802.1Q-2018 table 9-1: C-VLAN tag */
    ETH_IPV6 = 0x86dd,
    ETH_SVLAN = 0x88a8, /* S-VLAN tag */
    ETH_QINQ = 0x9100,  /* what came before 0x88a8 */
    ETH_SLOW = 0x8809,  /* IEEE 802.3 annex 57A: LACP, marker */
    ETH_LLDP = 0x88cc,
};

/* Work that the sender left to whoever puts the frame on a wire. */
enum { FRAME_CSUM_NEEDED = BIT(0), FRAME_CSUM_VALID = BIT(1) };
enum { FRAME_GSO_NONE, FRAME_GSO_TCP4, FRAME_GSO_TCP6, FRAME_GSO_UDP };

#define FRAME_UNTAGGED 0xffffu /* as a tag to be put in: none */

struct frame_part {
    const u8 *at;
    u32 len;
};

#define FRAME_REST 17u                /* parts behind the front of a frame, at most */
#define FRAME_PARTS (3u + FRAME_REST) /* of a frame with a tag put in */

struct net_frame {
    const u8 *data; /* from the destination address on, without FCS */
    u32 len;
    /* Of a frame in pieces: `front` bytes, among them all headers, are at data, and what follows is
     * in these parts.  Without parts all bytes are at data. */
    u16 front, rest_count;
    const struct frame_part *rest;
    /* Offloads, as virtio-net and NIC descriptors have them; the core only carries them. */
    u8 flags, gso_type;
    u16 gso_size, header_len;
    u16 csum_start, csum_offset;
    void *owner;                 /* for the owner of the bytes; the core does not look */
    struct frame_buffer *buffer; /* NULL, or what holds the bytes, so that they can be kept */
    /* Written by frame_parse. */
    u16 type;     /* after all tags */
    u16 tci;      /* of the outermost C-VLAN tag; 0 without one */
    u8 tagged;    /* 4: data has that tag; 0: not */
    u8 inner_tag; /* another tag follows, or the outermost is not a C-VLAN tag */
    u16 network;  /* offset of what follows the type */
    /* Written by the switch: VLAN and priority that the frame has inside the switch. */
    u16 vlan_tci;
};

/* Reads the headers.  False: too short to have them. */
MUST_CHECK bool frame_parse(struct net_frame *f);

static inline u16 frame_be16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static inline u32 frame_be32(const u8 *p)
{
    return (u32)frame_be16(p) << 16 | frame_be16(p + 2);
}

static inline void frame_put16(u8 *p, u32 value)
{
    p[0] = (u8)(value >> 8);
    p[1] = (u8)value;
}

static inline void frame_put32(u8 *p, u32 value)
{
    frame_put16(p, value >> 16);
    frame_put16(p + 2, value);
}

/* An address as a number, first byte on top: 48 bits. */
static inline u64 frame_mac(const u8 *p)
{
    return (u64)frame_be16(p) << 32 | frame_be32(p + 2);
}

static inline u64 frame_dst(const struct net_frame *f)
{
    return frame_mac(f->data);
}

static inline u64 frame_src(const struct net_frame *f)
{
    return frame_mac(f->data + 6);
}

#define FRAME_BROADCAST 0xffffffffffffull
static inline bool frame_mac_is_group(u64 mac)
{
    return mac >> 40 & 1;
}

/* The IPv4 or IPv6 payload: protocol, its offset and how many bytes are there.  False: not IP,
 * malformed, or a later fragment.  IPv6 extension headers are followed, at most eight. */
struct frame_ip {
    u8 version, protocol;
    u16 offset;
    u32 len; /* bytes of the payload that the packet claims and the frame has */
};
MUST_CHECK bool frame_ip(const struct net_frame *f, struct frame_ip *ip);

/* Bytes that are at data. */
static inline u32 frame_front(const struct net_frame *f)
{
    return f->rest_count ? f->front : f->len;
}

/* Length on an output port: `tag` is a TCI to be put in, or FRAME_UNTAGGED. */
static inline u32 frame_out_len(const struct net_frame *f, u16 tag)
{
    return f->len - f->tagged + (tag == FRAME_UNTAGGED ? 0 : FRAME_TAG);
}
/* The frame as an output port sends it; returns its length, 0 when `size` is too small. */
u32 frame_copy(const struct net_frame *f, u16 tag, void *to, u32 size);
/* The same without a copy; tag_bytes holds the tag.  Returns the number of parts. */
u32 frame_parts(const struct net_frame *f, u16 tag, u8 tag_bytes[FRAME_TAG],
                struct frame_part part[FRAME_PARTS]);
/* Bytes [from, from + len), which the frame has, as they are. */
void frame_read(const struct net_frame *f, u32 from, void *to, u32 len);
