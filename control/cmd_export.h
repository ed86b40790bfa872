/* `vm export`: a machine as an OVA package.  The command registers itself. */
#ifndef BULKHEAD_CONTROL_CMD_EXPORT_H
#define BULKHEAD_CONTROL_CMD_EXPORT_H

#endif
