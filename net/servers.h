/* Name servers and time servers: those that were set by hand, else those that DHCP has named.
 *
 * One thread.  lwIP's DHCP client tells of time servers by dhcp_set_ntp_servers(), and puts name
 * servers where dns.c has them, over any that were there: after each packet they are taken from
 * there, and what is to be used is put back. */
#pragma once

#include <lwip/opt.h>

#include "net/kif.h"

enum servers_ntp { SERVERS_NTP_DHCP, SERVERS_NTP_HAND, SERVERS_NTP_OFF };

/* Of 0: those of DHCP again. */
void servers_set_dns(const ip_addr_t *list, u32 count);
bool servers_dns_by_hand(void);
/* `server`: an address or a name, for SERVERS_NTP_HAND alone; it is kept. */
void servers_set_ntp(enum servers_ntp how, const ip_addr_t *address, const char *name);
enum servers_ntp servers_ntp(void);
/* What DHCP has named: the i-th name server or time server, NULL past the last; and at which
 * interface, NULL: nowhere. */
const ip_addr_t *servers_offered_dns(u32 i);
const ip_addr_t *servers_offered_ntp(u32 i);
const struct kif *servers_offered_at(void);

/* For net/kif.c: packets of `k` were given to lwIP; its lease is over; an interface has got an
 * address, so that a question for the time may find its way now. */
void servers_settle(const struct kif *k);
void servers_forget(const struct kif *k);
void servers_ask_again(void);
