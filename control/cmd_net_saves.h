/* `net auto`, and what of switches and their ports survives a reboot; entered through the schema.
 */
#ifndef BULKHEAD_CONTROL_CMD_NET_SAVES_H
#define BULKHEAD_CONTROL_CMD_NET_SAVES_H
#endif
