/* Static routes, beside the networks and the default gateways that interfaces have.
 *
 * One thread.  lwIP asks the functions below (net/lwip/lwipopts.h) for each packet that leaves.  A
 * route is in force while an interface's network has its gateway, and waits while none has: so
 * addresses may come after routes, from DHCP, and go.  A packet from a bound source address leaves
 * by the interface that has it. */
#pragma once

#include <lwip/netif.h>

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define ROUTE_MAX 32u

struct route {
    ip_addr_t network, gateway; /* one family; of a gateway fe80::..., its zone says where */
    u32 bits;                   /* of `network`; the others are 0 */
};

/* HV_EEXIST, HV_E2BIG. */
enum hv_status route_add(const ip_addr_t *network, u32 bits, const ip_addr_t *gateway);
enum hv_status route_remove(const ip_addr_t *network, u32 bits);
const struct route *route_at(u32 i); /* NULL past the last */
/* The kernel interface (its state) whose network has this address; NULL: none. */
struct netif *route_reaches(const ip_addr_t *gateway);
/* Routes through link-local gateways of it go. */
void route_forget(struct netif *n);
/* Addresses or gateways have changed: what lwIP has noted of IPv6's ways is void. */
void route_changed(void);

struct netif *route_find(const ip4_addr_t *from, const ip4_addr_t *to);
const ip4_addr_t *route_gateway(struct netif *n, const ip4_addr_t *to);
struct netif *route6_find(const ip6_addr_t *from, const ip6_addr_t *to);
const ip6_addr_t *route6_gateway(struct netif *n, const ip6_addr_t *to);
