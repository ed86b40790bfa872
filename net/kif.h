/* Kernel interfaces: the host's own ports on its virtual switches, each with an IP stack on it.
 *
 * One thread.  Frames that the switch delivers wait in a queue, those of cards where the card put
 * them, others copied, and go into lwIP when kif_run() is called: so one interface may talk to
 * another through the switch. */
#pragma once

#include <lwip/netif.h>

#include "net/kif_send.h"
#include "net/switch.h"

#define KIF_NAME 8u
#define KIF_MAX 16u
/* Frames that wait; a power of two.  kif_run() takes all of them, so the queue has to hold what
 * cards and guests bring between two of its calls: up to 128 frames a pair of a card's queues. What
 * it has no room for is lost, and a lost segment costs TCP far more than a frame that waits in its
 * card. */
#define KIF_QUEUE 1024u

enum kif_mode { KIF_NONE, KIF_STATIC, KIF_DHCP };

struct kif {
    char name[KIF_NAME];
    struct switch_port *port;
    struct netif netif;
    enum kif_mode mode;
    struct pbuf *queue[KIF_QUEUE];
    bool summed[KIF_QUEUE]; /* its TCP or UDP checksum is known to be good */
    struct kif_sender sender;
    u32 head, tail;                /* free-running */
    u64 dropped;                   /* no room in the queue, no memory */
    u64 joined;                    /* segments that lwIP got together with the one before */
    u32 told;                      /* the address that was last logged */
    ip6_addr_t address6, gateway6; /* set by hand; :: is none */
    struct kif *next;
};

/* The first of all; ->next. */
struct kif *kif_first(void);
struct kif *kif_named(const char *name);
/* A new one, a port of `sw`, with link and an IPv6 address of its own; mac 0: a new one. HV_EEXIST,
 * HV_EINVAL (name), HV_E2BIG, HV_ENOMEM. */
enum hv_status kif_add(const char *name, struct net_switch *sw, u64 mac, struct kif **out);
void kif_remove(struct kif *k);
void kif_set_static(struct kif *k, ip4_addr_t address, ip4_addr_t mask, ip4_addr_t gateway);
void kif_set_dhcp(struct kif *k);
/* The one IPv6 address beside those that it gives itself and routers give it: its network has 64
 * bits.  address ::, none.  HV_E2BIG: routers have given it as many as it can have. */
enum hv_status kif_set_static6(struct kif *k, const ip6_addr_t *address, const ip6_addr_t *gateway);
/* The interface that a link-local address is good at, by its zone; NULL: none. */
struct kif *kif_of_zone(const ip6_addr_t *address);
/* The switch has another MTU. */
void kif_mtu_changed(const struct net_switch *sw);
/* An uplink has changed: those outside are told the addresses of all, by gratuitous ARP. */
void kif_announce(void);
/* Feeds what has come to lwIP; true: there is more since. */
bool kif_run(void);
/* Called when a frame was queued: then kif_run() is to be called soon. */
extern void (*kif_wake)(void);
/* Called when an interface has got an IPv4 address. */
extern void (*kif_has_address)(const struct kif *k);
/* "10.0.2.15/24", "0.0.0.0/0"... */
void kif_address_text(const struct kif *k, char *buf, u32 len);
