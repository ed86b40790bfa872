/* Intel gigabit cards of the 8254x and 82574 families; all of the interface is the driver's struct
 * (drivers/driver.h). */
#ifndef BULKHEAD_DRIVERS_E1000_H
#define BULKHEAD_DRIVERS_E1000_H
#endif
