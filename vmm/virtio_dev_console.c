/* The console device; served at the doorbell, by typed input and by its timer.
 *
 * Output is paced: a turn writes at most what the scroll-back holds for a reader that keeps up, the
 * rest follows a millisecond later, so a flood costs the guest and nobody else. */
#include "vmm/virtio_dev_console.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/platform.h"
#include "vmm/vm.h"

/* Input and output of port 0, of control, of port 1, ... (5.3.2) */
enum { QUEUE_INPUT, QUEUE_OUTPUT, QUEUE_CONTROL_IN, QUEUE_CONTROL_OUT, QUEUE_PAIR = 2 };

#define F_MULTIPORT BIT(1)
#define F_EMERG_WRITE BIT(2)
#define TURN (NS_PER_SEC / 1000)
#define RING_BYTES 4096u

struct console_config { /* 5.3.4 */
    u16 columns, rows;
    u32 ports, emergency;
};

struct control { /* 5.3.6.2 */
    u32 port;
    u16 event, value;
};

enum control_event {
    DEVICE_READY,
    PORT_ADD,
    PORT_REMOVE,
    PORT_READY,
    CONSOLE_PORT,
    RESIZE,
    PORT_OPEN,
    PORT_NAME
};

/* What the device tells of each port, in this order. */
static const u16 told[] = {PORT_ADD, CONSOLE_PORT, PORT_NAME, PORT_OPEN};

struct console_state {
    u32 sent[VM_CONSOLE_PORTS]; /* bytes of the chain at the head of an output queue that are
                                   written already */
    u8 tell[ARRAY_LEN(told)];   /* of each: for which ports it is still to be told */
    u8 typed_len[VM_CONSOLE_PORTS];
    u8 opened; /* of each port: the driver says that a program has it open */
    u8 first[112], others[VM_CONSOLE_PORTS - 1][16]; /* typed, and not yet taken */
};
_Static_assert(sizeof(struct console_state) <= VIRTIO_MODEL_STATE, "it has no more");

struct said { /* by a port beyond the first */
    union {
        struct text_ring ring;
        u8 space[sizeof(struct text_ring) + RING_BYTES];
    };
};

static struct virtio_chain chain; /* one thread, and never kept */

#define AGENT_NAME "org.qemu.guest_agent.0"

static u32 ports_of(const struct virtio_device *d)
{
    const struct vm_config *c = &d->pci.vm->config;
    return MIN(MAX(c->console_ports, 1u) + c->console_agent, VM_CONSOLE_PORTS);
}

bool virtio_dev_console_agent(const struct virtio_device *d, u32 *port)
{
    *port = ports_of(d) - 1;
    return d->pci.vm->config.console_agent && *port;
}

bool virtio_dev_console_heard(const struct virtio_device *d, u32 port)
{
    const struct console_state *s = d->model_state;
    return virtio_dev_live(d) && (s->opened & BIT(port));
}

static u32 input_queue(u32 port)
{
    return port ? QUEUE_PAIR * (port + 1) : QUEUE_INPUT;
}

static u8 *typed(struct console_state *s, u32 port, u32 *size)
{
    *size = port ? sizeof(s->others[0]) : sizeof(s->first);
    return port ? s->others[port - 1] : s->first;
}

static void give_input(struct virtio_device *d, u32 port)
{
    struct console_state *s = d->model_state;
    u32 queue = input_queue(port), size, n;
    u8 *bytes = typed(s, port, &size);
    while (s->typed_len[port] && virtio_dev_take(d, queue, &chain)) {
        n = virtio_chain_write(&chain, 0, bytes, s->typed_len[port]);
        s->typed_len[port] = (u8)(s->typed_len[port] - n);
        memmove(bytes, bytes + n, s->typed_len[port]);
        d->state->bytes_in += n;
        virtio_dev_put(d, queue, &chain, n);
    }
    virtio_dev_signal(d, queue);
}

static void write_bytes(struct virtio_device *d, u32 port, const u8 *bytes, u32 len)
{
    struct vm *vm = d->pci.vm;
    struct said *said = d->backend;
    if (!port) {
        platform_console_write(vm, bytes, len);
        return;
    }
    text_ring_put(&said[port - 1].ring, bytes, len);
    if (vm->console_news)
        vm->console_news(vm);
}

/* Part of a chain; true if that was all of it. */
static bool write_some(struct virtio_device *d, u32 port, u32 *room)
{
    struct console_state *s = d->model_state;
    u8 bytes[256];
    u32 left = chain.readable_len > s->sent[port] ? chain.readable_len - s->sent[port] : 0;
    while (left && *room) {
        u32 n = MIN(MIN(left, *room), (u32)sizeof(bytes));
        n = virtio_chain_read(&chain, s->sent[port], bytes, n);
        write_bytes(d, port, bytes, n);
        d->state->bytes_out += n;
        s->sent[port] += n;
        left -= n;
        *room -= n;
    }
    return !left;
}

static void take_output(struct virtio_device *d, u32 port)
{
    struct console_state *s = d->model_state;
    u32 room = port ? RING_BYTES : platform_console_room(d->pci.vm), n;
    u32 queue = input_queue(port) + QUEUE_OUTPUT;
    for (n = 0; n < d->model->queue_size && virtio_dev_take(d, queue, &chain); n++) {
        if (!write_some(d, port, &room)) {
            virtio_dev_untake(d, queue, &chain);
            break;
        }
        s->sent[port] = 0;
        virtio_dev_put(d, queue, &chain, 0);
    }
    virtio_dev_signal(d, queue);
    if (!room || n == d->model->queue_size)
        virtio_dev_again(d, queue, platform_now() + TURN);
}

/* ---- control ---------------------------------------------------------------------------------
 */

static bool tell(struct virtio_device *d, u16 event, u32 port)
{
    struct {
        struct control head;
        char name[24];
    } m = {{port, event, 1}, ""};
    u32 len = sizeof(m.head);
    if (!virtio_dev_take(d, QUEUE_CONTROL_IN, &chain))
        return false;
    u32 agent;
    if (event == PORT_NAME && virtio_dev_console_agent(d, &agent) && port == agent)
        len += (u32)snprintf(m.name, sizeof(m.name), AGENT_NAME);
    else if (event == PORT_NAME)
        len += (u32)snprintf(m.name, sizeof(m.name), "port%u", port);
    virtio_dev_put(d, QUEUE_CONTROL_IN, &chain, virtio_chain_write(&chain, 0, &m, len));
    return true;
}

/* As much as the driver has room for. */
static void tell_all(struct virtio_device *d)
{
    struct console_state *s = d->model_state;
    for (u32 i = 0; i < ARRAY_LEN(told); i++) {
        for (u32 port = 0; port < VM_CONSOLE_PORTS; port++) {
            if (!(s->tell[i] & BIT(port)))
                continue;
            if (!tell(d, told[i], port)) {
                virtio_dev_signal(d, QUEUE_CONTROL_IN);
                return;
            }
            s->tell[i] &= (u8)~BIT(port);
        }
    }
    virtio_dev_signal(d, QUEUE_CONTROL_IN);
}

static void on_control(struct virtio_device *d, const struct control *m)
{
    struct console_state *s = d->model_state;
    u8 bit = (u8)BIT(m->port & 7);
    if (m->event == DEVICE_READY && m->value) {
        s->tell[0] = (u8)(BIT(ports_of(d)) - 1);
    } else if (m->event == PORT_READY && m->value && m->port < ports_of(d)) {
        s->tell[m->port ? 2 : 1] |= bit; /* a name, or that it is the console */
        s->tell[3] |= bit;
    } else if (m->event == PORT_OPEN && m->port < ports_of(d)) {
        s->opened = (u8)(m->value ? s->opened | bit : s->opened & ~bit);
    }
}

static void take_control(struct virtio_device *d)
{
    struct control m;
    u32 n;
    for (n = 0; n < d->model->queue_size && virtio_dev_take(d, QUEUE_CONTROL_OUT, &chain); n++) {
        if (virtio_chain_read(&chain, 0, &m, sizeof(m)) == sizeof(m))
            on_control(d, &m);
        virtio_dev_put(d, QUEUE_CONTROL_OUT, &chain, 0);
    }
    virtio_dev_signal(d, QUEUE_CONTROL_OUT);
    tell_all(d);
    if (n == d->model->queue_size)
        virtio_dev_again(d, QUEUE_CONTROL_OUT, platform_now() + TURN);
}

/* ---- the device ------------------------------------------------------------------------------
 */

static void kick(struct virtio_device *d, u32 queue)
{
    u32 port = queue < QUEUE_CONTROL_IN ? 0 : queue / QUEUE_PAIR - 1;
    if (queue > QUEUE_OUTPUT && !virtio_dev_has(d, F_MULTIPORT))
        return;
    if (queue == QUEUE_CONTROL_IN)
        tell_all(d);
    else if (queue == QUEUE_CONTROL_OUT)
        take_control(d);
    else if (queue % QUEUE_PAIR == QUEUE_OUTPUT)
        take_output(d, port);
    else
        give_input(d, port);
}

u32 virtio_dev_console_input(struct virtio_device *d, u32 port, const u8 *bytes, u32 len)
{
    struct console_state *s = d->model_state;
    u32 size, n;
    u8 *to = typed(s, port, &size);
    n = MIN(len, size - s->typed_len[port]);
    memcpy(to + s->typed_len[port], bytes, n);
    s->typed_len[port] = (u8)(s->typed_len[port] + n);
    give_input(d, port);
    return n;
}

const struct text_ring *virtio_dev_console_ring(const struct virtio_device *d, u32 port)
{
    const struct said *said = d->backend;
    return port && port < ports_of(d) ? &said[port - 1].ring : NULL;
}

static void config_read(struct virtio_device *d, u32 offset, void *dst, u32 len)
{
    struct console_config c = {.ports = ports_of(d)};
    memcpy(dst, (const u8 *)&c + offset, len);
}

static void config_write(struct virtio_device *d, u32 offset, const void *src, u32 len)
{
    u32 value = 0;
    memcpy(&value, src, MIN(len, (u32)sizeof(value)));
    if (offset == offsetof(struct console_config, emergency))
        platform_console_put(d->pci.vm, (u8)value);
}

static void reset(struct virtio_device *d)
{
    memset(d->model_state, 0, VIRTIO_MODEL_STATE);
}

static u32 queues(const struct virtio_device *d)
{
    return ports_of(d) > 1 ? QUEUE_PAIR * (ports_of(d) + 1) : QUEUE_PAIR;
}

static u64 more_features(const struct virtio_device *d)
{
    return ports_of(d) > 1 ? F_MULTIPORT : 0;
}

const struct virtio_model virtio_dev_console_model = {
    .name = "virtio-console",
    .type = 3,
    .class = 0x078000, /* communication controller */
    .queue_size = 64,
    .config_len = sizeof(struct console_config),
    .features = F_EMERG_WRITE,
    .more_features = more_features,
    .queues = queues,
    .config_read = config_read,
    .config_write = config_write,
    .reset = reset,
    .kick = kick,
};

bool virtio_dev_console_open(struct virtio_device *d, struct vm_error *e)
{
    u32 more = ports_of(d) - 1;
    struct said *said = more ? calloc(more, sizeof(*said)) : NULL;
    if (more && !said)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM", "no memory for %s", d->label);
    for (u32 i = 0; i < more; i++)
        text_ring_init(&said[i].ring, RING_BYTES);
    d->backend = said;
    return true;
}

void virtio_dev_console_close(struct virtio_device *d)
{
    free(d->backend);
    d->backend = NULL;
}
