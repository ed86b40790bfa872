/* Numbers of sockets; called through control/rt/seam.c in a session's fiber. */
#include "control/sockets.h"

#include <errno.h>
#include <poll.h>

#include "control/rt/clock.h"
#include "control/rt/loop.h"
#include "control/rt/seam.h"

#define FIRST 64 /* numbers below are nobody's */

static struct {
    struct tcp_link *link;
    bool woken;
} table[SOCKETS_MAX];

static struct tcp_link *link_of(int fd)
{
    return fd >= FIRST && fd < FIRST + SOCKETS_MAX ? table[fd - FIRST].link : NULL;
}

static long receive(int fd, void *buf, u64 len)
{
    struct tcp_link *l = link_of(fd);
    u32 n = l ? tcp_link_read(l, buf, (u32)MIN(len, 0x40000000ull)) : 0;

    if (!l)
        return -EBADF;
    if (n)
        return n;
    if (tcp_link_broken(l))
        return -ECONNRESET;
    return tcp_link_ended(l) ? 0 : -EAGAIN;
}

static long send(int fd, const void *buf, u64 len)
{
    struct tcp_link *l = link_of(fd);
    u32 n = l ? tcp_link_write(l, buf, (u32)MIN(len, 0x40000000ull)) : 0;

    if (!l)
        return -EBADF;
    if (n || !len)
        return n;
    return tcp_link_broken(l) ? -EPIPE : -EAGAIN;
}

static long close_socket(int fd)
{
    struct tcp_link *l = link_of(fd);

    if (!l)
        return -EBADF;
    table[fd - FIRST].link = NULL;
    tcp_link_close(l);
    return 0;
}

static short state_of(const struct pollfd *p)
{
    const struct tcp_link *l = link_of(p->fd);
    short state = 0;

    if (!l)
        return POLLNVAL;
    if (tcp_link_readable(l))
        state |= POLLIN;
    if (tcp_link_room(l))
        state |= POLLOUT;
    if (tcp_link_broken(l))
        state |= POLLERR;
    return (short)(state & (p->events | POLLERR));
}

/* Waits for the first socket alone: nobody polls several. */
static long poll_sockets(struct pollfd *fds, u32 count, int timeout_ms)
{
    struct tcp_link *first = count ? link_of(fds[0].fd) : NULL;
    u64 end = timeout_ms < 0 ? LOOP_NEVER : clock_after((u64)timeout_ms * CLOCK_MS);

    for (;;) {
        long ready = 0;

        for (u32 i = 0; i < count; i++) {
            fds[i].revents = state_of(&fds[i]);
            ready += fds[i].revents != 0;
        }
        if (ready || !timeout_ms || !first || !fiber_self())
            return ready;
        if (table[fds[0].fd - FIRST].woken) {
            table[fds[0].fd - FIRST].woken = false;
            return 0;
        }
        if (fiber_wait(tcp_link_event(first), end) == HV_ETIMEDOUT)
            return 0;
    }
}

static const struct seam_sockets calls = {receive, send, poll_sockets, close_socket};

int sockets_add(struct tcp_link *l)
{
    seam_set_sockets(&calls);
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (table[i].link)
            continue;
        table[i].link = l;
        table[i].woken = false;
        return FIRST + i;
    }
    return -1;
}

void sockets_forget(int fd)
{
    if (link_of(fd))
        table[fd - FIRST].link = NULL;
}

void sockets_wake(int fd)
{
    if (!link_of(fd))
        return;
    table[fd - FIRST].woken = true;
    event_signal(tcp_link_event(link_of(fd)));
}
