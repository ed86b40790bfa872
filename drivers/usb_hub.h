/* USB hubs; the one function is in drivers/usb_device.h. */
#ifndef BULKHEAD_DRIVERS_USB_HUB_H
#define BULKHEAD_DRIVERS_USB_HUB_H
#endif
