/* `host pci`, `host disk`, `host nic`: rows in the schema. */
#ifndef BULKHEAD_CONTROL_CMD_DEVICE_H
#define BULKHEAD_CONTROL_CMD_DEVICE_H
#endif
