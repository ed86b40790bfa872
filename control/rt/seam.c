/* The system calls that musl makes, answered by ours: a table of Linux numbers.
 * Called by the C library on whatever stack it was called on; one thread, no locks. */
#include "control/rt/seam.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"

/* Where musl's malloc keeps its own tables (a page for about a hundred slabs); past it, mmap. */
static u8 brk_area[64 * KIB] __attribute__((aligned(4096)));
static u8 *brk_end = brk_area;

static long seam_brk(long addr, long b, long c, long d)
{
    u8 *want = (u8 *)addr;

    (void)b, (void)c, (void)d;
    if (want >= brk_area && want <= brk_area + sizeof(brk_area))
        brk_end = want;
    return (long)brk_end;
}

static long seam_mmap(long addr, long len, long prot, long flags)
{
    const long map_anonymous = 0x20, map_fixed = 0x10;

    (void)addr, (void)prot;
    if (len <= 0 || !(flags & map_anonymous) || (flags & map_fixed))
        return -EINVAL;
    i64 ret = sys_mem_map(ROUND_UP((u64)len, PAGE_SIZE));
    return ret < 0 ? -ENOMEM : ret;
}

static long seam_munmap(long addr, long len, long c, long d)
{
    (void)c, (void)d;
    return sys_mem_unmap((void *)addr, ROUND_UP((u64)len, PAGE_SIZE)) < 0 ? -EINVAL : 0;
}

/* Standard output and error of library code become log records. */
static long seam_writev(long fd, long vectors, long count, long d)
{
    const struct iovec *v = (const struct iovec *)vectors;
    long total = 0;

    (void)d;
    if (fd != 1 && fd != 2)
        return -EBADF;
    for (long i = 0; i < count; i++) {
        if (v[i].iov_len)
            sys_log_write(fd == 2 ? LOG_ERROR : LOG_INFO, v[i].iov_base, v[i].iov_len);
        total += (long)v[i].iov_len;
    }
    return total;
}

static long seam_clock_gettime(long clock, long out, long c, long d)
{
    struct timespec *t = (struct timespec *)out;
    u64 ns = clock_ns();

    (void)c, (void)d;
    t->tv_sec = clock == CLOCK_REALTIME ? clock_unix() : (i64)(ns / CLOCK_SECOND);
    t->tv_nsec = (long)(ns % CLOCK_SECOND);
    return 0;
}

static long seam_set_tls(long base, long b, long c, long d)
{
    (void)b, (void)c, (void)d;
    return sys_set_tls((u64)base) < 0 ? -EINVAL : 0;
}

static long seam_exit(long code, long b, long c, long d)
{
    (void)b, (void)c, (void)d;
    sys_exit((u64)code);
}

static long seam_one(long a, long b, long c, long d)
{
    (void)a, (void)b, (void)c, (void)d;
    return 1;
}

static long seam_nothing(long a, long b, long c, long d)
{
    (void)a, (void)b, (void)c, (void)d;
    return 0;
}

static long seam_no_terminal(long a, long b, long c, long d)
{
    (void)a, (void)b, (void)c, (void)d;
    return -ENOTTY;
}

static long seam_no_file(long a, long b, long c, long d)
{
    (void)a, (void)b, (void)c, (void)d;
    return -ENOENT;
}

/* ---- sockets: whoever has connections answers for their numbers -------------------------------
 */
static const struct seam_sockets *sockets;

void seam_set_sockets(const struct seam_sockets *s)
{
    sockets = s;
}

static long seam_recv(long fd, long buf, long len, long flags)
{
    (void)flags;
    return sockets && len >= 0 ? sockets->receive((int)fd, (void *)buf, (u64)len) : -EBADF;
}

static long seam_send(long fd, long buf, long len, long flags)
{
    (void)flags;
    return sockets && len >= 0 ? sockets->send((int)fd, (const void *)buf, (u64)len) : -EBADF;
}

static long seam_poll(long fds, long count, long timeout, long d)
{
    (void)d;
    return sockets && count >= 0 ? sockets->poll((struct pollfd *)fds, (u32)count, (int)timeout)
                                 : -EBADF;
}

static long seam_close(long fd, long b, long c, long d)
{
    (void)b, (void)c, (void)d;
    return sockets ? sockets->close((int)fd) : -EBADF;
}

static long (*const calls[])(long a, long b, long c, long d) = {
    [SYS_mmap] = seam_mmap,
    [SYS_munmap] = seam_munmap,
    [SYS_brk] = seam_brk,
    [SYS_writev] = seam_writev,
    [SYS_clock_gettime] = seam_clock_gettime,
    [SYS_set_thread_area] = seam_set_tls,
    [SYS_set_tid_address] = seam_one, /* the only thread's id */
    [SYS_gettid] = seam_one,
    [SYS_getpid] = seam_one,
    [SYS_exit] = seam_exit,
    [SYS_exit_group] = seam_exit,
    [SYS_madvise] = seam_nothing,        /* advice */
    [SYS_mprotect] = seam_nothing,       /* all private memory is read-write already */
    [SYS_rt_sigprocmask] = seam_nothing, /* there are no signals */
    [SYS_ioctl] = seam_no_terminal,
    [SYS_open] = seam_no_file, /* there are no files */
    [SYS_read] = seam_recv,
    [SYS_write] = seam_send,
    [SYS_recvfrom] = seam_recv,
    [SYS_sendto] = seam_send,
    [SYS_poll] = seam_poll,
    [SYS_close] = seam_close,
    [SYS_fcntl] = seam_nothing, /* sockets never block but in poll */
};

long __pl_syscall(long n, long a, long b, long c, long d, long e, long f)
{
    (void)e, (void)f;
    if (n < 0 || n >= (long)ARRAY_LEN(calls) || !calls[n])
        return -ENOSYS;
    return calls[n](a, b, c, d);
}
