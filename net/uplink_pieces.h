/* A frame's bytes, or those behind its Ethernet header, as a chain for a card.
 *
 * One thread.  The pieces belong to no uplink: the first piece of the frame, which is the uplink's,
 * may take them along when it is released.  Whoever has the chain holds the frame's buffer. */
#pragma once

#include "drivers/nic.h"
#include "net/frame.h"

/* Bytes [from, front) at data and the parts behind them, for nic_release() like any frame; *chain
 * is NULL if there are none.  False: no piece is left. */
MUST_CHECK bool uplink_pieces(const struct net_frame *f, u32 from, struct nic_frame **chain);
