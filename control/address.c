/* Addresses as people write them; called by commands. */
#include "control/address.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/conf.h"
#include "net/kif.h"

static bool is_ip4(const char *text)
{
    u32 dots = 0;

    for (const char *p = text; *p; p++)
        dots += *p == '.';
    return dots == 3;
}

static bool parse_ip6(const char *text, ip_addr_t *ip)
{
    u32 n = (u32)strcspn(text, "%");
    const struct kif *k = text[n] ? kif_named(text + n + 1) : kif_first();
    char address[ADDRESS_TEXT];

    snprintf(address, sizeof(address), "%.*s", (int)MIN(n, (u32)sizeof(address) - 1), text);
    if (!ip6addr_aton(address, ip_2_ip6(ip)))
        return false;
    IP_SET_TYPE(ip, IPADDR_TYPE_V6);
    if (!ip6_addr_islinklocal(ip_2_ip6(ip)))
        return !text[n];
    if (k)
        ip6_addr_assign_zone(ip_2_ip6(ip), IP6_UNICAST, &k->netif);
    return k != NULL;
}

bool address_parse(const char *text, ip_addr_t *ip)
{
    ip4_addr_t four;

    if (strchr(text, ':'))
        return parse_ip6(text, ip);
    if (!is_ip4(text) || !ip4addr_aton(text, &four))
        return false;
    ip_addr_copy_from_ip4(*ip, four);
    return true;
}

bool address_parse_network(const char *text, ip_addr_t *ip, u32 *bits)
{
    const char *slash = strchr(text, '/');
    char address[ADDRESS_TEXT];
    u64 number;

    if (!slash || slash - text >= (long)sizeof(address) ||
        !conf_parse_number(conf_span_of(slash + 1), &number))
        return false;
    snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
    *bits = (u32)MIN(number, 255u);
    return address_parse(address, ip) && *bits <= (IP_IS_V6(ip) ? 128u : 32u);
}

const char *address_text6(const ip6_addr_t *ip, char buf[ADDRESS_TEXT])
{
    ip6addr_ntoa_r(ip, buf, ADDRESS_TEXT);
    for (char *p = buf; *p; p++) {
        if (*p >= 'A' && *p <= 'F')
            *p += 'a' - 'A';
    }
    return buf;
}

const char *address_text(const ip_addr_t *ip, char buf[ADDRESS_TEXT])
{
    const struct kif *k = IP_IS_V6(ip) ? kif_of_zone(ip_2_ip6(ip)) : NULL;

    if (!IP_IS_V6(ip))
        return ip4addr_ntoa_r(ip_2_ip4(ip), buf, ADDRESS_TEXT);
    address_text6(ip_2_ip6(ip), buf);
    if (k)
        snprintf(buf + strlen(buf), ADDRESS_TEXT - strlen(buf), "%%%s", k->name);
    return buf;
}
