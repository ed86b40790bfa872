/* ICMP echo: asks, and tells when the answer came.
 *
 * One thread.  ping_start() returns at once; the answers come while lwIP runs. */
#pragma once

#include <lwip/ip_addr.h>

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define PING_PAYLOAD_MAX 8972u

struct ping {
    ip_addr_t to;
    u16 id, sequence; /* of the latest request */
    u64 sent_at;      /* ns */
    u64 round_trip;   /* ns; 0: no answer yet */
    u8 ttl;           /* of the answer */
    void (*answered)(void *owner);
    void *owner;
    void *raw; /* struct raw_pcb */
};

/* HV_ENOMEM. */
enum hv_status ping_open(struct ping *p, const ip_addr_t *to, void (*answered)(void *owner),
                         void *owner);
/* One more request with `payload` bytes.  HV_EIO: no way there; HV_ENOMEM. */
enum hv_status ping_send(struct ping *p, u32 payload);
void ping_close(struct ping *p);
