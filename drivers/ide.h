/* IDE controllers, found by the driver table. */
#ifndef BULKHEAD_DRIVERS_IDE_H
#define BULKHEAD_DRIVERS_IDE_H

#endif
