/* What the files of the switch share: the forwarding path and the way through slow ports. */
#pragma once

#include "net/switch.h"

/* Counts a frame that port `p` does not take; the first of some kinds is an event. */
void switch_drop_one(struct net_switch *sw, struct switch_port *p, enum switch_drop why);
/* Frames that port `in` brings, at most SWITCH_BATCH, to where they belong. */
void switch_forward(struct net_switch *sw, struct switch_port *in, struct net_frame *frames,
                    u32 count, u64 now);
/* A frame that is admitted, out of port `p`, with `tag` as by frame_copy(). */
void switch_go_out(struct net_switch *sw, struct switch_port *p, const struct net_frame *f,
                   u16 tag);

/* switch_slow.c: shaping, delay and loss, on the way out (with `tag`) or in.  True: the frame goes
 * on at once, and the caller sees to that; else it is lost, or waits, or is on its way in pieces.
 */
MUST_CHECK bool switch_slow_pass(struct net_switch *sw, struct switch_port *p,
                                 const struct net_frame *f, u16 tag, bool out);
