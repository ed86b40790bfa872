/* A network without any configuration: the first card with link on a switch vsw0, and on that the
 * kernel interface k0, which asks for an address by DHCP. */
#pragma once

#include "kernel/abi/types.h"

/* From now on; what the administrator sets up first goes before it.  when_made(): it was set up. */
void first_boot_init(void (*when_made)(void));
/* Off: whatever cards there are, nothing is set up. */
void first_boot_enable(bool on);
bool first_boot_enabled(void);
/* Takes away what was set up, if the caller knows that nobody has changed it since. */
void first_boot_undo(void);
