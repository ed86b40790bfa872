/* The door to network cards: checks, copies, counts.  Called by net/, the shell and drivers; on the
 * loop or in a fiber, one thread. */
#include "drivers/nic.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/dma.h"
#include "control/rt/log.h"

#define WATCHERS 4

static struct nic *nics, **nics_end = &nics;
static void (*watchers[WATCHERS])(struct nic *n);
static u32 count;

/* ---- copies of frames that the card cannot reach ----------------------------------------------
 */
struct bounce {
    struct nic_frame frame;
    u64 len;
    void *memory;
};

static void release_bounce(struct nic_frame *f)
{
    struct bounce *b = f->owner;

    dma_free(b->memory, b->len);
}

static bool reachable(const struct nic_frame *f)
{
    u32 pieces = 0;

    for (; f; f = f->more, pieces++)
        if (!dma_reaches(f->data, f->len))
            return false;
    return pieces <= NIC_PIECES;
}

/* The frame in one piece of such memory, with its description in front; the original is released.
 * NULL: no memory. */
static struct nic_frame *copy(struct nic_frame *f)
{
    u32 len = nic_frame_len(f), at = sizeof(struct bounce);
    u64 all = sizeof(struct bounce) + len;
    u8 *memory = dma_alloc(all);

    if (!memory)
        return NULL;
    struct bounce *b = (struct bounce *)memory;
    for (const struct nic_frame *p = f; p; at += p->len, p = p->more)
        memcpy(memory + at, p->data, p->len);
    b->frame = *f;
    b->frame.data = memory + sizeof(struct bounce);
    b->frame.len = len;
    b->frame.more = NULL;
    b->frame.release = release_bounce;
    b->frame.owner = b;
    b->memory = memory;
    b->len = all;
    nic_release(f);
    return &b->frame;
}

/* ---- the door ---------------------------------------------------------------------------------
 */
static bool sound(const struct nic *n, const struct nic_frame *f)
{
    u32 len = 0, needs = 0;

    for (const struct nic_frame *p = f; p; p = p->more) {
        if (p->len > NIC_FRAME_MOST - len)
            return false;
        len += p->len;
    }
    if (len < NIC_FRAME_LEAST)
        return false;
    needs |= f->flags & NIC_CSUM_NEEDED ? NIC_CAN_CSUM : 0;
    needs |= f->flags & NIC_GSO_TCP4 ? NIC_CAN_TSO4 | NIC_CAN_CSUM : 0;
    needs |= f->flags & NIC_GSO_TCP6 ? NIC_CAN_TSO6 | NIC_CAN_CSUM : 0;
    if ((n->capabilities & needs) != needs)
        return false;
    if ((f->flags & NIC_CSUM_NEEDED) && f->csum_start + f->csum_offset + 2u > len)
        return false;
    if (f->flags & (NIC_GSO_TCP4 | NIC_GSO_TCP6))
        return f->gso_size && f->header_len < len && (f->flags & NIC_CSUM_NEEDED);
    return len <= n->mtu + 18; /* header and one VLAN tag */
}

static void drop(struct nic *n, struct nic_frame *f)
{
    nic_release(f);
    n->stats.tx_dropped++;
}

/* Sound and reachable. */
static bool goes_as_it_is(const struct nic *n, const struct nic_frame *f)
{
    if (!f->more && !f->flags) /* the usual one */
        return f->len - NIC_FRAME_LEAST <= n->mtu + 18 - NIC_FRAME_LEAST &&
               dma_reaches(f->data, f->len);
    return sound(n, f) && reachable(f);
}

/* A frame that cannot go as it is: a copy goes, if there is room for it, or nothing. */
static void send_odd(struct nic *n, struct nic_frame *f)
{
    struct nic_frame *copied = n->link_up && !n->gone && sound(n, f) ? copy(f) : NULL;

    if (!copied)
        drop(n, f);
    else if (n->ops->send(n, &copied, 1) == 0)
        drop(n, copied);
}

u32 nic_send(struct nic *n, struct nic_frame *const *frames, u32 total)
{
    u32 taken = 0;

    while (taken < total) {
        u32 run = 0, most = n->link_up && !n->gone ? MIN(total - taken, (u32)NIC_BATCH) : 0;
        while (run < most && goes_as_it_is(n, frames[taken + run]))
            run++;
        if (!run) {
            send_odd(n, frames[taken++]);
            continue;
        }
        u32 sent = n->ops->send(n, frames + taken, run);
        taken += sent;
        if (sent < run) {
            n->starved = true;
            break;
        }
    }
    return taken;
}

enum hv_status nic_open(struct nic *n, const struct nic_user *user)
{
    if (n->user)
        return HV_EBUSY;
    n->user = user;
    n->starved = false;
    return HV_OK;
}

void nic_close(struct nic *n)
{
    n->user = NULL;
}

void nic_set_filter(struct nic *n, const struct nic_filter *f)
{
    n->ops->set_filter(n, f);
}

enum hv_status nic_set_mtu(struct nic *n, u32 mtu)
{
    if (mtu < 68 || mtu > n->mtu_most)
        return HV_EINVAL;
    if (!n->ops->set_mtu)
        return mtu == n->mtu ? HV_OK : HV_ENOSYS;
    return n->ops->set_mtu(n, mtu);
}

enum hv_status nic_reset(struct nic *n)
{
    if (n->gone)
        return HV_ENOENT;
    return n->ops->reset ? n->ops->reset(n) : HV_ENOSYS;
}

/* ---- for drivers ------------------------------------------------------------------------------
 */
void nic_received(struct nic *n, struct nic_frame *const *frames, u32 total)
{
    u64 bytes = 0;

    for (u32 i = 0; i < total; i++)
        bytes += nic_frame_len(frames[i]);
    n->stats.rx_frames += total;
    n->stats.rx_bytes += bytes;
    if (n->user) {
        n->user->receive(n->user->owner, frames, total);
        return;
    }
    n->stats.rx_dropped += total;
    for (u32 i = 0; i < total; i++)
        nic_release(frames[i]);
}

void nic_room(struct nic *n)
{
    if (!n->starved)
        return;
    n->starved = false;
    if (n->user && n->user->room)
        n->user->room(n->user->owner);
}

void nic_link(struct nic *n, bool up, u32 mbps, bool full_duplex)
{
    if (n->link_up == up && n->link_mbps == mbps)
        return;
    n->link_up = up;
    n->link_mbps = mbps;
    n->full_duplex = full_duplex;
    log_info("%s: link %s, %u Mbit/s", n->name, up ? "up" : "down", mbps);
    if (n->user)
        n->user->link(n->user->owner);
}

void nic_register(struct nic *n)
{
    do
        snprintf(n->name, sizeof(n->name), "nic%u", count++);
    while (nic_find(n->name)); /* nic_rename() may have given it away */
    n->next = NULL;
    n->user = NULL;
    n->starved = n->gone = false;
    *nics_end = n;
    nics_end = &n->next;
    log_info("%s: %s, %02x:%02x:%02x:%02x:%02x:%02x", n->name, n->kind, n->mac[0], n->mac[1],
             n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
    for (u32 i = 0; i < WATCHERS && watchers[i]; i++)
        watchers[i](n);
}

struct nic *nic_first(void)
{
    return nics;
}

struct nic *nic_find(const char *name)
{
    struct nic *n = nics;

    while (n && strcmp(n->name, name))
        n = n->next;
    return n;
}

enum hv_status nic_rename(struct nic *n, const char *name)
{
    struct nic *other = nic_find(name);

    if (other == n)
        return HV_OK;
    if (strncmp(name, "nic", 3) || !name[3] || name[3 + strspn(name + 3, "0123456789")] ||
        strlen(name) > 3 + 4)
        return HV_EINVAL;
    if (n->user || (other && other->user))
        return HV_EBUSY;
    log_info("%s is %s from now on", n->name, name);
    if (other)
        memcpy(other->name, n->name, sizeof(other->name));
    snprintf(n->name, sizeof(n->name), "%s", name);
    return HV_OK;
}

void nic_watch(void (*fn)(struct nic *n))
{
    for (u32 i = 0; i < WATCHERS; i++)
        if (!watchers[i]) {
            watchers[i] = fn;
            for (struct nic *n = nics; n; n = n->next)
                fn(n);
            return;
        }
    rt_assert(!"room for a watcher");
}
