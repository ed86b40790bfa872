/* Disks by serial number, for lines that are kept: names are given in the order in which disks are
 * found, which is another one when one was added.
 *
 * "serial:XYZ" is a physical disk, "serial:XYZ/2" its partition 2. */
#pragma once

#include "control/out.h"
#include "storage/disk.h"

#define DISK_SERIAL_MAX 100

/* The name that the disk has now, in `buf` if it was given by a serial number; NULL: there is none,
 * or several have that number, and out says so.  Other names are left as they are. */
const char *disk_serial_name(struct out *out, const char *text, char buf[DISK_NAME_MAX]);
/* The disk, or partition of a disk, by serial number if it has one that no other disk has, else by
 * name; as one word of a command. */
const char *disk_serial_word(const struct disk *d, char buf[DISK_SERIAL_MAX]);
