/* Link aggregation control: the state machines of IEEE 802.1AX-2014 clause 6.4 for one port, and
 * the choice of the links that form the one aggregate of a team.
 *
 * Pure: time comes in, PDUs go out through a callback.  Mux machine: coupled control. */
#pragma once

#include "kernel/abi/types.h"

#define LACP_FRAME 124u /* bytes of a LACPDU's frame without FCS */
#define LACP_NEVER (~0ull)

enum { /* state bits, 6.4.2.3 */
       LACP_ACTIVITY = BIT(0),
       LACP_TIMEOUT = BIT(1), /* short */
       LACP_AGGREGATION = BIT(2),
       LACP_SYNC = BIT(3),
       LACP_COLLECTING = BIT(4),
       LACP_DISTRIBUTING = BIT(5),
       LACP_DEFAULTED = BIT(6),
       LACP_EXPIRED = BIT(7),
};

struct lacp_info { /* what one side says about itself */
    u16 system_priority;
    u64 system; /* address */
    u16 key, port_priority, port;
    u8 state;
};

enum lacp_rx { LACP_RX_DISABLED, LACP_RX_EXPIRED, LACP_RX_DEFAULTED, LACP_RX_CURRENT };
enum lacp_mux { LACP_MUX_DETACHED, LACP_MUX_WAITING, LACP_MUX_ATTACHED, LACP_MUX_DISTRIBUTING };

struct lacp_port {
    struct lacp_info actor, partner;
    enum lacp_rx rx;
    enum lacp_mux mux;
    bool enabled;                         /* link up and LACP wanted */
    bool selected;                        /* lacp_select() gave it a place in the aggregate */
    bool chosen;                          /* not unselected since: the mux follows this */
    bool ntt;                             /* something to tell */
    u64 current_at, periodic_at, wait_at; /* timers: when they expire */
    u64 sent_at[3];                       /* the last three PDUs: no more in a second */
    u64 rx_pdus, tx_pdus, rx_bad, markers;
    void (*send)(void *owner, const u8 *frame, u32 len);
    void *owner;
};

struct lacp_settings {
    u64 system; /* address of the switch */
    u16 system_priority, key;
    bool active, fast;
};

void lacp_init(struct lacp_port *p, const struct lacp_settings *s, u16 port_number,
               void (*send)(void *owner, const u8 *frame, u32 len), void *owner);
void lacp_enable(struct lacp_port *p, bool enabled, u64 now);
/* A frame of type 0x8809 as it came; malformed ones are counted. */
void lacp_receive(struct lacp_port *p, const u8 *frame, u32 len, u64 now);
/* Which of the ports form the aggregate: those with the best partner.  Then runs the timers and
 * machines of all of them.  True when a port began or ceased to carry frames. */
bool lacp_run(struct lacp_port *const ports[], u32 count, u64 now);
u64 lacp_next(const struct lacp_port *p); /* when it wants lacp_run again */
static inline bool lacp_carries(const struct lacp_port *p)
{
    return p->mux == LACP_MUX_DISTRIBUTING;
}
