/* Registers itself: SCHEMA_COMMANDS in cmd_disk.c. */
#ifndef BULKHEAD_CONTROL_CMD_DISK_H
#define BULKHEAD_CONTROL_CMD_DISK_H

#endif
