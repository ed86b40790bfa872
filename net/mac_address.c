/* Station addresses; called by the shell and by whoever makes guests. */
#include "net/mac_address.h"

#include <stdio.h>

#include "net/shape.h"

void mac_address_format(u64 mac, char text[MAC_ADDRESS_TEXT])
{
    snprintf(text, MAC_ADDRESS_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", (u32)(mac >> 40 & 0xff),
             (u32)(mac >> 32 & 0xff), (u32)(mac >> 24 & 0xff), (u32)(mac >> 16 & 0xff),
             (u32)(mac >> 8 & 0xff), (u32)(mac & 0xff));
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool mac_address_parse(const char *text, u64 *mac)
{
    u64 value = 0;

    for (u32 i = 0; i < 6; i++) {
        int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);

        if (low < 0 || (i < 5 ? text[2] != ':' && text[2] != '-' : text[2] != 0))
            return false;
        value = value << 8 | (u32)(high << 4 | low);
        text += 3;
    }
    *mac = value;
    return true;
}

u64 mac_address_new(u64 *random, bool (*taken)(void *owner, u64 mac), void *owner)
{
    for (u32 i = 0; i < 1000; i++) {
        u64 mac = MAC_ADDRESS_PREFIX | (shape_random(random) & 0xffffff);

        if (!taken(owner, mac))
            return mac;
    }
    return 0;
}
