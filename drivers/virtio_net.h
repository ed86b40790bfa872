/* virtio network cards; all of the interface is the driver's struct (drivers/driver.h). */
#ifndef BULKHEAD_DRIVERS_VIRTIO_NET_H
#define BULKHEAD_DRIVERS_VIRTIO_NET_H
#endif
