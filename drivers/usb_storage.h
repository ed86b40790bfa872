/* USB mass storage; its one function is in drivers/usb_device.h. */
#ifndef BULKHEAD_DRIVERS_USB_STORAGE_H
#define BULKHEAD_DRIVERS_USB_STORAGE_H
#endif
