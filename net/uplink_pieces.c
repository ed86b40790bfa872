/* The pool of pieces of frames on their way to all cards; called by net/uplink.c, and by drivers
 * when they release a frame. */
#include "net/uplink_pieces.h"

#include <stdlib.h>

#define PIECES 4096u

_Static_assert(1 + FRAME_REST <= NIC_PIECES, "a card takes a frame in pieces as it is");

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

struct nic_frame *uplink_pieces(const struct net_frame *f)
{
    struct nic_frame *chain = NULL;

    for (u32 i = f->rest_count; i--;) {
        struct nic_frame *p = new_piece();

        if (!p) {
            nic_release(chain);
            return NULL;
        }
        *p = (struct nic_frame){.data = (u8 *)(uintptr_t)f->rest[i].at,
                                .len = f->rest[i].len,
                                .more = chain,
                                .release = take_piece};
        chain = p;
    }
    return chain;
}
