/* AHCI controllers: the driver's struct (drivers/driver.h) is all there is. */
#pragma once
