/* `net dns` and `net ntp`; entered through the schema and cmd_net_resolve() (control/cmd_net.h). */
#ifndef BULKHEAD_CONTROL_CMD_NET_NAME_H
#define BULKHEAD_CONTROL_CMD_NET_NAME_H
#endif
