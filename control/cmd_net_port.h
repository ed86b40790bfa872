/* `net port`, `net policy`, `net shape`, `net link`, `net mirror`: one port and what it may do. */
#ifndef BULKHEAD_CONTROL_CMD_NET_PORT_H
#define BULKHEAD_CONTROL_CMD_NET_PORT_H

#endif
