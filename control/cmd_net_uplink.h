/* `net uplink`, `net team`, `net lldp`, `net cdp`, `net neighbors`, `net capture`: a switch and the
 * network outside. */
#ifndef BULKHEAD_CONTROL_CMD_NET_UPLINK_H
#define BULKHEAD_CONTROL_CMD_NET_UPLINK_H

#endif
