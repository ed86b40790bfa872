/* Kernel interfaces; called by the shell, by the switch and by net/net.c. */
#include "net/kif.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/dhcp.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/mld6.h>
#include <netif/ethernet.h>

#include "control/rt/log.h"
#include "net/frame_buffer.h"
#include "net/kif_join.h"
#include "net/offload.h"
#include "net/route.h"
#include "net/servers.h"
#include "net/stack.h"
#include "net/switches.h"

static struct kif *kifs;
static void check_sums(struct kif *k, bool on);
void (*kif_wake)(void);
void (*kif_has_address)(const struct kif *k);

struct kif *kif_first(void)
{
    return kifs;
}

struct kif *kif_named(const char *name)
{
    struct kif *k = kifs;

    while (k && strcmp(k->name, name))
        k = k->next;
    return k;
}

/* As long as on a wire at least: lwIP 2.2.1 reads some IP headers before it looks at the length. */
#define LEAST 60u

struct lent { /* a frame in a card's memory, as lwIP has it */
    struct pbuf_custom custom;
    struct frame_buffer *buffer;
    struct lent *next;
};
static struct lent *free_lent;

static void give_back(struct pbuf *p)
{
    struct lent *l = (struct lent *)p;

    frame_buffer_drop(l->buffer);
    l->next = free_lent;
    free_lent = l;
}

/* Without a copy.  lwIP writes to headers that it is given, so this is for frames to one station;
 * other ports that saw one have their copy by then. */
static struct pbuf *borrow(const struct net_frame *f)
{
    struct lent *l = free_lent ? free_lent : calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    if (l == free_lent)
        free_lent = l->next;
    l->custom.custom_free_function = give_back;
    l->buffer = f->buffer;
    frame_buffer_hold(l->buffer);
    return pbuf_alloced_custom(PBUF_RAW, (u16)f->len, PBUF_REF, &l->custom,
                               (void *)(uintptr_t)f->data, (u16)f->len);
}

static struct pbuf *copy(const struct switch_item *item, u32 len)
{
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16)MAX(len, LEAST), PBUF_RAM);

    if (!p)
        return NULL;
    offload_copy(item->frame, item->tag, p->payload, len);
    if (len < LEAST)
        memset((u8 *)p->payload + len, 0, LEAST - len);
    return p;
}

/* Is the sum of this frame's segment known to be good?  That of a fragment says nothing. */
static bool is_summed(const struct net_frame *f)
{
    const u8 *ip = f->data + f->network;

    if (!(f->flags & (FRAME_CSUM_VALID | FRAME_CSUM_NEEDED)) || f->network + 20u > f->len)
        return false;
    return f->type == ETH_IPV4 ? !(frame_be16(ip + 6) & 0x3fff)
                               : f->type == ETH_IPV6 && (ip[6] == 6 || ip[6] == 17);
}

static bool can_borrow(const struct switch_item *item, u32 len)
{
    const struct net_frame *f = item->frame;

    return f->buffer && !f->rest_count && len == f->len && len >= LEAST &&
           !(f->flags & FRAME_CSUM_NEEDED) && !frame_mac_is_group(frame_dst(f)) &&
           f->tagged == (item->tag == FRAME_UNTAGGED ? 0 : FRAME_TAG);
}

static void take_frame(struct kif *k, const struct switch_item *item)
{
    u32 len = frame_out_len(item->frame, item->tag);
    struct pbuf *p = NULL;

    if (k->head - k->tail < KIF_QUEUE && len <= 0xffff)
        p = can_borrow(item, len) ? borrow(item->frame) : copy(item, len);
    if (!p) {
        k->dropped++;
        return;
    }
    k->summed[k->head % KIF_QUEUE] = is_summed(item->frame);
    k->queue[k->head++ % KIF_QUEUE] = p;
}

static void deliver(void *owner, const struct switch_item *items, u32 count)
{
    for (u32 i = 0; i < count; i++)
        take_frame(owner, &items[i]);
    if (kif_wake)
        kif_wake();
}

static const struct switch_port_ops ops = {.deliver = deliver};

static err_t send_frame(struct netif *n, struct pbuf *p)
{
    struct kif *k = n->state;

    if (!kif_send(&k->sender, k->port, p))
        return ERR_MEM; /* TCP sends it later */
    if (kif_wake)
        kif_wake();
    return ERR_OK;
}

/* The first interface that has a gateway is the way to everywhere. */
static void use_as_default(struct kif *k)
{
    if (!ip4_addr_isany(netif_ip4_gw(&k->netif)) &&
        (!netif_default || ip4_addr_isany(netif_ip4_gw(netif_default))))
        netif_set_default(&k->netif);
}

static void on_status(struct netif *n)
{
    struct kif *k = n->state;
    u32 address = ip4_addr_get_u32(netif_ip4_addr(n));
    char text[32];

    route_changed();
    if (address == k->told)
        return;
    k->told = address;
    use_as_default(k);
    kif_address_text(k, text, sizeof(text));
    if (address)
        log_notice("%s has the address %s%s", k->name, text,
                   k->mode == KIF_DHCP ? ", by DHCP" : "");
    else
        log_notice("%s has no address any more", k->name);
    if (!address)
        return;
    servers_ask_again();
    if (kif_has_address)
        kif_has_address(k);
}

static err_t init_netif(struct netif *n)
{
    const struct kif *k = n->state;

    n->name[0] = 'k';
    n->name[1] = 'i';
    n->mtu = (u16)k->port->sw->mtu;
    n->hwaddr_len = 6;
    for (u32 i = 0; i < 6; i++)
        n->hwaddr[i] = (u8)(k->port->mac >> (40 - 8 * i));
    n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP |
               NETIF_FLAG_MLD6;
    n->output = etharp_output;
    n->output_ip6 = ethip6_output;
    n->linkoutput = send_frame;
    n->hostname = stack_host_name();
    return ERR_OK;
}

static void start_netif(struct kif *k)
{
    netif_add(&k->netif, NULL, NULL, NULL, k, init_netif, ethernet_input);
    check_sums(k, true);
    netif_set_status_callback(&k->netif, on_status);
    netif_create_ip6_linklocal_address(&k->netif, 1);
    netif_set_ip6_autoconfig_enabled(&k->netif, 1);
    netif_set_up(&k->netif);
    netif_set_link_up(&k->netif);
    if (!netif_default)
        netif_set_default(&k->netif);
}

enum hv_status kif_add(const char *name, struct net_switch *sw, u64 mac, struct kif **out)
{
    struct switch_port_config c = {.type = PORT_KIF, .ops = &ops, .mac = mac};
    struct kif **at = &kifs, *k;
    u32 count = 0;
    int port;

    if (!name[0] || strlen(name) >= KIF_NAME)
        return HV_EINVAL;
    if (kif_named(name) || switches_port(name) || (mac && switches_mac_used(mac)))
        return HV_EEXIST;
    if (!mac)
        c.mac = switches_new_mac();
    for (; *at; at = &(*at)->next)
        count++;
    k = count < KIF_MAX ? calloc(1, sizeof(*k)) : NULL;
    if (!k)
        return count < KIF_MAX ? HV_ENOMEM : HV_E2BIG;
    strcpy(k->name, name);
    strcpy(c.name, name);
    c.owner = k;
    port = switch_port_add(sw, &c);
    if (port < 0) {
        free(k);
        return (enum hv_status)port;
    }
    k->port = sw->ports[port];
    *at = k;
    start_netif(k);
    *out = k;
    return HV_OK;
}

static void stop_dhcp(struct kif *k)
{
    if (k->mode == KIF_DHCP)
        dhcp_release_and_stop(&k->netif);
    dhcp_cleanup(&k->netif);
    servers_forget(k);
}

void kif_remove(struct kif *k)
{
    struct kif **at = &kifs;

    stop_dhcp(k);
    route_forget(&k->netif);
    netif_set_status_callback(&k->netif, NULL);
    netif_remove(&k->netif);
    route_changed();
    kif_send_flush(&k->sender, k->port);
    switch_port_remove(k->port->sw, k->port->index);
    while (k->tail != k->head)
        pbuf_free(k->queue[k->tail++ % KIF_QUEUE]);
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    free(k);
    if (!netif_default && kifs)
        netif_set_default(&kifs->netif);
}

void kif_set_static(struct kif *k, ip4_addr_t address, ip4_addr_t mask, ip4_addr_t gateway)
{
    stop_dhcp(k);
    k->mode = KIF_STATIC;
    netif_set_addr(&k->netif, &address, &mask, &gateway);
    use_as_default(k);
}

void kif_set_dhcp(struct kif *k)
{
    stop_dhcp(k);
    k->mode = KIF_DHCP;
    k->netif.hostname = stack_host_name();
    netif_set_addr(&k->netif, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4);
    if (dhcp_start(&k->netif) != ERR_OK)
        log_error("%s: no memory for DHCP", k->name);
}

static void drop_static6(struct kif *k)
{
    i8 at =
        ip6_addr_isany_val(k->address6) ? -1 : netif_get_ip6_addr_match(&k->netif, &k->address6);

    if (at >= 0) {
        netif_ip6_addr_set_state(&k->netif, at, IP6_ADDR_INVALID);
        netif_ip6_addr_set(&k->netif, at, IP6_ADDR_ANY6);
    }
    ip6_addr_set_zero(&k->address6);
    ip6_addr_set_zero(&k->gateway6);
}

enum hv_status kif_set_static6(struct kif *k, const ip6_addr_t *address, const ip6_addr_t *gateway)
{
    ip6_addr_t to = *address, by = *gateway;
    i8 at;

    drop_static6(k);
    route_changed();
    if (ip6_addr_isany(address))
        return HV_OK;
    ip6_addr_assign_zone(&to, IP6_UNICAST, &k->netif);
    if (netif_add_ip6_address(&k->netif, &to, &at) != ERR_OK)
        return HV_E2BIG;
    netif_ip6_addr_set_valid_life(&k->netif, at, IP6_ADDR_LIFE_STATIC);
    netif_ip6_addr_set_pref_life(&k->netif, at, IP6_ADDR_LIFE_STATIC);
    if (!ip6_addr_isany(gateway))
        ip6_addr_assign_zone(&by, IP6_UNICAST, &k->netif);
    k->address6 = to;
    k->gateway6 = by;
    return HV_OK;
}

struct kif *kif_of_zone(const ip6_addr_t *address)
{
    struct kif *k = kifs;

    while (k && !(ip6_addr_has_zone(address) && ip6_addr_test_zone(address, &k->netif)))
        k = k->next;
    return k;
}

void kif_mtu_changed(const struct net_switch *sw)
{
    for (struct kif *k = kifs; k; k = k->next) {
        if (k->port->sw == sw)
            k->netif.mtu = (u16)sw->mtu;
    }
}

void kif_announce(void)
{
    for (struct kif *k = kifs; k; k = k->next) {
        if (!ip4_addr_isany(netif_ip4_addr(&k->netif)))
            etharp_gratuitous(&k->netif);
    }
}

/* Whether lwIP looks at the sums of TCP and UDP in what it is given next.  It never puts them in:
 * kif_send() does, since no datagram of ours is as long as to be cut into fragments. */
static void check_sums(struct kif *k, bool on)
{
    u32 all = NETIF_CHECKSUM_ENABLE_ALL & ~(NETIF_CHECKSUM_GEN_TCP | NETIF_CHECKSUM_GEN_UDP);

    NETIF_SET_CHECKSUM_CTRL(
        &k->netif,
        (u16)(on ? all : all & ~(u32)(NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP)));
}

static void feed(struct kif *k, struct pbuf *p, bool summed)
{
    check_sums(k, !summed);
    if (p && k->netif.input(p, &k->netif) != ERR_OK)
        pbuf_free(p);
}

static void run_one(struct kif *k)
{
    struct kif_join j = {.count = 0};

    for (u32 end = k->head; k->tail != end;) {
        struct pbuf *p = k->queue[k->tail % KIF_QUEUE];
        bool summed = k->summed[k->tail++ % KIF_QUEUE];

        if (kif_join_add(&j, p, summed)) {
            k->joined += j.count > 1;
            continue;
        }
        feed(k, kif_join_end(&j), true);
        if (!kif_join_add(&j, p, summed))
            feed(k, p, summed);
    }
    feed(k, kif_join_end(&j), true);
}

bool kif_run(void)
{
    bool more = false;

    for (struct kif *k = kifs; k; k = k->next)
        check_sums(k, false);
    if (kifs)
        netif_poll_all(); /* what an interface sent to itself, without sums */
    for (struct kif *k = kifs; k; k = k->next) {
        run_one(k);
        servers_settle(k);
    }
    for (struct kif *k = kifs; k; k = k->next)
        kif_send_flush(&k->sender, k->port);
    for (struct kif *k = kifs; k; k = k->next)
        more |= k->tail != k->head || k->netif.loop_first;
    return more;
}

void kif_address_text(const struct kif *k, char *buf, u32 len)
{
    char address[IP4ADDR_STRLEN_MAX];
    u32 mask = lwip_ntohl(ip4_addr_get_u32(netif_ip4_netmask(&k->netif)));

    ip4addr_ntoa_r(netif_ip4_addr(&k->netif), address, sizeof(address));
    snprintf(buf, len, "%s/%d", address, __builtin_popcount(mask));
}
