/* TCP connections over lwIP's raw API, for code that reads straight down in a fiber.
 *
 * One thread.  A link's event is signalled whenever it has become readable or writable or has
 * ended; memory is bounded by lwIP's window for what comes in, and by TCP_LINK_UNSENT for what goes
 * out. */
#pragma once

#include "control/rt/fiber.h"
#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define TCP_LINK_UNSENT (64 * KIB)
#define TCP_PEER_TEXT 56u

struct tcp_link;
struct tcp_door;

/* Listens at a port of every address.  on_link() is called on the loop for each connection, whose
 * `kif` is the name of the interface that it came to; false: it is refused.  HV_EBUSY: the port is
 * taken; HV_ENOMEM. */
MUST_CHECK enum hv_status
tcp_door_open(u16 port, bool (*on_link)(void *owner, struct tcp_link *l, const char *kif),
              void *owner, struct tcp_door **out);
void tcp_door_close(struct tcp_door *d);

struct event *tcp_link_event(struct tcp_link *l);
bool tcp_link_readable(const struct tcp_link *l); /* bytes are there, or the end is */
bool tcp_link_broken(const struct tcp_link *l);   /* reset, or out of memory */
u32 tcp_link_room(const struct tcp_link *l);      /* bytes that tcp_link_write() would take */
/* Bytes read; 0: none are there, or (tcp_link_ended()) none will come. */
u32 tcp_link_read(struct tcp_link *l, void *buf, u32 len);
bool tcp_link_ended(const struct tcp_link *l); /* all was read and the other side sends no more */
u32 tcp_link_write(struct tcp_link *l, const void *buf, u32 len);
void tcp_link_peer(const struct tcp_link *l, char buf[TCP_PEER_TEXT]); /* "10.0.2.2:4711" */
/* What was written is still sent; the link is gone for the caller. */
void tcp_link_close(struct tcp_link *l);
