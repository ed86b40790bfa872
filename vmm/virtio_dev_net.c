/* The network device; frames out at the doorbell, frames in from the switch.
 *
 * What a guest sends is copied before it is looked at, since policies decide by its bytes. */
#include "vmm/virtio_dev_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/switches.h"
#include "vmm/platform.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_CONTROL, QUEUE_COUNT };

#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_CTRL_MAC_ADDR BIT(23)

#define STATUS_LINK_UP 1
#define RX_CHAINS 16 /* buffers that one frame may be spread over */
#define TURN_FRAMES 256
#define FRAME_ROOM (SWITCH_MTU_MAX + FRAME_HEADER + FRAME_TAG)

struct net_header { /* 5.1.6 */
    u8 flags, gso_type;
    u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct net_config { /* 5.1.4 */
    u8 mac[6];
    u16 status, max_pairs, mtu;
};

struct port {
    struct net_switch *sw;
    u32 index;
};

static struct virtio_chain chain; /* one thread, and never kept */

static u64 own_mac(const struct virtio_device *d)
{
    return d->pci.vm->config.nic[d->index].mac;
}

/* ---- from the guest --------------------------------------------------------------------------
 */

static u8 sent[SWITCH_BATCH][FRAME_ROOM];

/* A chain as a frame in sent[i]; false: it is none. */
static bool to_frame(u32 i, struct net_frame *f)
{
    u32 len = chain.readable_len - (u32)sizeof(struct net_header);
    if (chain.readable_len < sizeof(struct net_header) + FRAME_HEADER || len > FRAME_ROOM)
        return false;
    len = virtio_chain_read(&chain, sizeof(struct net_header), sent[i], len);
    *f = (struct net_frame){.data = sent[i], .len = len};
    return true;
}

static void send(struct virtio_device *d)
{
    struct port *port = d->backend;
    struct net_frame frames[SWITCH_BATCH];
    u32 count = 0, n;
    for (n = 0; n < TURN_FRAMES && virtio_dev_take(d, QUEUE_TX, &chain); n++) {
        if (to_frame(count, &frames[count]))
            d->state->bytes_out += frames[count++].len;
        virtio_dev_put(d, QUEUE_TX, &chain, 0);
        if (count == SWITCH_BATCH) {
            switch_input(port->sw, port->index, frames, count, platform_now());
            count = 0;
        }
    }
    if (count)
        switch_input(port->sw, port->index, frames, count, platform_now());
    virtio_dev_signal(d, QUEUE_TX);
    if (n == TURN_FRAMES)
        virtio_dev_again(d, QUEUE_TX, platform_now());
}

/* ---- to the guest ----------------------------------------------------------------------------
 */

static u8 received[FRAME_ROOM + sizeof(struct net_header)];
static struct virtio_chain buffers[RX_CHAINS];

/* Buffers for `len` bytes; 0: the guest has too few, and keeps them. */
static u32 take_buffers(struct virtio_device *d, u32 len)
{
    u32 most = virtio_dev_has(d, F_MRG_RXBUF) ? RX_CHAINS : 1, room = 0, n = 0;
    while (n < most && room < len && virtio_dev_take(d, QUEUE_RX, &buffers[n]))
        room += MIN(buffers[n++].writable_len, len);
    if (room >= len)
        return n;
    while (n)
        virtio_dev_untake(d, QUEUE_RX, &buffers[--n]);
    return 0;
}

static bool give(struct virtio_device *d, const struct switch_item *item)
{
    struct net_header *h = (struct net_header *)received;
    u32 len = frame_copy(item->frame, item->tag, received + sizeof(*h), FRAME_ROOM), at = 0;
    if (!len)
        return false;
    len += (u32)sizeof(*h);
    u32 count = take_buffers(d, len);
    *h = (struct net_header){.num_buffers = (u16)count};
    for (u32 i = 0; i < count; i++) {
        u32 n = virtio_chain_write(&buffers[i], 0, received + at, len - at);
        virtio_dev_put(d, QUEUE_RX, &buffers[i], n);
        at += n;
    }
    d->state->bytes_in += at;
    return count;
}

static void deliver(void *owner, const struct switch_item *items, u32 count)
{
    struct virtio_device *d = owner;
    for (u32 i = 0; i < count && give(d, &items[i]); i++)
        ; /* without buffers the rest is lost as well, as on a card */
    virtio_dev_signal(d, QUEUE_RX);
}

static const struct switch_port_ops port_ops = {.deliver = deliver};

/* ---- control: 5.1.6.5 ------------------------------------------------------------------------
 */

enum { CLASS_RX = 0, CLASS_MAC = 1 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };
enum { ACK_OK = 0, ACK_ERROR = 1 };

static u8 command(struct virtio_device *d)
{
    struct port *port = d->backend;
    u8 head[2], mac[6];
    if (virtio_chain_read(&chain, 0, head, sizeof(head)) != sizeof(head))
        return ACK_ERROR;
    /* What the guest wants to receive is a filter of its own: the switch delivers by its policy. */
    if (head[0] == CLASS_RX || (head[0] == CLASS_MAC && head[1] == MAC_TABLE_SET))
        return ACK_OK;
    if (head[0] == CLASS_MAC && head[1] == MAC_ADDR_SET &&
        virtio_chain_read(&chain, sizeof(head), mac, sizeof(mac)) == sizeof(mac)) {
        switch_port_guest_mac(port->sw, port->index, frame_mac(mac));
        return ACK_OK;
    }
    return ACK_ERROR;
}

static void control(struct virtio_device *d)
{
    u32 n;
    for (n = 0; n < d->model->queue_size && virtio_dev_take(d, QUEUE_CONTROL, &chain); n++) {
        u8 ack = command(d);
        virtio_dev_put(d, QUEUE_CONTROL, &chain, virtio_chain_write(&chain, 0, &ack, sizeof(ack)));
    }
    virtio_dev_signal(d, QUEUE_CONTROL);
    if (n == d->model->queue_size)
        virtio_dev_again(d, QUEUE_CONTROL, platform_now());
}

/* ---- the device ------------------------------------------------------------------------------
 */

static void kick(struct virtio_device *d, u32 queue)
{
    if (queue == QUEUE_TX)
        send(d);
    else if (queue == QUEUE_CONTROL)
        control(d);
}

static void config_read(struct virtio_device *d, u32 offset, void *dst, u32 len)
{
    struct port *port = d->backend;
    struct net_config c = {.status = port->sw->ports[port->index]->up ? STATUS_LINK_UP : 0,
                           .max_pairs = 1,
                           .mtu = (u16)port->sw->mtu};
    u64 mac = own_mac(d);
    for (u32 i = 0; i < sizeof(c.mac); i++)
        c.mac[i] = (u8)(mac >> (40 - 8 * i));
    memcpy(dst, (const u8 *)&c + offset, len);
}

/* A new driver begins with the address that the administrator gave. */
static void reset(struct virtio_device *d)
{
    struct port *port = d->backend;
    switch_port_guest_mac(port->sw, port->index, own_mac(d));
}

static u32 queues(const struct virtio_device *d)
{
    (void)d;
    return QUEUE_COUNT;
}

const struct virtio_model virtio_dev_net_model = {
    .name = "virtio-net",
    .type = 1,
    .class = 0x020000,
    .queue_size = 256,
    .config_len = sizeof(struct net_config),
    .features = F_MTU | F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR,
    .queues = queues,
    .config_read = config_read,
    .reset = reset,
    .kick = kick,
};

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

bool virtio_dev_net_open(struct virtio_device *d, struct vm_error *e)
{
    struct vm *vm = d->pci.vm;
    struct vm_nic *nic = &vm->config.nic[d->index];
    struct port *port = calloc(1, sizeof(*port));
    struct switch_port_config c = {.type = PORT_VM, .ops = &port_ops, .owner = d};
    int index = HV_ENOMEM;
    if (!port)
        return refused(d, HV_ENOMEM, e);
    port->sw = switches_named(nic->to_switch);
    if (!port->sw) {
        free(port);
        return vm_error(e, HV_ENOENT, "E_NOENT", "net switch list", "%s: there is no switch %s",
                        d->label, nic->to_switch);
    }
    if (!nic->mac)
        nic->mac = switches_new_mac();
    vm_state_set_config(vm->state, &vm->config); /* it stays, whatever restarts */
    snprintf(c.name, sizeof(c.name), "%.*s:%u", (int)sizeof(c.name) - 6, vm->config.name, d->index);
    c.mac = nic->mac;
    index = switch_port_add(port->sw, &c);
    if (index < 0) {
        free(port);
        return refused(d, index, e);
    }
    port->index = (u32)index;
    if (nic->vlan) {
        struct vlan_port v;
        vlan_access(&v, (u16)nic->vlan);
        switch_port_set_vlan(port->sw, port->index, &v);
    }
    d->backend = port;
    return true;
}

void virtio_dev_net_close(struct virtio_device *d)
{
    struct port *port = d->backend;
    if (!port)
        return;
    switch_port_remove(port->sw, port->index);
    free(port);
    d->backend = NULL;
}
