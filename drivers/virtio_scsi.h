/* virtio SCSI host adapters, found by the driver table. */
#pragma once
