/* The name of its parent in a qcow2 image that is not open: for other tools, we never read it.
 * Called when snapshots are merged, in a fiber. */
#include "storage/qcow2_parent.h"

#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/qcow2.h"

#define HEAD 4096u /* of the first cluster: what is looked at and written */
#define EXTENSION_FORMAT 0xe2792acau
#define NAME_MAX_BYTES 1023u /* qcow2.txt, "backing file size" */

const char *qcow2_parent_format(const char *format)
{
    return strcmp(format, "vhd") ? format : "vpc"; /* as QEMU calls it */
}

/* Header extensions but for the one that is to be replaced; how long they are, 0: they are not what
 * they should be. */
static u32 keep_extensions(const u8 *from, u32 room, u8 *to)
{
    u32 used = 0;

    for (u32 at = 0; at + 8 <= room;) {
        u32 type = be32(from + at), len = be32(from + at + 4);

        if (!type)
            return used + 8;
        if (len > room - at - 8)
            return 0;
        u32 whole = (u32)ROUND_UP(8 + len, 8u);
        if (type != EXTENSION_FORMAT) {
            memcpy(to + used, from + at, 8 + len);
            used += whole;
        }
        at += whole;
    }
    return 0;
}

/* `limit`: so many bytes of the header may be used. */
static enum hv_status build(u8 *head, u32 limit, const char *name, const char *format)
{
    static u8 fresh[HEAD];
    u32 length = be32(head + 4) >= 3 ? be32(head + 100) : 72, format_len = (u32)strlen(format);
    u32 name_len = (u32)strlen(name),
        end = be64(head + 8) ? (u32)MIN(be64(head + 8), limit) : limit;

    if (be32(head) != QCOW2_MAGIC || length < 72 || length >= end || length % 8 || !name_len ||
        name_len > NAME_MAX_BYTES)
        return HV_EINVAL;
    memset(fresh, 0, sizeof(fresh));
    u32 kept = keep_extensions(head + length, end - length, fresh);
    u32 whole = (u32)ROUND_UP(8 + format_len, 8u);
    if (!kept || length + kept + whole + name_len > limit)
        return HV_EINVAL;
    u8 *at = fresh + kept - 8; /* in place of the end mark */
    put_be32(at, EXTENSION_FORMAT);
    put_be32(at + 4, format_len);
    memcpy(at + 8, format, format_len);
    memset(head + length, 0, limit - length);
    memcpy(head + length, fresh, kept + whole);
    put_be64(head + 8, length + kept + whole);
    put_be32(head + 16, name_len);
    memcpy(head + length + kept + whole, name, name_len);
    return HV_OK;
}

enum hv_status qcow2_set_parent(struct disk *file, const char *name, const char *format)
{
    u32 span = MAX(file->block_size, HEAD);
    u8 *head = file->size >= span ? malloc(span) : NULL;
    enum hv_status status = head ? disk_read(file, 0, head, span) : HV_EINVAL;

    if (status == HV_OK) {
        u32 bits = be32(head + 20);

        status = bits < 9 || bits > 21
                     ? HV_EINVAL
                     : build(head, MIN(1u << bits, HEAD), name, qcow2_parent_format(format));
    }
    if (status == HV_OK)
        status = disk_write(file, 0, head, span);
    free(head);
    return status;
}
