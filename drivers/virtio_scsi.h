/* virtio SCSI host adapters, found by the driver table. */
#ifndef BULKHEAD_DRIVERS_VIRTIO_SCSI_H
#define BULKHEAD_DRIVERS_VIRTIO_SCSI_H
#endif
