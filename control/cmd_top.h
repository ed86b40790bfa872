/* Registers itself: SCHEMA_COMMANDS in cmd_top.c. */
#ifndef BULKHEAD_CONTROL_CMD_TOP_H
#define BULKHEAD_CONTROL_CMD_TOP_H

#endif
