/* Name servers and time servers; called by the shell, by net/kif.c and by lwIP. */
#include "net/servers.h"

#include <stdio.h>
#include <string.h>

#include <lwip/apps/sntp.h>
#include <lwip/dhcp.h>
#include <lwip/dns.h>

#define NAME_MOST 64u

struct list {
    ip_addr_t at[MAX(DNS_MAX_SERVERS, SNTP_MAX_SERVERS)];
    u32 count;
};

static struct {
    struct list dns, ntp; /* by DHCP */
    const struct kif *kif;
    bool told; /* there was an answer since servers_settle() */
} offered;

static struct list dns_by_hand, ntp_used;
static enum servers_ntp how_ntp;

/* ---- what is used -----------------------------------------------------------------------------
 */
static void use_dns(void)
{
    const struct list *l = dns_by_hand.count ? &dns_by_hand : &offered.dns;

    for (u32 i = 0; i < DNS_MAX_SERVERS; i++)
        dns_setserver((u8)i, i < l->count ? &l->at[i] : NULL);
}

static bool is_same(const struct list *a, const struct list *b)
{
    bool same = a->count == b->count;

    for (u32 i = 0; same && i < a->count; i++)
        same = ip_addr_eq(&a->at[i], &b->at[i]);
    return same;
}

static void ask_time(void)
{
    sntp_setoperatingmode(SNTP_OPMODE_POLL);
    sntp_init();
}

static void use_offered_ntp(void)
{
    if (how_ntp != SERVERS_NTP_DHCP || is_same(&ntp_used, &offered.ntp))
        return; /* a lease that was renewed is no reason to ask for the time */
    sntp_stop();
    ntp_used = offered.ntp;
    for (u32 i = 0; i < SNTP_MAX_SERVERS; i++)
        sntp_setserver((u8)i, i < ntp_used.count ? &ntp_used.at[i] : NULL);
    if (ntp_used.count)
        ask_time();
}

/* ---- by hand ----------------------------------------------------------------------------------
 */
void servers_set_dns(const ip_addr_t *list, u32 count)
{
    dns_by_hand.count = MIN(count, (u32)DNS_MAX_SERVERS);
    memcpy(dns_by_hand.at, list, dns_by_hand.count * sizeof(*list));
    use_dns();
}

bool servers_dns_by_hand(void)
{
    return dns_by_hand.count;
}

void servers_set_ntp(enum servers_ntp how, const ip_addr_t *address, const char *name)
{
    static char kept[NAME_MOST]; /* lwIP has a pointer to it */

    sntp_stop();
    ntp_used.count = 0;
    for (u32 i = 0; i < SNTP_MAX_SERVERS; i++)
        sntp_setserver((u8)i, NULL);
    how_ntp = how;
    if (how == SERVERS_NTP_HAND) {
        snprintf(kept, sizeof(kept), "%s", name);
        if (address)
            sntp_setserver(0, address);
        else
            sntp_setservername(0, kept);
        ask_time();
    }
    use_offered_ntp();
}

enum servers_ntp servers_ntp(void)
{
    return how_ntp;
}

/* ---- by DHCP ----------------------------------------------------------------------------------
 */
/* lwIP calls it for each answer, before it puts the name servers in: what is there afterwards is
 * from that answer. */
void dhcp_set_ntp_servers(u8_t count, const ip4_addr_t *list)
{
    offered.ntp.count = MIN(count, (u32)SNTP_MAX_SERVERS);
    for (u32 i = 0; i < offered.ntp.count; i++)
        ip_addr_copy_from_ip4(offered.ntp.at[i], list[i]);
    for (u32 i = 0; i < DNS_MAX_SERVERS; i++)
        dns_setserver((u8)i, NULL);
    offered.told = true;
}

void servers_settle(const struct kif *k)
{
    u32 n = 0;

    if (!offered.told)
        return;
    offered.told = false;
    offered.kif = k;
    for (; n < DNS_MAX_SERVERS && !ip_addr_isany(dns_getserver((u8)n)); n++)
        offered.dns.at[n] = *dns_getserver((u8)n);
    offered.dns.count = n;
    use_dns();
    use_offered_ntp();
}

void servers_forget(const struct kif *k)
{
    if (offered.kif != k)
        return;
    offered.kif = NULL;
    offered.dns.count = offered.ntp.count = 0;
    use_dns();
    use_offered_ntp();
}

/* lwIP itself waits for half a minute after a question that did not get away. */
void servers_ask_again(void)
{
    if (!sntp_enabled() || sntp_getreachability(0))
        return;
    sntp_stop();
    ask_time();
}

const ip_addr_t *servers_offered_dns(u32 i)
{
    return i < offered.dns.count ? &offered.dns.at[i] : NULL;
}

const ip_addr_t *servers_offered_ntp(u32 i)
{
    return i < offered.ntp.count ? &offered.ntp.at[i] : NULL;
}

const struct kif *servers_offered_at(void)
{
    return offered.kif;
}
