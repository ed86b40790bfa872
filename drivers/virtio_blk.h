/* virtio block devices; all of the interface is the driver's struct (drivers/driver.h). */
#ifndef BULKHEAD_DRIVERS_VIRTIO_BLK_H
#define BULKHEAD_DRIVERS_VIRTIO_BLK_H
#endif
