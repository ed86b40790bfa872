/* What USB devices say of themselves: USB 2.0 chapter 9, USB 3.2 chapter 9.  Pure: descriptors are
 * hostile, lengths inside them are checked against what came. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define USB_ENDPOINTS 4 /* of an interface, those that are looked at */
#define USB_CONFIG_MAX 1024

enum usb_speed { USB_FULL = 1, USB_LOW = 2, USB_HIGH = 3, USB_SUPER = 4 }; /* as xHCI's ids */

enum usb_request { /* table 9-4 */
                   USB_GET_STATUS = 0,
                   USB_CLEAR_FEATURE = 1,
                   USB_SET_FEATURE = 3,
                   USB_GET_DESCRIPTOR = 6,
                   USB_SET_CONFIGURATION = 9,
                   USB_SET_INTERFACE = 11,
};
enum usb_descriptor {
    USB_DEVICE = 1,
    USB_CONFIG,
    USB_STRING,
    USB_INTERFACE,
    USB_ENDPOINT,
    USB_COMPANION = 48
};
/* bmRequestType */
#define USB_IN 0x80u
#define USB_CLASS 0x20u
#define USB_TO_INTERFACE 1u
#define USB_TO_ENDPOINT 2u
#define USB_TO_OTHER 3u

struct usb_endpoint {
    u8 address;  /* bit 7: in */
    u8 kind;     /* 1 isochronous, 2 bulk, 3 interrupt; 0 is control */
    u8 interval; /* as the descriptor has it */
    u8 burst;    /* packets less one; SuperSpeed */
    u16 packet;  /* bytes, at least 1 */
};

struct usb_interface {
    u8 configuration, number, alternate;
    u8 class_code, subclass, protocol;
    u8 endpoint_count;
    struct usb_endpoint endpoints[USB_ENDPOINTS];
};

struct usb_identity {
    u16 vendor, product;
    u8 class_code, protocol, configurations;
    u8 name_string, serial_string; /* indices; 0: none */
    u16 packet;                    /* of the control endpoint, in bytes */
};

/* The device descriptor, 18 bytes; 8 of them suffice for `packet`.  HV_EINVAL: it is none. */
MUST_CHECK enum hv_status usb_parse_device(struct usb_identity *out, const u8 *bytes, u32 len,
                                           enum usb_speed speed);
/* The first interface of a configuration descriptor, with all that belongs to it, which is of that
 * class, subclass (0xff: any) and protocol (0xff: any).  HV_ENOENT: none; HV_EINVAL: malformed. */
MUST_CHECK enum hv_status usb_find_interface(struct usb_interface *out, const u8 *bytes, u32 len,
                                             u8 class_code, u8 subclass, u8 protocol);
/* A string descriptor as printable text. */
void usb_text(char *to, u32 size, const u8 *bytes, u32 len);
