/* NVMe controllers; all of the interface is the driver's struct (drivers/driver.h). */
#ifndef BULKHEAD_DRIVERS_NVME_H
#define BULKHEAD_DRIVERS_NVME_H
#endif
