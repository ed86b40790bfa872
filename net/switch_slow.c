/* The way through ports that are shaped, delayed or lossy; called by the forwarding path. */
#include <stdlib.h>

#include "net/offload.h"
#include "net/switch_inner.h"

/* Shaping, delay and loss of what is one frame on a wire.  True: it goes on at once. */
static bool pass_one(struct net_switch *sw, struct switch_port *p, const struct net_frame *f,
                     u16 tag, bool out)
{
    struct shape *s = out ? &p->shape_out : &p->shape_in;
    struct delay_line *d = out ? &p->delay_out : &p->delay_in;
    u64 at = sw->now;

    if (p->emulation.loss_ppm && shape_random(&sw->random) % 1000000 < p->emulation.loss_ppm) {
        switch_drop_one(sw, p, DROP_LOST);
        return false;
    }
    if (d->bytes && !delay_room(d, f->len))
        at = SHAPE_DROP;
    else if (s->average)
        at = shape_departure(s, f->len, at);
    if (at == SHAPE_DROP) {
        switch_drop_one(sw, p, DROP_SHAPED);
        return false;
    }
    at += p->emulation.delay;
    if (at <= sw->now && !d->count)
        return true;
    delay_put(d, f, tag, at);
    return false;
}

/* A slow wire takes frames that are cut: one that comes too late, or is lost, is not 64 KiB. */
static void pass_pieces(struct net_switch *sw, struct switch_port *p, const struct net_frame *f,
                        u16 tag, bool out)
{
    u32 size = (u32)f->header_len + f->gso_size + FRAME_TAG;
    u8 *bytes = malloc(size);
    struct offload o;

    if (!bytes) {
        switch_drop_one(sw, p, DROP_SHAPED);
        return;
    }
    offload_start(&o, f, tag);
    for (;;) {
        struct net_frame piece = {.data = bytes, .len = offload_next(&o, bytes, size)};

        if (!piece.len || !frame_parse(&piece))
            break;
        piece.vlan_tci = f->vlan_tci;
        if (!pass_one(sw, p, &piece, tag, out))
            continue;
        if (out)
            switch_go_out(sw, p, &piece, tag);
        else
            switch_forward(sw, p, &piece, 1, sw->now);
    }
    free(bytes);
}

bool switch_slow_pass(struct net_switch *sw, struct switch_port *p, const struct net_frame *f,
                      u16 tag, bool out)
{
    struct net_frame whole = *f;

    if (!f->gso_type || !frame_parse(&whole))
        return pass_one(sw, p, f, tag, out);
    pass_pieces(sw, p, &whole, out ? tag : whole.tagged ? whole.tci : FRAME_UNTAGGED, out);
    return false;
}
