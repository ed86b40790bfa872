/* How many frames a second the forwarding core of net/ moves, on one core.
 *
 *   switch            in memory: frames are there, nobody copies them; one line a case
 *   switch A B        between two interfaces of Linux by AF_PACKET, until it is killed: for
 *                     tests/bench.py, which puts a Linux bridge or Open vSwitch in its place
 *   switch --send A N frames of 64 bytes out at A as fast as they go, for N seconds */
#define _GNU_SOURCE /* recvmmsg, sendmmsg */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_packet.h>

#include "net/switch.h"

#define BURST 32u
#define SECOND 1000000000ull

struct vectors { /* of recvmmsg and sendmmsg */
    struct mmsghdr message[BURST];
    struct iovec part[BURST];
    u8 bytes[BURST][2048];
};

static u64 received;

static u64 clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * SECOND + (u64)t.tv_nsec;
}

static void make_frame(u8 *f, u64 to, u64 from, u32 flow)
{
    memset(f, 0, 1514);
    for (u32 i = 0; i < 6; i++) {
        f[i] = (u8)(to >> (40 - 8 * i));
        f[6 + i] = (u8)(from >> (40 - 8 * i));
    }
    f[12] = 8;
    f[14] = 0x45;
    frame_put16(f + 16, 46);
    frame_put32(f + 26, 0x0a000000 + flow);
    frame_put32(f + 30, 0x0a000100);
}

/* ---- in memory ---------------------------------------------------------------------------------
 */
static void count_frames(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner;
    (void)items;
    received += count;
}

static void copy_frames(void *owner, const struct switch_item *items, u32 count)
{
    for (u32 i = 0; i < count; i++)
        frame_copy(items[i].frame, items[i].tag, owner, 2048);
    received += count;
}

static const struct switch_port_ops counting = {.deliver = count_frames},
                                    copying = {.deliver = copy_frames};

static struct net_switch *make_switch(u32 guests, const struct switch_port_ops *ops, u32 vlans)
{
    struct switch_config c = {.name = "bench", .seed = 1};
    struct net_switch *sw = switch_create(&c);
    static u8 sink[2048];

    for (u32 i = 0; i < guests; i++) {
        struct switch_port_config p = {
            .type = PORT_VM, .mac = 0x064248000001ull + i, .ops = ops, .owner = sink};
        struct vlan_port v;

        snprintf(p.name, sizeof(p.name), "g%u", i);
        u32 port = (u32)switch_port_add(sw, &p);
        if (!vlans)
            continue;
        if (i & 1)
            vlan_trunk_all(&v, 0);
        else
            vlan_access(&v, 10);
        switch_port_set_vlan(sw, port, &v);
    }
    return sw;
}

/* Frames out a second, the best of five tenths of a second. */
static double rate(struct net_switch *sw, u64 to, u32 len)
{
    static u8 bytes[BURST][1600];
    struct net_frame f[BURST];
    double best = 0;

    for (u32 i = 0; i < BURST; i++)
        make_frame(bytes[i], to, 0x064248000001ull, i);
    for (u32 round = 0; round < 5; round++) {
        u64 start = clock_now(), now = start;

        received = 0;
        while (now < start + SECOND / 10) {
            for (u32 k = 0; k < 64; k++) {
                for (u32 i = 0; i < BURST; i++)
                    f[i] = (struct net_frame){.data = bytes[i], .len = len};
                switch_input(sw, 0, f, BURST, now);
            }
            now = clock_now();
        }
        best = MAX(best, (double)received * 1e9 / (double)(now - start));
    }
    switch_destroy(sw);
    return best;
}

static void in_memory(void)
{
    const u64 to = 0x064248000002ull;

    printf("net.switch.unicast64.mpps %.2f\n", rate(make_switch(2, &counting, 0), to, 60) / 1e6);
    printf("net.switch.tagged64.mpps %.2f\n", rate(make_switch(2, &counting, 1), to, 60) / 1e6);
    printf("net.switch.copy64.mpps %.2f\n", rate(make_switch(2, &copying, 0), to, 60) / 1e6);
    printf("net.switch.copy1500.mpps %.2f\n", rate(make_switch(2, &copying, 0), to, 1514) / 1e6);
    printf("net.switch.flood8.mpps %.2f\n",
           rate(make_switch(9, &counting, 0), FRAME_BROADCAST, 60) / 1e6);
}

/* ---- between interfaces ------------------------------------------------------------------------
 */
static int open_interface(const char *name)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(3));
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(3)};
    struct packet_mreq all = {.mr_type = PACKET_MR_PROMISC};
    int one = 1;

    at.sll_ifindex = all.mr_ifindex = (int)if_nametoindex(name);
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        perror(name);
        exit(1);
    }
    return fd;
}

static void prepare(struct vectors *v)
{
    for (u32 i = 0; i < BURST; i++) {
        v->part[i] = (struct iovec){v->bytes[i], sizeof(v->bytes[i])};
        v->message[i].msg_hdr = (struct msghdr){.msg_iov = &v->part[i], .msg_iovlen = 1};
    }
}

static void send_frames(void *owner, const struct switch_item *items, u32 count)
{
    static struct vectors v;

    prepare(&v);
    for (u32 i = 0; i < count; i++)
        v.part[i].iov_len = frame_copy(items[i].frame, items[i].tag, v.bytes[i], 2048);
    for (u32 done = 0; done < count;) {
        int n = sendmmsg(*(int *)owner, v.message + done, count - done, 0);
        if (n <= 0)
            return;
        done += (u32)n;
    }
}

static void forward(const char *names[2])
{
    static const struct switch_port_ops ops = {.deliver = send_frames};
    struct switch_config c = {.name = "bench", .seed = 1};
    struct net_switch *sw = switch_create(&c);
    static struct vectors v;
    struct pollfd fds[2];
    int fd[2];

    sw->policy.choice[POLICY_FORGED] = sw->policy.choice[POLICY_PROMISCUOUS] = POLICY_ACCEPT;
    for (u32 i = 0; i < 2; i++) {
        struct switch_port_config p = {
            .type = PORT_VM, .mac = 0x064248000011ull + i, .ops = &ops, .owner = &fd[i]};
        fd[i] = open_interface(names[i]);
        fds[i] = (struct pollfd){fd[i], POLLIN, 0};
        snprintf(p.name, sizeof(p.name), "%s", names[i]);
        switch_port_add(sw, &p);
    }
    while (poll(fds, 2, -1) > 0) {
        for (u32 i = 0; i < 2; i++) {
            struct net_frame f[BURST];
            prepare(&v);
            int n = recvmmsg(fd[i], v.message, BURST, MSG_DONTWAIT, NULL);
            for (int k = 0; k < n; k++)
                f[k] = (struct net_frame){.data = v.bytes[k], .len = v.message[k].msg_len};
            if (n > 0)
                switch_input(sw, i, f, (u32)n, clock_now());
        }
    }
}

static void send_for(const char *name, u32 seconds)
{
    static struct vectors v;
    u64 end = clock_now() + seconds * SECOND, sent = 0;
    int fd = open_interface(name), one = 1;

    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
    prepare(&v);
    for (u32 i = 0; i < BURST; i++) {
        make_frame(v.bytes[i], 0x020000000002ull, 0x020000000001ull, i);
        frame_put16(v.bytes[i] + 12, 0x88b5); /* no IP: netfilter would look at it */
        v.part[i].iov_len = 60;
    }
    while (clock_now() < end) {
        int n = sendmmsg(fd, v.message, BURST, 0);
        sent += n > 0 ? (u64)n : 0;
    }
    printf("sent %llu\n", (unsigned long long)sent);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--send"))
        send_for(argv[2], (u32)atoi(argv[3]));
    else if (argc == 3)
        forward((const char *[]){argv[1], argv[2]});
    else
        in_memory();
    return 0;
}
