/* links: drivers/usb.c */
/* Descriptors as a hostile device gives them: nothing is read beyond them, what is found is sane.
 */
#include <stdlib.h>
#include <string.h>

#include "drivers/usb.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct usb_identity id;
    struct usb_interface i;
    char text[20];
    u32 len = (u32)size;
    u8 *exact = malloc(size + !size); /* so that a byte too far is seen */

    memcpy(exact, data, size);
    for (u32 speed = USB_FULL; speed <= USB_SUPER; speed++)
        if (usb_parse_device(&id, exact, len, (enum usb_speed)speed) == HV_OK &&
            (id.packet < 8 || id.packet > 512))
            abort();
    for (u32 any = 0; any < 2; any++)
        if (usb_find_interface(&i, exact, len, any ? 9 : 8, any ? 0xff : 6, any ? 0xff : 0x50) ==
            HV_OK) {
            if (i.endpoint_count > USB_ENDPOINTS)
                abort();
            for (u32 n = 0; n < i.endpoint_count; n++)
                if (!i.endpoints[n].packet || i.endpoints[n].burst > 15 ||
                    i.endpoints[n].packet > 2047)
                    abort();
        }
    usb_text(text, sizeof(text), exact, len);
    if (strlen(text) >= sizeof(text))
        abort();
    free(exact);
    return 0;
}
