/* `host config`: entered through the schema alone. */
#ifndef BULKHEAD_CONTROL_CMD_CONFIG_H
#define BULKHEAD_CONTROL_CMD_CONFIG_H
#endif
