/* A network without any configuration: the first card with link on a switch vsw0, and on that the
 * kernel interface k0, which asks for an address by DHCP. */
#ifndef BULKHEAD_NET_FIRST_BOOT_H
#define BULKHEAD_NET_FIRST_BOOT_H

/* From start on; what the administrator sets up first goes before it. */
void first_boot_init(void);

#endif
