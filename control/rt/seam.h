/* The one function through which the C library reaches the system. */
#ifndef BULKHEAD_CONTROL_RT_SEAM_H
#define BULKHEAD_CONTROL_RT_SEAM_H

/* Called by musl (control/rt/musl/syscall_arch.h) with a Linux x86-64 system-call number;
 * returns what Linux would, a negated errno on failure. */
long __pl_syscall(long n, long a, long b, long c, long d, long e, long f);

#endif
