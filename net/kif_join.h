/* Segments of TCP that wait one behind the other in an interface's queue, as one for lwIP: it then
 * looks at one header, and sends one acknowledgement, for all of them.
 *
 * One thread.  Frames are hostile: only those are joined that are plain, whole and right in their
 * sums and differ in nothing that means something.  Used within one call of kif_run(): nothing is
 * held back for what may come. */
#pragma once

#include <lwip/pbuf.h>

#include "kernel/abi/types.h"

#define KIF_JOIN_MOST 48u /* pieces; a length of IPv4 has 16 bits */

struct kif_join {
    struct pbuf *pieces[KIF_JOIN_MOST];
    u32 count; /* 0: nothing is there */
    u32 bytes; /* of the frame that they make */
    u32 next;  /* the sequence number that continues it */
    u16 tcp;   /* offset of the header in each */
};

/* Takes a frame, as the first or behind those that are there; summed: its TCP sum is known to be
 * good.  False: it is no plain segment of TCP, or does not continue what is there; the caller has
 * it still.  What is taken has a good sum. */
MUST_CHECK bool kif_join_add(struct kif_join *j, struct pbuf *p, bool summed);
/* All that was taken, as one frame; NULL: nothing. */
struct pbuf *kif_join_end(struct kif_join *j);
