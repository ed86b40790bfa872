/* Station addresses as text, and new ones for guests.
 *
 * Pure.  Generated addresses are 06:42:48:xx:xx:xx: the bit for locally administered is set (IEEE
 * 802-2014 section 8.2), 42 48 is "BH"; the last three bytes are random and checked against the
 * addresses in use. */
#pragma once

#include "kernel/abi/types.h"

#define MAC_ADDRESS_TEXT 18u
#define MAC_ADDRESS_PREFIX 0x064248000000ull

void mac_address_format(u64 mac, char text[MAC_ADDRESS_TEXT]);
/* "06:42:48:01:02:03", also with '-'.  False: not that. */
MUST_CHECK bool mac_address_parse(const char *text, u64 *mac);
/* An address that `taken` does not know; 0 after 1,000 collisions. */
u64 mac_address_new(u64 *random, bool (*taken)(void *owner, u64 mac), void *owner);
