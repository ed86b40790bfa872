/* AHCI controllers; all of the interface is the driver's struct (drivers/driver.h). */
#ifndef BULKHEAD_DRIVERS_AHCI_H
#define BULKHEAD_DRIVERS_AHCI_H
#endif
