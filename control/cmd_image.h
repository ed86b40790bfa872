/* `disk ...`: disk images, and copies of disks.  The commands register themselves. */
#ifndef BULKHEAD_CONTROL_CMD_IMAGE_H
#define BULKHEAD_CONTROL_CMD_IMAGE_H

#endif
