/* The pool of pieces of frames on their way to all cards; called by net/uplink.c, and by drivers
 * when they release a frame. */
#include "net/uplink_pieces.h"

#include <stdlib.h>

#define PIECES 4096u

_Static_assert(2 + FRAME_REST <= NIC_PIECES, "a card takes a frame in pieces with a new header");

static struct nic_frame *free_pieces;
static u32 pieces_made;

static void take_piece(struct nic_frame *f)
{
    f->more = free_pieces;
    free_pieces = f;
}

static struct nic_frame *new_piece(void)
{
    struct nic_frame *p = free_pieces;

    if (p) {
        free_pieces = p->more;
        return p;
    }
    p = pieces_made < PIECES ? malloc(sizeof(*p)) : NULL;
    pieces_made += p != NULL;
    return p;
}

/* In front of those that are there. */
static bool push(struct nic_frame **chain, const u8 *at, u32 len)
{
    struct nic_frame *p = new_piece();

    if (!p)
        return false;
    *p = (struct nic_frame){
        .data = (u8 *)(uintptr_t)at, .len = len, .more = *chain, .release = take_piece};
    *chain = p;
    return true;
}

bool uplink_pieces(const struct net_frame *f, u32 from, struct nic_frame **chain)
{
    u32 left = frame_front(f) - from;
    bool done = true;

    *chain = NULL;
    for (u32 i = f->rest_count; done && i--;)
        done = push(chain, f->rest[i].at, f->rest[i].len);
    if (done && left)
        done = push(chain, f->data + from, left);
    if (!done)
        nic_release(*chain);
    return done;
}
