/* Disks by serial number; called by the commands about stores. */
#include "control/disk_serial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/schema.h"
#include "drivers/block.h"

#define PREFIX "serial:"

/* *count: of those that have it. */
static const struct block_device *with_serial(const char *serial, u64 len, u32 *count)
{
    const struct block_device *found = NULL;

    *count = 0;
    for (const struct block_device *b = block_first(); b; b = b->next) {
        if (b->gone || strlen(b->serial) != len || strncmp(b->serial, serial, len))
            continue;
        found = found ? found : b;
        ++*count;
    }
    return found;
}

const char *disk_serial_name(struct out *out, const char *text, char buf[DISK_NAME_MAX])
{
    const char *serial = text + sizeof(PREFIX) - 1, *slash = strrchr(text, '/');
    u32 count;

    if (strncmp(text, PREFIX, sizeof(PREFIX) - 1) || !*serial)
        return text;
    const struct block_device *b = with_serial(serial, strlen(serial), &count);
    unsigned long number = 0;
    if (!b && slash > serial) { /* a number may have a slash of its own */
        number = strtoul(slash + 1, NULL, 10);
        b = number ? with_serial(serial, (u64)(slash - serial), &count) : NULL;
    }
    if (count != 1 || !b) {
        out_error(out, HV_ENOENT, "E_NO_DISK", "host disk list",
                  count > 1 ? "several disks have the serial number '%s'"
                            : "no disk has the serial number '%s'",
                  serial);
        return NULL;
    }
    if (number)
        snprintf(buf, DISK_NAME_MAX, "%sp%lu", b->name, number);
    else
        snprintf(buf, DISK_NAME_MAX, "%s", b->name);
    return buf;
}

/* The physical disk; *number: of its partition, 0: all of it. */
static const struct block_device *device_of(const struct disk *d, u32 *number)
{
    for (const struct block_device *b = block_first(); b; b = b->next) {
        u64 n = strlen(b->name);

        *number = 0;
        if (!strcmp(d->name, b->name))
            return b;
        if (!strncmp(d->name, b->name, n) && d->name[n] == 'p')
            *number = (u32)strtoul(d->name + n + 1, NULL, 10);
        if (*number)
            return b;
    }
    return NULL;
}

const char *disk_serial_word(const struct disk *d, char buf[DISK_SERIAL_MAX])
{
    char plain[DISK_SERIAL_MAX - 10];
    u32 number, count = 0;
    const struct block_device *b = device_of(d, &number);

    if (b && b->serial[0])
        (void)with_serial(b->serial, strlen(b->serial), &count);
    if (count != 1)
        return d->name;
    if (number)
        snprintf(plain, sizeof(plain), PREFIX "%s/%u", b->serial, number);
    else
        snprintf(plain, sizeof(plain), PREFIX "%s", b->serial);
    const char *word = schema_quote(plain, buf, DISK_SERIAL_MAX);
    if (word == plain)
        snprintf(buf, DISK_SERIAL_MAX, "%s", plain);
    return buf;
}
