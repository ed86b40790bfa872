/* The host behind a driver under test: what is in net/ above it, lwIP with something of everything
 * under way, and the time.  Linked into test_nic_fuzz_*. */
#include "tests/unit/nic_fuzz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <lwip/dns.h>
#include <lwip/nd6.h>
#include <lwip/stats.h>
#include <lwip/tcp.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "net/frame_buffer.h"
#include "net/kif.h"
#include "net/net.h"
#include "net/ping.h"
#include "net/stack.h"
#include "net/switches.h"
#include "net/uplink.h"
#include "tests/unit/net_lab.h"
#include "tests/unit/nic_fuzz_frames.h"

#define ECHO_ID 0xbeefu
#define PORT 80u

static struct net_switch *sw;
static struct kif *kif;
static struct ping ping;
static struct tcp_pcb *client;
static u64 dma_at_start, to_stack;
static u16 used_at_start[MEMP_MAX];

/* ---- the runtime ------------------------------------------------------------------------------
 */
static struct loop_timer *timers[64];
static struct {
    void (*fn)(void *arg);
    void *arg;
} fibers[8];
static u32 fiber_total;

u64 clock_tsc(void)
{
    return net_lab_now;
}

u64 clock_after(u64 ns)
{
    return net_lab_now + ns;
}

u64 clock_ticks(u64 ns)
{
    return ns;
}

void loop_timer_set(struct loop_timer *t, u64 deadline)
{
    u32 i = 0;

    while (i < ARRAY_LEN(timers) && timers[i] && timers[i] != t && timers[i]->armed)
        i++;
    assert_true(i < ARRAY_LEN(timers));
    timers[i] = t;
    t->deadline = deadline;
    t->armed = true;
}

struct fiber *fiber_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
    (void)name;
    assert_true(fiber_total < ARRAY_LEN(fibers));
    fibers[fiber_total].fn = fn;
    fibers[fiber_total++].arg = arg;
    return (struct fiber *)&fibers;
}

void fiber_sleep_until(u64 deadline)
{
    net_lab_now = MAX(net_lab_now, deadline);
}

void net_wake(void)
{
}

u64 nic_fuzz_random(u64 below)
{
    return frames_random(below);
}

static void run_timers(void)
{
    for (u32 i = 0; i < ARRAY_LEN(timers); i++) {
        struct loop_timer *t = timers[i];
        if (!t || !t->armed || t->deadline > net_lab_now)
            continue;
        t->armed = false;
        t->fn(t->owner);
    }
    for (u32 i = 0; i < fiber_total; i++)
        fibers[i].fn(fibers[i].arg);
    fiber_total = 0;
}

static void run_once(void)
{
    nic_fuzz_card_runs();
    run_timers();
    switches_poll(net_lab_now);
    while (kif_run())
        ;
    stack_poll();
}

void nic_fuzz_pass(u64 ns)
{
    u64 end = net_lab_now + ns, step = ns > CLOCK_SECOND ? 100 * CLOCK_MS : 10 * CLOCK_MS;

    for (;;) {
        run_once();
        if (net_lab_now >= end)
            return;
        net_lab_now += MIN(step, end - net_lab_now);
    }
}

/* ---- what is under way in the stack ------------------------------------------------------------
 */
static err_t on_data(void *owner, struct tcp_pcb *pcb, struct pbuf *p, err_t e)
{
    (void)owner, (void)e;
    if (!p) {
        tcp_err(pcb, NULL);
        client = pcb == client ? NULL : client;
        return tcp_close(pcb);
    }
    for (const struct pbuf *q = p; q; q = q->next)
        (void)tcp_write(pcb, q->payload, q->len, TCP_WRITE_FLAG_COPY);
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

static err_t on_accept(void *owner, struct tcp_pcb *pcb, err_t e)
{
    (void)owner;
    if (e == ERR_OK)
        tcp_recv(pcb, on_data);
    return e;
}

static void on_client_error(void *owner, err_t e)
{
    (void)owner, (void)e;
    client = NULL; /* lwIP frees it */
}

static err_t on_connected(void *owner, struct tcp_pcb *pcb, err_t e)
{
    static const u8 bytes[3000];

    (void)owner, (void)e;
    return tcp_write(pcb, bytes, sizeof(bytes), TCP_WRITE_FLAG_COPY);
}

static void on_name(const char *name, const ip_addr_t *address, void *owner)
{
    (void)name, (void)address, (void)owner;
}

static void on_ping(void *owner)
{
    (void)owner;
}

static void ask_for_name(void)
{
    char name[] = "a.test";
    ip_addr_t address;

    name[0] = (char)('a' + frames_random(26));
    dns_gethostbyname(name, &address, on_name, NULL);
}

static void end_client(void)
{
    if (client)
        tcp_abort(client); /* calls on_client_error() */
    client = NULL;
}

static void begin_client(void)
{
    ip_addr_t peer = IPADDR4_INIT(PP_HTONL(0x0a000001));

    end_client();
    client = tcp_new();
    if (!client)
        return;
    tcp_err(client, on_client_error);
    tcp_recv(client, on_data);
    if (tcp_connect(client, &peer, 5001, on_connected) != ERR_OK)
        end_client();
}

static void set_address(void)
{
    ip4_addr_t address = {PP_HTONL(0x0a000002)}, mask = {PP_HTONL(0xffffff00)},
               peer = {PP_HTONL(0x0a000001)};

    kif_set_static(kif, address, mask, peer);
}

/* ---- set-up -----------------------------------------------------------------------------------
 */
/* All that there can be: whatever is missing later is held. */
static void take_all_buffers(void)
{
    static struct frame_buffer *all[1100];
    static const u32 sizes[] = {FRAME_BUFFER_SMALL, FRAME_BUFFER_LARGE}, most[] = {1024, 48};

    for (u32 kind = 0; kind < 2; kind++) {
        u32 n = 0;
        while (n < ARRAY_LEN(all) && (all[n] = frame_buffer_get(sizes[kind])))
            n++;
        assert_int_equal(n, most[kind]);
        while (n)
            frame_buffer_drop(all[--n]);
    }
}

void nic_fuzz_start(void)
{
    ip_addr_t peer = IPADDR4_INIT(PP_HTONL(0x0a000001));
    struct tcp_pcb *listener;

    stack_init();
    switches_init(5);
    assert_int_equal(switches_add("vsw0", 0, &sw), HV_OK);
    dns_setserver(0, &peer);
    listener = tcp_new_ip_type(IPADDR_TYPE_ANY);
    assert_int_equal(tcp_bind(listener, IP_ANY_TYPE, PORT), ERR_OK);
    tcp_accept(tcp_listen(listener), on_accept);
    assert_int_equal(ping_open(&ping, &peer, on_ping, NULL), HV_OK);
    take_all_buffers();
    dma_at_start = net_lab_dma_used;
    for (u32 i = 0; i < MEMP_MAX; i++)
        used_at_start[i] = lwip_stats.memp[i]->used;
}

void nic_fuzz_attach(struct nic *n)
{
    assert_int_equal(kif_add("k0", sw, 0, &kif), HV_OK);
    assert_int_equal(uplink_add(sw, n->name), HV_OK);
    frames_for(kif->port->mac);
    set_address();
    nic_fuzz_pass(3 * CLOCK_SECOND); /* its IPv6 address is its own by then */
    assert_true(ip6_addr_isvalid(netif_ip6_addr_state(&kif->netif, 0)));
    frames_address(netif_ip6_addr(&kif->netif, 0)->addr);
}

void nic_fuzz_detach(struct nic *n)
{
    set_address();
    end_client();
    nic_fuzz_pass(400 * CLOCK_SECOND); /* the longest that lwIP keeps anything */
    assert_int_equal(uplink_remove(n->name), HV_OK);
    to_stack += kif->port->counters.out_frames - kif->dropped;
    kif_remove(kif);
    nic_fuzz_pass(CLOCK_SECOND);
}

void nic_fuzz_end(u64 kept)
{
    print_message("%llu frames for the stack\n", (unsigned long long)to_stack);
    assert_true(to_stack > NIC_FUZZ_FRAMES / 4);
    ping_close(&ping);
    assert_int_equal(ping_open(&ping, &ping.to, on_ping, NULL), HV_OK);
    for (u32 i = 0; i < MEMP_MAX; i++)
        assert_int_equal(lwip_stats.memp[i]->used, used_at_start[i]);
    take_all_buffers();
    assert_int_equal(net_lab_dma_used, dma_at_start + kept);
    ping_close(&ping);
    switches_init(0);
}

/* ---- it still works ---------------------------------------------------------------------------
 */
void nic_fuzz_heard(const u8 *f, u32 len)
{
    frames_hear(f, len);
}

static void ask(u32 len, const u8 *f)
{
    nic_fuzz_deliver(f, len);
    nic_fuzz_pass(20 * CLOCK_MS);
}

/* Afterwards something is under way again, or DHCP has begun. */
static void stir(void)
{
    u64 what = frames_random(8);

    if (what == 0)
        kif_set_dhcp(kif);
    else if (what < 4)
        begin_client();
    else if (what < 6)
        ask_for_name();
    else
        (void)ping_send(&ping, (u32)frames_random(2000));
    nic_fuzz_pass(10 * CLOCK_MS);
}

/* Any neighbour can make lwIP give up its address for good by claiming it, and fill the table of
 * neighbours with routers, which are never forgotten: both is undone first. */
static void set_address6(void)
{
    nd6_cleanup_netif(&kif->netif);
    if (ip6_addr_isduplicated(netif_ip6_addr_state(&kif->netif, 0)))
        netif_ip6_addr_set_state(&kif->netif, 0, IP6_ADDR_PREFERRED);
}

void nic_fuzz_answers(void)
{
    struct frames_heard *heard = &frames_heard;
    u8 f[128];

    end_client();
    set_address();
    nic_fuzz_pass(20 * CLOCK_MS);
    set_address6();
    heard->arps = heard->echoes = heard->advertised = heard->echoes6 = 0;
    ask(frames_arp_request(f), f);
    assert_true(heard->arps); /* others may have waited */
    heard->token++;
    ask(frames_echo(f, ECHO_ID, (u16)heard->token), f);
    assert_int_equal(heard->echoes, 1);
    ask(frames_solicitation(f), f);
    assert_true(heard->advertised);
    ask(frames_echo6(f, ECHO_ID, (u16)heard->token), f);
    assert_int_equal(heard->echoes6, 1);
    assert_int_equal(heard->traps, 0);
    stir();
}

void nic_fuzz_connects(void)
{
    struct frames_heard *heard = &frames_heard;
    u8 f[128];

    end_client();
    set_address();
    nic_fuzz_pass(130 * CLOCK_SECOND); /* half-open ones and those that wait are gone */
    ask(frames_arp_request(f), f);
    heard->port++;
    heard->tcp_flags = 0;
    ask(frames_tcp(f, FRAMES_SYN, 1000, 0, 0), f);
    assert_int_equal(heard->tcp_flags, FRAMES_SYN | FRAMES_ACK);
    u32 theirs = heard->tcp_sequence + 1;
    ask(frames_tcp(f, FRAMES_ACK, 1001, theirs, 0), f);
    heard->tcp_data = 0;
    ask(frames_tcp(f, FRAMES_ACK | FRAMES_PSH, 1001, theirs, 32), f);
    assert_int_equal(heard->tcp_data, 32);
    ask(frames_tcp(f, FRAMES_RST | FRAMES_ACK, 1033, theirs + 32, 0), f);
}

u32 nic_fuzz_frame(u8 to[NIC_FUZZ_LONGEST])
{
    return frames_next(to);
}

u32 nic_fuzz_trap(u8 *to)
{
    return frames_echo(to, FRAMES_TRAP, 1);
}
