/* `host user`; entered through the schema alone. */
#ifndef BULKHEAD_CONTROL_CMD_USER_H
#define BULKHEAD_CONTROL_CMD_USER_H
#endif
