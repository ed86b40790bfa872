/* A serial port behind PCI; all of the interface is the driver's struct (drivers/driver.h). */
#pragma once
