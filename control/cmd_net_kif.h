/* `net kif`, `net ping`, `net route`, `net dns`, `net ntp`: the host's own place in the network. */
#ifndef BULKHEAD_CONTROL_CMD_NET_KIF_H
#define BULKHEAD_CONTROL_CMD_NET_KIF_H

#endif
