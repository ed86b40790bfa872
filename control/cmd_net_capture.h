/* `net capture`: frames of a port as text, or into a pcapng file on a datastore.  The command
 * registers itself. */
#ifndef BULKHEAD_CONTROL_CMD_NET_CAPTURE_H
#define BULKHEAD_CONTROL_CMD_NET_CAPTURE_H

#endif
