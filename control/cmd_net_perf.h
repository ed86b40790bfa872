/* Registers itself: SCHEMA_COMMANDS in cmd_net_perf.c. */
#ifndef BULKHEAD_CONTROL_CMD_NET_PERF_H
#define BULKHEAD_CONTROL_CMD_NET_PERF_H

#endif
