/* USB hubs; the one function is in drivers/usb_device.h. */
#pragma once
