/* The log to a syslog server: one datagram a record, RFC 5424 over UDP (RFC 5426).
 *
 * `host syslog set` names the server; records that are still in the kernel's ring when the network
 * comes up are sent, too.  One fiber, which looks ten times a second and sends a bounded number. */
#pragma once

#include "kernel/abi/types.h"

#define SYSLOG_MOST 480u /* bytes of a message: every receiver takes 480 (RFC 5426 section 3.2) */

struct syslog_record {
    u32 facility; /* 0 to 23 */
    u32 level;    /* enum log_level */
    u64 unix_ns;  /* 0: unknown */
    u32 sequence;
    const char *host, *text;
};

/* Bytes written, without a NUL; control characters of the text become '?'. */
u32 syslog_format(char buf[SYSLOG_MOST], const struct syslog_record *r);
