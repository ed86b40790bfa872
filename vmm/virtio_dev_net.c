/* The network device; frames out at the doorbell, frames in from the switch.
 *
 * What a guest sends is copied before it is looked at, since policies decide by its bytes.  Sums
 * and cuts that a sender left out go with the frame; whoever cannot take them gets the frames that
 * would be on a wire (net/offload.h). */
#include "vmm/virtio_dev_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "net/offload.h"
#include "net/switches.h"
#include "vmm/platform.h"

/* Queues: receive and send of each pair, then control.  A driver without F_MQ has one pair. */
enum { QUEUE_RX, QUEUE_TX, QUEUE_PAIR };

#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_GUEST_TSO4 BIT(7)
#define F_GUEST_TSO6 BIT(8)
#define F_HOST_TSO4 BIT(11)
#define F_HOST_TSO6 BIT(12)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_MQ BIT(22)
#define F_CTRL_MAC_ADDR BIT(23)

#define STATUS_LINK_UP 1
#define RX_CHAINS 64 /* buffers that one frame may be spread over */
#define TURN_FRAMES 256
#define FRAME_ROOM (SWITCH_MTU_MAX + FRAME_HEADER + FRAME_TAG)
#define FLOWS 256u

enum { HEADER_CSUM_NEEDED = 1, HEADER_CSUM_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCP4 = 1, GSO_TCP6 = 4 };

struct net_header { /* 5.1.6 */
    u8 flags, gso_type;
    u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct net_config { /* 5.1.4 */
    u8 mac[6];
    u16 status, max_pairs, mtu;
};

struct net_state { /* of the driver: model_state */
    u16 pairs;     /* in use; 0: one */
};

struct port {
    struct net_switch *sw; /* NULL: there is none of that name (any more) */
    u32 index;
    u8 pair_of[FLOWS]; /* where each flow last sent: there it is received (5.1.6.5.6) */
};

static struct virtio_chain chain; /* one thread, and never kept */

static struct vm_nic *nic_of(const struct virtio_device *d)
{
    return &d->pci.vm->config.nic[d->index];
}

/* NULL: it is not connected. */
static struct switch_port *port_of(const struct virtio_device *d)
{
    const struct port *port = d->backend;
    return port && port->sw ? port->sw->ports[port->index] : NULL;
}

static u64 own_mac(const struct virtio_device *d)
{
    return nic_of(d)->mac;
}

static u32 pairs_most(const struct virtio_device *d)
{
    return vm_nic_queues(&d->pci.vm->config, d->index);
}

static u32 pairs_used(const struct virtio_device *d)
{
    const struct net_state *s = d->model_state;
    return virtio_dev_has(d, F_MQ) && s->pairs ? s->pairs : 1;
}

static u32 control_queue(const struct virtio_device *d)
{
    return QUEUE_PAIR * (virtio_dev_has(d, F_MQ) ? pairs_most(d) : 1);
}

/* The same for both directions of a flow. */
static u32 flow_of(const struct net_frame *f)
{
    struct frame_ip ip;
    u32 hash = (u32)(frame_dst(f) ^ frame_src(f));
    if (frame_ip(f, &ip)) {
        const u8 *at = f->data + f->network + (ip.version == 4 ? 12 : 8);
        for (u32 i = 0; i < (ip.version == 4 ? 8u : 32u); i += 4)
            hash ^= frame_be32(at + i);
        at = f->data + ip.offset;
        if (ip.len >= 4)
            hash ^= (u32)(frame_be16(at) ^ frame_be16(at + 2)) << 7;
    }
    hash *= 0x9e3779b1u;
    return hash >> 24;
}

/* ---- from the guest --------------------------------------------------------------------------
 */

/* Frames of a batch, each behind its header, one behind the other. */
#define SENT_MAX ROUND_UP((u32)sizeof(struct net_header) + FRAME_MAX, 8u)
static struct {
    u8 bytes[4 * SENT_MAX];
    u32 used, count;
    struct net_frame frame[SWITCH_BATCH];
} sent;

static bool take_header(const struct net_header *h, struct net_frame *f)
{
    if (h->gso_type != GSO_NONE && h->gso_type != GSO_TCP4 && h->gso_type != GSO_TCP6)
        return false;
    f->gso_type = h->gso_type == GSO_NONE   ? FRAME_GSO_NONE
                  : h->gso_type == GSO_TCP4 ? FRAME_GSO_TCP4
                                            : FRAME_GSO_TCP6;
    f->gso_size = h->gso_size;
    if (h->flags & HEADER_CSUM_NEEDED) {
        f->flags = FRAME_CSUM_NEEDED;
        f->csum_start = h->csum_start;
        f->csum_offset = h->csum_offset;
    }
    return (!f->gso_type || f->flags) && offload_check(f);
}

/* The chain as the next frame of the batch. */
static enum switch_drop take_frame(struct virtio_device *d)
{
    struct net_header h;
    u8 *bytes = sent.bytes + sent.used;
    u32 len = chain.readable_len - (u32)sizeof(h);
    if (chain.readable_len < sizeof(h) + FRAME_HEADER)
        return DROP_RUNT;
    if (len > FRAME_MAX)
        return DROP_OVERSIZE;
    struct net_frame *f = &sent.frame[sent.count];
    if (chain.readable == 1)
        memcpy(bytes, chain.segment[0].at, chain.readable_len);
    else
        virtio_chain_read(&chain, 0, bytes, chain.readable_len);
    memcpy(&h, bytes, sizeof(h));
    *f = (struct net_frame){.data = bytes + sizeof(h), .len = len};
    if (!take_header(&h, f))
        return DROP_OFFLOAD;
    sent.used += ROUND_UP(chain.readable_len, 8u);
    sent.count++;
    d->state->bytes_out += len;
    return DROP_NONE;
}

static void flush(struct virtio_device *d, u32 pair)
{
    struct port *port = d->backend;
    if (pairs_used(d) > 1)
        for (u32 i = 0; i < sent.count; i++)
            if (frame_parse(&sent.frame[i]))
                port->pair_of[flow_of(&sent.frame[i])] = (u8)pair;
    if (port->sw) {
        switch_input(port->sw, port->index, sent.frame, sent.count, platform_now());
        if (!portset_empty(&port->sw->slow))
            net_wake(); /* some may wait in a line now, for their time */
    }
    sent.count = sent.used = 0;
}

static void send(struct virtio_device *d, u32 queue)
{
    struct port *port = d->backend;
    u32 n;
    for (n = 0; n < TURN_FRAMES && virtio_dev_take(d, queue, &chain); n++) {
        enum switch_drop why = take_frame(d);
        if (why && port->sw)
            switch_refuse(port->sw, port->index, why);
        virtio_dev_put(d, queue, &chain, 0);
        if (sent.count == SWITCH_BATCH || sizeof(sent.bytes) - sent.used < SENT_MAX)
            flush(d, queue / QUEUE_PAIR);
    }
    if (sent.count)
        flush(d, queue / QUEUE_PAIR);
    virtio_dev_signal(d, queue);
    if (n == TURN_FRAMES)
        virtio_dev_again(d, queue, platform_now());
}

/* ---- to the guest ----------------------------------------------------------------------------
 */

static u8 cut[FRAME_ROOM]; /* a frame that was made of another */
static struct virtio_chain buffers[RX_CHAINS];

/* Buffers for `len` bytes; 0: the guest has too few, and keeps them. */
static u32 take_buffers(struct virtio_device *d, u32 queue, u32 len)
{
    u32 most = virtio_dev_has(d, F_MRG_RXBUF) ? RX_CHAINS : 1, room = 0, n = 0;
    while (n < most && room < len && virtio_dev_take(d, queue, &buffers[n])) {
        room += MIN(buffers[n].writable_len, len);
        n++;
    }
    if (room >= len)
        return n;
    while (n)
        virtio_dev_untake(d, queue, &buffers[--n]);
    return 0;
}

/* Header and parts, in all `len` bytes, into as many buffers as that takes, which the driver finds
 * together: it would take a frame whose rest is not there yet for a broken one. */
static bool spread_parts(struct virtio_device *d, u32 queue, const struct frame_part *part,
                         u32 parts, u32 len)
{
    u32 count = take_buffers(d, queue, len), written[RX_CHAINS] = {0}, b = 0;
    if (!count)
        return false;
    ((struct net_header *)(uintptr_t)part[0].at)->num_buffers = (u16)count;
    for (u32 i = 0; i < parts; i++) {
        for (u32 done = 0; done < part[i].len && b < count; b++) {
            u32 n =
                virtio_chain_write(&buffers[b], written[b], part[i].at + done, part[i].len - done);
            done += n;
            written[b] += n;
            if (done == part[i].len)
                break;
        }
    }
    virtio_dev_put_all(d, queue, buffers, written, count); /* 5.1.6.4.1 */
    d->state->bytes_in += len;
    return true;
}

/* The same; mostly the first piece of the next buffer holds it all. */
static bool put_parts(struct virtio_device *d, u32 queue, const struct frame_part *part, u32 parts,
                      u32 len)
{
    struct virtio_chain *b = &buffers[0];
    if (!virtio_dev_take(d, queue, b))
        return false;
    const struct virtio_segment *s = &b->segment[b->readable];
    if (!b->writable || s->len < len) {
        virtio_dev_untake(d, queue, b);
        return spread_parts(d, queue, part, parts, len);
    }
    struct net_header h;
    u8 *to = s->at;
    memcpy(&h, part[0].at, sizeof(h));
    h.num_buffers = 1;
    memcpy(to, &h, sizeof(h));
    to += sizeof(h);
    for (u32 i = 1; i < parts; to += part[i++].len)
        memcpy(to, part[i].at, part[i].len);
    virtio_dev_put(d, queue, b, len);
    d->state->bytes_in += len;
    return true;
}

/* May the guest get the frame as its sender left it? */
static bool takes_as_is(const struct virtio_device *d, const struct net_frame *f)
{
    if (f->gso_type && !(f->flags & FRAME_CSUM_NEEDED))
        return false;
    if (f->gso_type &&
        !virtio_dev_has(d, f->gso_type == FRAME_GSO_TCP4 ? F_GUEST_TSO4 : F_GUEST_TSO6))
        return false;
    return !(f->flags & FRAME_CSUM_NEEDED) || virtio_dev_has(d, F_GUEST_CSUM);
}

static struct net_header header_of(const struct virtio_device *d, const struct net_frame *f,
                                   u32 moved)
{
    struct net_header h = {0};
    if (f->flags & FRAME_CSUM_NEEDED) {
        h.flags = HEADER_CSUM_NEEDED;
        h.csum_start = (u16)(f->csum_start + moved);
        h.csum_offset = f->csum_offset;
    } else if (f->flags & FRAME_CSUM_VALID && virtio_dev_has(d, F_GUEST_CSUM)) {
        h.flags = HEADER_CSUM_VALID;
    }
    if (f->gso_type) {
        h.gso_type = f->gso_type == FRAME_GSO_TCP4 ? GSO_TCP4 : GSO_TCP6;
        h.gso_size = f->gso_size;
        h.hdr_len = (u16)(f->header_len + moved);
    }
    return h;
}

static bool give(struct virtio_device *d, u32 queue, const struct switch_item *item)
{
    const struct net_frame *f = item->frame;
    struct frame_part part[1 + FRAME_PARTS];
    struct net_header h = {0};
    part[0] = (struct frame_part){(u8 *)&h, sizeof(h)};
    if (takes_as_is(d, f)) {
        u8 tag_bytes[FRAME_TAG];
        u32 len = frame_out_len(f, item->tag);
        h = header_of(d, f, len - f->len);
        u32 parts = 1 + frame_parts(f, item->tag, tag_bytes, part + 1);
        return put_parts(d, queue, part, parts, (u32)sizeof(h) + len);
    }
    struct offload o;
    u32 len;
    offload_start(&o, f, item->tag);
    while ((len = offload_next(&o, cut, sizeof(cut)))) {
        part[1] = (struct frame_part){cut, len};
        h = (struct net_header){0};
        if (!put_parts(d, queue, part, 2, (u32)sizeof(h) + len))
            return false;
    }
    return true;
}

static void deliver(void *owner, const struct switch_item *items, u32 count)
{
    struct virtio_device *d = owner;
    const struct port *port = d->backend;
    u32 pairs = pairs_used(d), told = 0;
    bool full = false;
    for (u32 i = 0; i < count; i++) {
        u32 pair = pairs > 1 ? port->pair_of[flow_of(items[i].frame)] % pairs : 0;
        told |= (u32)BIT(pair);
        /* Without buffers the rest is lost as well, as on a card. */
        full = (full && pairs == 1) || !give(d, QUEUE_PAIR * pair + QUEUE_RX, &items[i]);
        if (full && virtio_dev_live(d))
            switch_refuse(port->sw, port->index, DROP_NO_BUFFER);
    }
    for (; told; told &= told - 1)
        virtio_dev_signal(d, QUEUE_PAIR * (u32)__builtin_ctz(told) + QUEUE_RX);
}

static void on_link(void *owner)
{
    virtio_dev_config_changed(owner);
}

static const struct switch_port_ops port_ops = {.deliver = deliver, .link = on_link};

/* ---- control: 5.1.6.5 ------------------------------------------------------------------------
 */

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_MQ = 4 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };
enum { MQ_PAIRS_SET = 0 };
enum { ACK_OK = 0, ACK_ERROR = 1 };

static u8 set_pairs(struct virtio_device *d)
{
    struct net_state *s = d->model_state;
    u16 pairs;
    if (!virtio_dev_has(d, F_MQ) || virtio_chain_read(&chain, 2, &pairs, sizeof(pairs)) != 2 ||
        !pairs || pairs > pairs_most(d))
        return ACK_ERROR;
    s->pairs = pairs;
    return ACK_OK;
}

static void set_mac(struct virtio_device *d, u64 mac)
{
    const struct port *port = d->backend;
    if (port_of(d))
        switch_port_guest_mac(port->sw, port->index, mac);
}

static u8 command(struct virtio_device *d)
{
    u8 head[2], mac[6];
    if (virtio_chain_read(&chain, 0, head, sizeof(head)) != sizeof(head))
        return ACK_ERROR;
    /* What the guest wants to receive is a filter of its own: the switch delivers by its policy. */
    if (head[0] == CLASS_RX || (head[0] == CLASS_MAC && head[1] == MAC_TABLE_SET))
        return ACK_OK;
    if (head[0] == CLASS_MQ && head[1] == MQ_PAIRS_SET)
        return set_pairs(d);
    if (head[0] == CLASS_MAC && head[1] == MAC_ADDR_SET &&
        virtio_chain_read(&chain, sizeof(head), mac, sizeof(mac)) == sizeof(mac)) {
        set_mac(d, frame_mac(mac));
        return ACK_OK;
    }
    return ACK_ERROR;
}

static void control(struct virtio_device *d, u32 queue)
{
    u32 n;
    for (n = 0; n < d->model->queue_size && virtio_dev_take(d, queue, &chain); n++) {
        u8 ack = command(d);
        virtio_dev_put(d, queue, &chain, virtio_chain_write(&chain, 0, &ack, sizeof(ack)));
    }
    virtio_dev_signal(d, queue);
    if (n == d->model->queue_size)
        virtio_dev_again(d, queue, platform_now());
}

/* ---- the device ------------------------------------------------------------------------------
 */

static void kick(struct virtio_device *d, u32 queue)
{
    if (queue == control_queue(d))
        control(d, queue);
    else if (queue < control_queue(d) && queue % QUEUE_PAIR == QUEUE_TX)
        send(d, queue);
}

static void config_read(struct virtio_device *d, u32 offset, void *dst, u32 len)
{
    const struct switch_port *p = port_of(d);
    struct net_config c = {.status = p && p->up ? STATUS_LINK_UP : 0,
                           .max_pairs = (u16)pairs_most(d),
                           .mtu = (u16)(p ? p->sw->mtu : SWITCH_MTU)};
    u64 mac = own_mac(d);
    for (u32 i = 0; i < sizeof(c.mac); i++)
        c.mac[i] = (u8)(mac >> (40 - 8 * i));
    memcpy(dst, (const u8 *)&c + offset, len);
}

/* A new driver begins with the address that the administrator gave. */
static void reset(struct virtio_device *d)
{
    memset(d->model_state, 0, sizeof(struct net_state));
    set_mac(d, own_mac(d));
}

static u32 queues(const struct virtio_device *d)
{
    return QUEUE_PAIR * pairs_most(d) + 1;
}

static u64 more_features(const struct virtio_device *d)
{
    return pairs_most(d) > 1 ? F_MQ : 0;
}

const struct virtio_model virtio_dev_net_model = {
    .name = "virtio-net",
    .type = 1,
    .class = 0x020000,
    .queue_size = 256,
    .config_len = sizeof(struct net_config),
    .features = F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_GUEST_TSO4 | F_GUEST_TSO6 | F_HOST_TSO4 |
                F_HOST_TSO6 | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR,
    .more_features = more_features,
    .queues = queues,
    .config_read = config_read,
    .reset = reset,
    .kick = kick,
};

/* ---- its port --------------------------------------------------------------------------------
 */

static bool refused(const struct virtio_device *d, int status, struct vm_error *e)
{
    const char *to = d->pci.vm->config.nic[d->index].to_switch;
    if (status == HV_EEXIST)
        return vm_error(e, HV_EEXIST, "E_EXIST", "vm set nicN.mac=auto",
                        "the address of %s is in use on switch %s", d->label, to);
    if (status == HV_ENOMEM)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM", "no memory for %s", d->label);
    return vm_error(e, (enum hv_status)status, "E_NOSPACE", "net switch list",
                    "switch %s has no port left for %s", to, d->label);
}

static void (*on_joined)(const char *port);

void virtio_dev_net_watch(void (*joined)(const char *port))
{
    on_joined = joined;
}

static bool has_joined(const struct virtio_device *d)
{
    const struct switch_port *p = port_of(d);
    if (p && on_joined)
        on_joined(p->name);
    return true;
}

/* A port for the NIC on the switch that its configuration names. */
static bool join(struct virtio_device *d, struct port *port, struct vm_error *e)
{
    const struct vm *vm = d->pci.vm;
    const struct vm_nic *nic = nic_of(d);
    struct switch_port_config c = {.type = nic->mirror ? PORT_MIRROR : PORT_VM,
                                   .ops = &port_ops,
                                   .owner = d,
                                   .mac = nic->mirror ? 0 : nic->mac};
    port->sw = switches_named(nic->to_switch);
    if (!port->sw)
        return vm_error(e, HV_ENOENT, "E_NOENT", "net switch list", "%s: there is no switch %s",
                        d->label, nic->to_switch);
    snprintf(c.name, sizeof(c.name), "%.*s:%u", (int)sizeof(c.name) - 6, vm->config.name, d->index);
    int index = switch_port_add(port->sw, &c);
    if (index < 0)
        return refused(d, index, e);
    port->index = (u32)index;
    virtio_dev_net_vlan(d);
    return true;
}

bool virtio_dev_net_open(struct virtio_device *d, struct vm_error *e)
{
    struct vm *vm = d->pci.vm;
    struct vm_nic *nic = nic_of(d);
    struct port *port = calloc(1, sizeof(*port));
    if (!port)
        return refused(d, HV_ENOMEM, e);
    if (!nic->mac)
        nic->mac = switches_new_mac();
    vm_state_set_config(vm->state, &vm->config); /* it stays, whatever restarts */
    d->backend = port;
    /* After a restart of the control partition switches are made after VMs are found: vm_nic.c. */
    if ((vm->phase == PHASE_STOPPED && !switches_named(nic->to_switch)) || join(d, port, e))
        return has_joined(d);
    d->backend = NULL;
    free(port);
    return false;
}

void virtio_dev_net_close(struct virtio_device *d)
{
    struct port *port = d->backend;
    if (!port)
        return;
    if (port->sw)
        switch_port_remove(port->sw, port->index);
    free(port);
    d->backend = NULL;
}

void virtio_dev_net_found(struct virtio_device *d, const struct net_switch *sw)
{
    struct port *port = d->backend;
    struct vm_error e;
    if (port->sw || strcmp(nic_of(d)->to_switch, sw->name) != 0)
        return;
    if (!join(d, port, &e)) {
        port->sw = NULL;
        platform_log(d->pci.vm, "%s", e.text);
        return;
    }
    has_joined(d);
    virtio_dev_config_changed(d);
}

void virtio_dev_net_vlan(struct virtio_device *d)
{
    const struct port *port = d->backend;
    struct vlan_port v;
    vlan_access(&v, nic_of(d)->vlan);
    if (port_of(d))
        switch_port_set_vlan(port->sw, port->index, &v);
}

bool virtio_dev_net_move(struct virtio_device *d, struct vm_error *e)
{
    struct port *port = d->backend, old = *port;
    u64 mac_now = port_of(d) ? port_of(d)->mac_now : own_mac(d);
    if (!join(d, port, e)) {
        *port = old;
        return false;
    }
    if (old.sw)
        switch_port_remove(old.sw, old.index);
    set_mac(d, mac_now);
    has_joined(d);
    switch_announce(port->sw);
    net_wake();
    virtio_dev_config_changed(d);
    return true;
}
