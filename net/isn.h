/* Initial sequence numbers of TCP, as RFC 6528 wants them: a clock of 4 us and, on top, a number
 * that only somebody with the secret can tell for a pair of addresses and ports. */
#pragma once

#include <lwip/ip_addr.h>

#include "kernel/abi/types.h"

#define ISN_TICK 4000u /* ns: RFC 9293 3.4.1 */

/* A new secret; at start. */
void isn_init(void);
/* lwIP asks it for each connection (net/lwip/lwipopts.h). */
u32 isn_next(const struct ip_addr *local, u16 local_port, const struct ip_addr *remote,
             u16 remote_port);
/* SipHash-2-4. */
u64 isn_hash(const u64 key[2], const void *data, u32 len);
