/* USB mass storage; its one function is in drivers/usb_device.h. */
#pragma once
