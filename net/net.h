/* The network side of the host as one thing on the event loop: switches, interfaces, lwIP.
 *
 * net_init() at start; afterwards a loop timer does what is due, and everything that wants it to
 * look again (a frame in a queue, a timer that an API call set) calls net_wake(). */
#pragma once

#include "kernel/abi/types.h"

void net_init(void);
void net_wake(void);
