/* Work that a frame's sender left to the wire, done in software: checksums, and the cutting of long
 * TCP segments, for receivers that cannot do it themselves.
 *
 * Pure.  Owners of ports call it where they copy a frame; a sender's claims about its frame are
 * checked once, by offload_check(), before the switch sees it.  Virtio 1.2, 5.1.6.2; RFC 1071. */
#pragma once

#include "net/frame.h"

/* Are gso_type, gso_size, csum_start and csum_offset true of the bytes?  Sets header_len (all
 * headers up to the end of TCP's) of a frame to be cut.  False: such a frame cannot be sent. */
MUST_CHECK bool offload_check(struct net_frame *f);

/* A frame of the host's own, in its own memory, of which `bytes` are those at data: if it is TCP or
 * UDP, its sum is left to the wire (can_sum, or it is to be cut), or put in; the lengths of one
 * that is to be cut are set.  False: it cannot be sent. */
MUST_CHECK bool offload_leave_sum(struct net_frame *f, u8 *bytes, bool can_sum);

/* What of a frame is put on a wire, in bytes: a frame to be cut repeats its headers. */
u32 offload_wire_len(const struct net_frame *f);

/* As frame_copy(), with the sum where it belongs; nothing is cut. */
u32 offload_copy(const struct net_frame *f, u16 tag, void *to, u32 size);

struct offload { /* a frame on its way to a receiver that does nothing itself */
    const struct net_frame *frame;
    u16 tag;
    u32 done;    /* bytes of payload given out */
    u32 count;   /* frames given out */
    u32 payload; /* of the frame; 0: it goes as one piece */
    u32 transport;
    u8 version;
};

/* The frames that `f`, checked and parsed, is on a wire, with `tag` as by frame_copy(). */
void offload_start(struct offload *o, const struct net_frame *f, u16 tag);
/* Writes the next one; its length, 0 after the last or when it does not fit. */
u32 offload_next(struct offload *o, void *to, u32 size);
