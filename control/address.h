/* Addresses as people write them. */
#pragma once

#include <lwip/ip_addr.h>

#include "kernel/abi/types.h"

#define ADDRESS_TEXT 56u /* an IPv6 address, "%k0", a prefix length */

/* "10.0.0.1", "2001:db8::1", "fe80::1%k0": the last is good on one link alone, that of the
 * interface; without one that of the first. */
MUST_CHECK bool address_parse(const char *text, ip_addr_t *ip);
/* "10.1.0.0/16", "2001:db8::/32". */
MUST_CHECK bool address_parse_network(const char *text, ip_addr_t *ip, u32 *bits);
/* What address_parse() takes. */
const char *address_text(const ip_addr_t *ip, char buf[ADDRESS_TEXT]);
/* As RFC 5952 has it, without an interface. */
const char *address_text6(const ip6_addr_t *ip, char buf[ADDRESS_TEXT]);
