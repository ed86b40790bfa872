/* The one function through which the C library reaches the system. */
#pragma once

#include "kernel/abi/types.h"

/* Called by musl (control/rt/musl/syscall_arch.h) with a Linux x86-64 system-call number;
 * returns what Linux would, a negated errno on failure. */
long __pl_syscall(long n, long a, long b, long c, long d, long e, long f);

struct pollfd;

/* Sockets for library code: what musl's recv(), send(), poll() and close() do.  Each answers what
 * Linux would, or a negated errno; poll() may wait, in a fiber. */
struct seam_sockets {
    long (*receive)(int fd, void *buf, u64 len);
    long (*send)(int fd, const void *buf, u64 len);
    long (*poll)(struct pollfd *fds, u32 count, int timeout_ms);
    long (*close)(int fd);
};
void seam_set_sockets(const struct seam_sockets *s);
