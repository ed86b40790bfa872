/* `store ...`: datastores.  The commands register themselves. */
#ifndef BULKHEAD_CONTROL_CMD_STORE_H
#define BULKHEAD_CONTROL_CMD_STORE_H

#endif
