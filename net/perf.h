/* Measures a TCP connection: sends zeros to a host that drops them, or drops what a host sends.
 *
 * One thread.  perf_start() returns at once; `done` is called when the connection has ended. */
#pragma once

#include <lwip/ip_addr.h>

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

struct perf {
    ip_addr_t to;
    u16 port;
    bool send;
    u64 size; /* to send, in bytes */
    void (*done)(void *owner);
    void *owner;

    /* What came of it: */
    u64 bytes;        /* acknowledged, or received */
    u64 began, ended; /* ns; from the connection to the last byte */
    bool over;
    enum hv_status status; /* once it is over; HV_EIO: refused, reset or never answered */
    u64 queued;            /* perf.c's */
    void *pcb;             /* struct tcp_pcb; NULL: closed */
};

/* The fields up to `owner` are filled in.  HV_ENOMEM; HV_EIO: no way there. */
MUST_CHECK enum hv_status perf_start(struct perf *p);
void perf_stop(struct perf *p); /* done() is not called any more */
