/* Neighbour table and timers of LLDP and CDP; called by the switch for its uplinks. */
#include "net/discovery.h"

#include <stdio.h>
#include <string.h>

#include "net/cdp.h"
#include "net/lldp.h"

#define SECOND 1000000000ull

/* IEEE 802.1AB-2016 9.2.5: interval 30 s, hold multiplier 4; CDP: 60 s and 180 s. */
static const struct {
    u64 interval;
    u16 ttl;
    bool (*read)(const u8 *frame, u32 len, struct discovery_info *i);
    u32 (*write)(const struct discovery_info *i, u64 source, u8 *frame, u32 size);
} protocols[DISCOVERY_PROTOCOLS] = {
    [DISCOVERY_LLDP] = {30 * SECOND, 121, lldp_read, lldp_write},
    [DISCOVERY_CDP] = {60 * SECOND, 180, cdp_read, cdp_write},
};

void discovery_text(char to[DISCOVERY_TEXT], const u8 *from, u32 len)
{
    u32 n = MIN(len, DISCOVERY_TEXT - 1);

    for (u32 i = 0; i < n; i++)
        to[i] = (char)(from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?');
    while (n && (to[n - 1] == ' ' || !from[n - 1]))
        n--;
    to[n] = 0;
}

static struct discovery_neighbour *slot(struct discovery *d, enum discovery_protocol p, u16 port,
                                        const struct discovery_info *i)
{
    struct discovery_neighbour *empty = NULL;

    for (u32 k = 0; k < DISCOVERY_NEIGHBOURS; k++) {
        struct discovery_neighbour *n = &d->neighbours[k];

        if (!n->used)
            empty = empty ? empty : n;
        else if (n->protocol == p && n->port == port && n->info.mac == i->mac &&
                 !strcmp(n->info.port, i->port) && (i->mac || !strcmp(n->info.device, i->device)))
            return n;
    }
    return empty;
}

bool discovery_receive(struct discovery *d, enum discovery_protocol p, u16 port, const u8 *frame,
                       u32 len, u64 now)
{
    struct discovery_info info;
    struct discovery_neighbour *n;

    if (!(d->mode[p] & DISCOVERY_LISTEN))
        return false;
    if (!protocols[p].read(frame, len, &info)) {
        d->bad[p]++;
        return false;
    }
    n = slot(d, p, port, &info);
    if (!n)
        return false; /* sixteen are enough for a table that a stranger fills */
    bool was = n->used, is = info.ttl != 0;
    *n = (struct discovery_neighbour){is, (u8)p, port, now + info.ttl * SECOND, info};
    return was != is;
}

bool discovery_due(struct discovery *d, enum discovery_protocol p, u64 now)
{
    if (!(d->mode[p] & DISCOVERY_ADVERTISE) || now < d->next[p])
        return false;
    d->next[p] = now + protocols[p].interval;
    return true;
}

bool discovery_expire(struct discovery *d, u64 now)
{
    bool any = false;

    for (u32 k = 0; k < DISCOVERY_NEIGHBOURS; k++) {
        struct discovery_neighbour *n = &d->neighbours[k];

        if (n->used && now >= n->until) {
            n->used = false;
            any = true;
        }
    }
    return any;
}

void discovery_forget_port(struct discovery *d, u16 port)
{
    for (u32 k = 0; k < DISCOVERY_NEIGHBOURS; k++) {
        if (d->neighbours[k].port == port)
            d->neighbours[k].used = false;
    }
}

u32 discovery_frame(const struct discovery *d, enum discovery_protocol p, const char *port_name,
                    u64 port_mac, u16 native_vlan, u32 mtu, bool last, u8 frame[DISCOVERY_FRAME])
{
    struct discovery_info i = d->self;

    snprintf(i.port, sizeof(i.port), "%s", port_name);
    snprintf(i.port_description, sizeof(i.port_description), "uplink %s", port_name);
    i.native_vlan = native_vlan;
    i.mtu = mtu;
    i.ttl = last ? 0 : protocols[p].ttl;
    return protocols[p].write(&i, port_mac, frame, DISCOVERY_FRAME);
}
