/* Tar archives; called by the import and export of packages. */
#include "storage/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum tar_field {
    TAR_MODE = 100,
    TAR_UID = 108,
    TAR_GID = 116,
    TAR_SIZE = 124,
    TAR_TIME = 136,
    TAR_SUM = 148,
    TAR_TYPE = 156,
    TAR_MAGIC = 257,
};

/* Of all bytes, its own field as spaces. */
static u32 sum(const u8 *b)
{
    u32 n = 8 * ' ';

    for (u32 i = 0; i < TAR_BLOCK; i++)
        n += i >= TAR_SUM && i < TAR_SUM + 8 ? 0 : b[i];
    return n;
}

/* Octal digits, or big-endian bytes behind one with bit 7 set.  ~0: neither. */
static u64 number(const u8 *at, u32 len)
{
    u64 n = 0;
    u32 i = 0;

    if (at[0] == 0x80) {
        for (i = 1; i < len; i++) {
            if (n >> 52)
                return ~0ull;
            n = n << 8 | at[i];
        }
        return n;
    }
    while (i < len && at[i] == ' ')
        i++;
    for (; i < len && at[i] >= '0' && at[i] <= '7'; i++)
        n = n << 3 | (u64)(at[i] - '0');
    return i == len || !at[i] || at[i] == ' ' ? n : ~0ull;
}

enum hv_status tar_read(struct disk *file, struct tar_member *out, u32 max, u32 *count)
{
    u8 *b = malloc(TAR_BLOCK);
    enum hv_status status = b ? HV_OK : HV_ENOMEM;
    u64 at = 0;

    *count = 0;
    while (status == HV_OK && at + TAR_BLOCK <= file->size) {
        status = disk_read(file, at, b, TAR_BLOCK);
        if (status != HV_OK || !b[0]) /* the end is a block of zeros */
            break;
        u64 size = number(b + TAR_SIZE, 12);
        at += TAR_BLOCK;
        if (number(b + TAR_SUM, 8) != sum(b) || size > file->size - at)
            status = HV_ECORRUPT;
        else if (b[TAR_TYPE] == '0' || !b[TAR_TYPE]) {
            if (*count == max)
                status = HV_E2BIG;
            else {
                struct tar_member *m = &out[(*count)++];

                *m = (struct tar_member){.offset = at, .size = size};
                memcpy(m->name, b, TAR_NAME - 1);
            }
        }
        if (status == HV_OK)
            at += ROUND_UP(size, (u64)TAR_BLOCK);
    }
    free(b);
    return status == HV_OK && !*count ? HV_ECORRUPT : status;
}

void tar_header(u8 b[TAR_BLOCK], const char *name, u64 size)
{
    char *c = (char *)b;

    memset(b, 0, TAR_BLOCK);
    snprintf(c, TAR_NAME - 1, "%s", name);
    snprintf(c + TAR_MODE, 8, "%07o", 0644u);
    snprintf(c + TAR_UID, 8, "%07o", 0u);
    snprintf(c + TAR_GID, 8, "%07o", 0u);
    if (size >> 33) {
        b[TAR_SIZE] = 0x80;
        for (u32 i = 0; i < 8; i++)
            b[TAR_SIZE + 11 - i] = (u8)(size >> 8 * i);
    } else {
        snprintf(c + TAR_SIZE, 12, "%011llo", (unsigned long long)size);
    }
    snprintf(c + TAR_TIME, 12, "%011o", 0u);
    b[TAR_TYPE] = '0';
    memcpy(c + TAR_MAGIC, "ustar\00000", 8);
    snprintf(c + TAR_SUM, 8, "%06o", sum(b));
    c[TAR_SUM + 7] = ' ';
}
