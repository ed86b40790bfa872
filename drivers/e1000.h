/* Intel gigabit cards of the 8254x and 82574 families; all of the interface is the driver's struct
 * (drivers/driver.h). */
#pragma once
