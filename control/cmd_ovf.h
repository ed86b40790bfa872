/* `vm import`, `vm export`: machines as OVF packages.  The commands register themselves. */
#ifndef BULKHEAD_CONTROL_CMD_OVF_H
#define BULKHEAD_CONTROL_CMD_OVF_H

#endif
