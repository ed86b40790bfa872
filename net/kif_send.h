/* Frames that a kernel interface sends, on their way from lwIP to the switch.
 *
 * Nothing is copied: a frame points to lwIP's pbufs and holds them until every card has released it
 * (frame_buffer_drop()), and what a guest or another interface gets is copied from there.  Sums and
 * the lengths of joined frames are written to the headers where they are: lwIP's TCP sends no
 * segment again that somebody holds (tcp_output_segment_busy()), and writes its headers anew when
 * it does.  What cards do not reach, or is in more pieces than they take, is copied.
 *
 * Frames are collected and go into the switch together.  TCP's checksum, which lwIP leaves out, is
 * left to the card where every uplink of the switch can do it and done here otherwise; segments of
 * one connection that follow each other become one long frame where every uplink cuts those.  One
 * thread. */
#pragma once

#include <lwip/pbuf.h>

#include "net/switch.h"

struct kif_sender {
    struct net_frame frames[SWITCH_BATCH];
    u32 count;
    u32 next_sequence; /* of the last frame's connection, if it may still grow */
    u16 segment;       /* its payload, in bytes of the first segment; 0: it may not grow */
};

/* Are two frames, whose IP header is at `network` and TCP's at `tcp`, the same but for lengths,
 * sums, IPv4's number, sequence and PSH?  Then the second is a plain segment if the first is. */
bool kif_send_same_headers(const u8 *a, const u8 *b, u32 network, u32 tcp);
/* Takes a frame.  False: there is no buffer for it now. */
MUST_CHECK bool kif_send(struct kif_sender *s, const struct switch_port *port, struct pbuf *p);
/* What was taken goes into the switch. */
void kif_send_flush(struct kif_sender *s, const struct switch_port *port);
/* What was taken is forgotten. */
void kif_send_drop(struct kif_sender *s);
