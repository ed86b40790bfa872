/* Parses descriptors.  Called by usb_device.c and the drivers of interfaces; pure. */
#include "drivers/usb.h"

#include <string.h>

static u16 get16(const u8 *p)
{
    return (u16)(p[0] | p[1] << 8);
}

enum hv_status usb_parse_device(struct usb_identity *out, const u8 *bytes, u32 len,
                                enum usb_speed speed)
{
    *out = (struct usb_identity){0};
    if (len < 8 || bytes[0] < 18 || bytes[1] != USB_DEVICE)
        return HV_EINVAL;
    out->packet = bytes[7];
    if (speed >= USB_SUPER) {
        if (bytes[7] != 9) /* an exponent there, and this is the only one */
            return HV_EINVAL;
        out->packet = 512;
    } else if (bytes[7] != 8 && bytes[7] != 16 && bytes[7] != 32 && bytes[7] != 64) {
        return HV_EINVAL;
    }
    out->class_code = bytes[4];
    out->protocol = bytes[6];
    if (len < 18)
        return HV_OK;
    out->vendor = get16(bytes + 8);
    out->product = get16(bytes + 10);
    out->name_string = bytes[15];
    out->serial_string = bytes[16];
    out->configurations = bytes[17];
    return HV_OK;
}

static void take_endpoint(struct usb_interface *i, const u8 *d)
{
    u16 packet = get16(d + 4) & 0x7ff;

    if (i->endpoint_count == USB_ENDPOINTS || !packet || !(d[2] & 15))
        return;
    i->endpoints[i->endpoint_count++] = (struct usb_endpoint){
        .address = d[2] & 0x8f, .kind = d[3] & 3, .interval = d[6], .packet = packet};
}

enum hv_status usb_find_interface(struct usb_interface *out, const u8 *bytes, u32 len,
                                  u8 class_code, u8 subclass, u8 protocol)
{
    bool ours = false, found = false;

    *out = (struct usb_interface){0};
    if (len < 9 || bytes[0] < 9 || bytes[1] != USB_CONFIG)
        return HV_EINVAL;
    len = MIN(len, (u32)get16(bytes + 2));
    for (u32 at = bytes[0]; at + 2 <= len; at += bytes[at]) {
        const u8 *d = bytes + at;
        if (d[0] < 2 || d[0] > len - at)
            return HV_EINVAL;
        if (d[1] == USB_INTERFACE && d[0] >= 9) {
            if (found)
                return HV_OK;
            ours = d[5] == class_code && (subclass == 0xff || d[6] == subclass) &&
                   (protocol == 0xff || d[7] == protocol);
            found = ours;
            if (ours)
                *out = (struct usb_interface){.configuration = bytes[5],
                                              .number = d[2],
                                              .alternate = d[3],
                                              .class_code = d[5],
                                              .subclass = d[6],
                                              .protocol = d[7]};
        } else if (d[1] == USB_ENDPOINT && d[0] >= 7 && ours) {
            take_endpoint(out, d);
        } else if (d[1] == USB_COMPANION && d[0] >= 6 && ours && out->endpoint_count) {
            out->endpoints[out->endpoint_count - 1].burst = MIN(d[2], (u8)15);
        }
    }
    return found ? HV_OK : HV_ENOENT;
}

void usb_text(char *to, u32 size, const u8 *bytes, u32 len)
{
    u32 n = 0;

    if (len >= 2 && bytes[1] == USB_STRING)
        len = MIN(len, (u32)bytes[0]);
    else
        len = 0;
    for (u32 i = 2; i + 2 <= len && n + 1 < size; i += 2) {
        u16 c = get16(bytes + i);
        if (!c)
            break;
        to[n++] = c >= ' ' && c < 0x7f ? (char)c : '?';
    }
    to[n] = 0;
}
