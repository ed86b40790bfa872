/* Static routes, beside the networks and the default gateway that interfaces have.
 *
 * One thread.  lwIP asks route_find() and route_gateway() (net/lwip/lwipopts.h) for each packet
 * that leaves.  A packet from a bound source address leaves by the interface that has it. */
#pragma once

#include <lwip/netif.h>

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define ROUTE_MAX 32u

struct route {
    ip4_addr_t network, mask, gateway;
    struct netif *netif;
};

/* HV_EEXIST, HV_E2BIG, HV_ENOENT (no interface reaches the gateway). */
enum hv_status route_add(ip4_addr_t network, ip4_addr_t mask, ip4_addr_t gateway);
enum hv_status route_remove(ip4_addr_t network, ip4_addr_t mask);
const struct route *route_at(u32 i); /* NULL past the last */
void route_forget(struct netif *n);

struct netif *route_find(const ip4_addr_t *from, const ip4_addr_t *to);
const ip4_addr_t *route_gateway(struct netif *n, const ip4_addr_t *to);
