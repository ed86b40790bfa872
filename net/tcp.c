/* TCP links; called by sessions' fibers and by lwIP on the loop. */
#include "net/tcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/ip.h>
#include <lwip/tcp.h>

#include "control/rt/log.h"
#include "net/kif.h"
#include "net/net.h"

struct tcp_link {
    struct tcp_pcb *pcb; /* NULL: broken, or closed by both */
    struct pbuf *received;
    u32 taken; /* bytes of the first pbuf that were read */
    bool ended, broken;
    struct event event;
    char peer[TCP_PEER_TEXT];
};

struct tcp_door {
    struct tcp_pcb *pcb;
    bool (*on_link)(void *owner, struct tcp_link *l, const char *kif);
    void *owner;
};

static err_t on_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct tcp_link *l = arg;

    (void)pcb, (void)err;
    if (!p)
        l->ended = true;
    else if (l->received)
        pbuf_cat(l->received, p);
    else
        l->received = p;
    event_signal(&l->event);
    return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    (void)pcb, (void)len;
    event_signal(&((struct tcp_link *)arg)->event);
    return ERR_OK;
}

static void on_error(void *arg, err_t err) /* the pcb is gone already */
{
    struct tcp_link *l = arg;

    (void)err;
    l->pcb = NULL;
    l->broken = l->ended = true;
    event_signal(&l->event);
}

static struct tcp_link *make_link(struct tcp_pcb *pcb)
{
    struct tcp_link *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->pcb = pcb;
    snprintf(l->peer, sizeof(l->peer), "%s:%u", ipaddr_ntoa(&pcb->remote_ip), pcb->remote_port);
    tcp_arg(pcb, l);
    tcp_recv(pcb, on_received);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb);
    ip_set_option(pcb, SOF_KEEPALIVE);
    return l;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct tcp_door *d = arg;
    struct netif *n = ip_current_input_netif();
    const char *kif = "";

    if (err != ERR_OK || !pcb)
        return ERR_VAL;
    for (const struct kif *k = kif_first(); k; k = k->next) {
        if (&k->netif == n)
            kif = k->name;
    }
    struct tcp_link *l = make_link(pcb);
    if (!l)
        return ERR_MEM; /* lwIP aborts it */
    if (d->on_link(d->owner, l, kif))
        return ERR_OK;
    tcp_arg(pcb, NULL);
    tcp_err(pcb, NULL);
    free(l);
    tcp_abort(pcb);
    return ERR_ABRT;
}

enum hv_status tcp_door_open(u16 port,
                             bool (*on_link)(void *owner, struct tcp_link *l, const char *kif),
                             void *owner, struct tcp_door **out)
{
    struct tcp_door *d = calloc(1, sizeof(*d));
    struct tcp_pcb *pcb = d ? tcp_new_ip_type(IPADDR_TYPE_ANY) : NULL, *listening;

    if (!pcb) {
        free(d);
        return HV_ENOMEM;
    }
    if (tcp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK) {
        tcp_close(pcb);
        free(d);
        return HV_EBUSY;
    }
    listening = tcp_listen(pcb);
    if (!listening) {
        tcp_close(pcb);
        free(d);
        return HV_ENOMEM;
    }
    *d = (struct tcp_door){listening, on_link, owner};
    tcp_arg(listening, d);
    tcp_accept(listening, on_accept);
    *out = d;
    return HV_OK;
}

void tcp_door_close(struct tcp_door *d)
{
    tcp_close(d->pcb);
    free(d);
}

struct event *tcp_link_event(struct tcp_link *l)
{
    return &l->event;
}

bool tcp_link_readable(const struct tcp_link *l)
{
    return l->received || l->ended;
}

bool tcp_link_broken(const struct tcp_link *l)
{
    return l->broken;
}

bool tcp_link_ended(const struct tcp_link *l)
{
    return l->ended && !l->received;
}

u32 tcp_link_room(const struct tcp_link *l)
{
    u32 unsent = l->pcb ? TCP_SND_BUF - l->pcb->snd_buf : TCP_LINK_UNSENT;

    if (!l->pcb || tcp_sndqueuelen(l->pcb) > TCP_SND_QUEUELEN / 2 || unsent >= TCP_LINK_UNSENT)
        return 0;
    return TCP_LINK_UNSENT - unsent;
}

u32 tcp_link_read(struct tcp_link *l, void *buf, u32 len)
{
    u8 *to = buf;
    u32 done = 0;

    while (done < len && l->received) {
        struct pbuf *p = l->received;
        u32 n = MIN(len - done, p->len - l->taken);

        memcpy(to + done, (u8 *)p->payload + l->taken, n);
        done += n;
        l->taken += n;
        if (l->taken == p->len) {
            l->received = p->next;
            l->taken = 0;
            if (p->next)
                pbuf_ref(p->next);
            pbuf_free(p);
        }
    }
    for (u32 told = 0; told < done && l->pcb;) { /* lwIP takes 16 bits at a time */
        u32 n = MIN(done - told, 0xffffu);

        tcp_recved(l->pcb, (u16)n);
        told += n;
    }
    if (done)
        net_wake();
    return done;
}

u32 tcp_link_write(struct tcp_link *l, const void *buf, u32 len)
{
    u32 n = MIN(MIN(len, tcp_link_room(l)), 0x8000u);

    if (!n || tcp_write(l->pcb, buf, (u16)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
        return 0;
    tcp_output(l->pcb);
    net_wake();
    return n;
}

void tcp_link_peer(const struct tcp_link *l, char buf[TCP_PEER_TEXT])
{
    memcpy(buf, l->peer, TCP_PEER_TEXT);
}

void tcp_link_close(struct tcp_link *l)
{
    struct tcp_pcb *pcb = l->pcb;

    if (pcb) {
        tcp_arg(pcb, NULL);
        tcp_recv(pcb, NULL);
        tcp_sent(pcb, NULL);
        tcp_err(pcb, NULL);
        if (tcp_close(pcb) != ERR_OK)
            tcp_abort(pcb);
        net_wake();
    }
    if (l->received)
        pbuf_free(l->received);
    free(l);
}
