/* lwIP 2.2.1 as the control partition uses it; included by lwIP alone.
 *
 * No operating system, raw API, one thread.  Memory is such that cards reach it, so that segments
 * are sent from where TCP has them, and bounded (net/stack.c); the numbers of connections and of
 * queued segments are bounded by the pools here. */
#pragma once

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 1
#define LWIP_STATS_DISPLAY 0
#define LWIP_PERF 0

#define MEM_ALIGNMENT 8
/* net/stack.c */
#include <stddef.h>
void *stack_malloc(size_t len);
void *stack_calloc(size_t count, size_t len);
void stack_free(void *p);
#define MEM_CUSTOM_ALLOCATOR 1
#define MEM_CUSTOM_MALLOC stack_malloc
#define MEM_CUSTOM_CALLOC stack_calloc
#define MEM_CUSTOM_FREE stack_free
#define MEMP_MEM_MALLOC 0
#define MEMP_NUM_PBUF 4096
#define MEMP_NUM_TCP_PCB 128
#define MEMP_NUM_TCP_PCB_LISTEN 16
#define MEMP_NUM_TCP_SEG 8192
#define MEMP_NUM_UDP_PCB 32
#define MEMP_NUM_RAW_PCB 8
#define MEMP_NUM_REASSDATA 16
#define MEMP_NUM_ARP_QUEUE 64
#define MEMP_NUM_SYS_TIMEOUT 32
#define PBUF_POOL_SIZE 64
#define PBUF_POOL_BUFSIZE 1536

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_IPV6_DHCP6 0
#define LWIP_IPV6_AUTOCONFIG 1
#define LWIP_IPV6_MLD 1
#define LWIP_IPV6_NUM_ADDRESSES 5 /* link-local, one by hand, three from routers */
#define LWIP_IGMP 1
#define LWIP_ICMP 1
#define LWIP_RAW 1
#define LWIP_BROADCAST_PING 0
#define LWIP_MULTICAST_PING 0
#define IP_REASSEMBLY 1
#define IP_FRAG 1
#define IP_REASS_MAX_PBUFS 64
#define IPV6_FRAG_COPYHEADER 1 /* pointers have 64 bits */
#define IP_FORWARD 0
#define LWIP_MULTICAST_TX_OPTIONS 1

#define LWIP_ARP 1
#define ARP_TABLE_SIZE 64
#define ARP_QUEUEING 1
#define ETHARP_SUPPORT_STATIC_ENTRIES 1
#define LWIP_ND6_NUM_NEIGHBORS 64
#define ETH_PAD_SIZE 0

#define LWIP_DHCP 1
#define LWIP_DHCP_DOES_ACD_CHECK 1
#define LWIP_ACD 1
#define LWIP_DHCP_GET_NTP_SRV 1 /* net/servers.c takes them */
#define LWIP_DHCP_MAX_NTP_SERVERS 3
#define LWIP_AUTOIP 0
#define LWIP_DNS 1
#define DNS_MAX_SERVERS 3
#define DNS_TABLE_SIZE 16
#define LWIP_DNS_SECURE 7 /* random transaction numbers, source ports, several outstanding */
#define SNTP_SERVER_DNS 1
#define SNTP_MAX_SERVERS 3
#define SNTP_GET_SERVERS_FROM_DHCP 0
#define SNTP_SET_SYSTEM_TIME_US(s, us) stack_set_time(s, us)
#define SNTP_CHECK_RESPONSE 3 /* source address and the time that we sent */
#define SNTP_STARTUP_DELAY 0

#define LWIP_TCP 1
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1 /* one: frames do not come from PBUF_POOL */
#define TCP_MSS 8960 /* the most that is offered: the interface's MTU makes it smaller */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 6
#define TCP_WND (1024 * 1024)
#define TCP_SND_BUF (1024 * 1024)
#define TCP_SND_QUEUELEN 2048
#define TCP_SNDLOWAT (0xffff - 4 * TCP_MSS - 1) /* lwIP compares it as 16 bits */
#define TCP_SNDQUEUELOWAT (TCP_SND_QUEUELEN / 2)
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_BYTES TCP_WND
#define TCP_OOSEQ_MAX_PBUFS 1024
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_TIMESTAMPS 0
#define LWIP_TCP_KEEPALIVE 1
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 16
#define LWIP_TCP_PCB_NUM_EXT_ARGS 0

#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_LINK_CALLBACK 1
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_REMOVE_CALLBACK 0
#define LWIP_NETIF_LOOPBACK 1
#define LWIP_HAVE_LOOPIF 1
#define LWIP_NETIF_HWADDRHINT 1
#define LWIP_NETIF_TX_SINGLE_PBUF 0

#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_CHKSUM checksum_sum
#define LWIP_CHECKSUM_ON_COPY 0 /* TCP's sums are made when a frame is sent, or by the card */
#define LWIP_SUPPORT_CUSTOM_PBUF 1

/* net/route.c */
struct netif;
struct ip4_addr;
struct netif *route_find(const struct ip4_addr *from, const struct ip4_addr *to);
const struct ip4_addr *route_gateway(struct netif *n, const struct ip4_addr *to);
#define LWIP_HOOK_IP4_ROUTE_SRC(from, to) route_find(from, to)
#define LWIP_HOOK_ETHARP_GET_GW(n, to) route_gateway(n, to)
struct ip6_addr;
struct netif *route6_find(const struct ip6_addr *from, const struct ip6_addr *to);
const struct ip6_addr *route6_gateway(struct netif *n, const struct ip6_addr *to);
#define LWIP_HOOK_IP6_ROUTE(from, to) route6_find(from, to)
#define LWIP_HOOK_ND6_GET_GW(n, to) route6_gateway(n, to)

/* net/kif_join.c */
struct tcp_pcb;
struct pbuf;
struct tcp_hdr;
signed char kif_join_on_segment(struct tcp_pcb *pcb, const struct pbuf *p);
void kif_join_check_options(struct tcp_hdr *hdr, unsigned len, unsigned first, unsigned char *rest);
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, hdr, optlen, opt1len, opt2, p)                             \
    (kif_join_check_options(hdr, optlen, opt1len, opt2), kif_join_on_segment(pcb, p))

/* net/isn.c */
struct ip_addr;
unsigned isn_next(const struct ip_addr *local, unsigned short local_port,
                  const struct ip_addr *remote, unsigned short remote_port);
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port)                                  \
    isn_next(local, local_port, remote, remote_port)
