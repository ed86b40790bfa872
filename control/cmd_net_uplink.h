/* `net uplink`, `net team`, `net lldp`, `net cdp`, `net neighbors`, `net capture`: a switch and the
 * network outside. */
#pragma once
