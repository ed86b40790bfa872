/* What is behind the front of a frame in pieces, as a chain for a card.
 *
 * One thread.  The pieces belong to no uplink: the first piece of the frame, which is the uplink's,
 * may take it along when it is released.  Whoever has the chain holds the frame's buffer. */
#pragma once

#include "drivers/nic.h"
#include "net/frame.h"

/* For nic_release(), like any frame.  NULL: no piece is left. */
MUST_CHECK struct nic_frame *uplink_pieces(const struct net_frame *f);
