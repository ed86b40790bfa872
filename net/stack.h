/* lwIP in the control partition: its clock, its random numbers, its timers.
 *
 * One thread: the loop's.  lwIP's functions may be called from the loop and from fibers, since
 * neither interrupts the other. */
#pragma once

#include "kernel/abi/types.h"

#define STACK_HOST_NAME 64u

void stack_init(void);
/* Runs what is due; returns ns until it wants to be called again. */
u64 stack_poll(void);
/* The name that DHCP servers are told. */
const char *stack_host_name(void);
void stack_set_host_name(const char *name);
/* Seconds since 1970 now; 0 before SNTP's first answer, which sets the host's clock. */
u64 stack_time(void);
