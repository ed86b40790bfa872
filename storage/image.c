/* The table of formats, and one layer by itself; called by the engine and by `disk` commands. */
#include "storage/image.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/endian.h"
#include "storage/qcow2.h"
#include "storage/raw.h"
#include "storage/vdi.h"
#include "storage/vhd.h"
#include "storage/vhdx.h"
#include "storage/vmdk.h"

#define META_BLOCKS 1024u /* 4 MiB of tables kept a layer */
#define GROW_STEP (8 * MIB)

static const struct image_format *const formats[] = {
    &raw_format, &qcow2_format, &vhd_format, &vhdx_format, &vmdk_format, &vdi_format,
};

const struct image_format *image_format_at(u32 i)
{
    return i < ARRAY_LEN(formats) ? formats[i] : NULL;
}

const struct image_format *image_format(const char *name)
{
    for (u32 i = 0; i < ARRAY_LEN(formats); i++)
        if (!strcmp(formats[i]->name, name))
            return formats[i];
    return NULL;
}

enum hv_status image_fail(struct image *img, enum hv_status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(img->error, sizeof(img->error), fmt, ap);
    va_end(ap);
    return status;
}

enum hv_status image_read(struct image *img, u64 at, void *buf, u64 len)
{
    u64 block = img->file->block_size, begin = ROUND_DOWN(at, block);
    u64 end = ROUND_UP(at + len, block);

    if (begin == at && end == at + len)
        return disk_read(img->file, at, buf, len);
    u8 *whole = end >= at ? malloc(end - begin) : NULL;
    if (!whole)
        return HV_ENOMEM;
    enum hv_status status = disk_read(img->file, begin, whole, end - begin);
    memcpy(buf, whole + (at - begin), len);
    free(whole);
    return status;
}

void image_new_id(u8 id[16])
{
    static u64 count;
    u64 state = clock_tsc() ^ (u64)clock_unix() << 32 ^ ++count << 56;

    for (u32 i = 0; i < 2; i++) { /* splitmix64 */
        u64 z = state += 0x9e3779b97f4a7c15;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        put_le64(id + 8 * i, z ^ z >> 31);
    }
    id[7] = (u8)((id[7] & 0x0f) | 0x40);
    id[8] = (u8)((id[8] & 0x3f) | 0x80);
}

static int by_value(const void *a, const void *b)
{
    const u64 *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

enum hv_status image_check_overlap(struct image *img, const u64 *places, u64 count, u64 length,
                                   u64 skip)
{
    u64 *sorted = malloc((count + 1) * sizeof(*sorted)), used = 0;
    enum hv_status status = HV_OK;

    if (!sorted)
        return HV_ENOMEM;
    for (u64 i = 0; i < count; i++)
        if (places[i] != skip)
            sorted[used++] = places[i];
    qsort(sorted, used, sizeof(*sorted), by_value);
    for (u64 i = 1; i < used && status == HV_OK; i++)
        if (sorted[i] - sorted[i - 1] < length)
            status = image_fail(img, HV_ECORRUPT, "two blocks overlap at %llu of the file",
                                (unsigned long long)sorted[i]);
    free(sorted);
    return status;
}

enum hv_status image_append(struct image *img, u64 length, u64 align, u64 *at)
{
    u64 begin = ROUND_UP(img->end, align);

    if (length > DISK_SIZE_MAX / 2 || begin > DISK_SIZE_MAX / 2)
        return HV_ENOSPC;
    if (begin + length > img->file->size) {
        u64 size = begin + MAX(length, GROW_STEP);
        enum hv_status status = disk_resize(img->file, ROUND_UP(size, 512));

        if (status != HV_OK) /* not that much: then just what is needed */
            status = disk_resize(img->file, ROUND_UP(begin + length, 512));
        if (status != HV_OK)
            return status;
    }
    img->end = begin + length;
    *at = begin;
    return HV_OK;
}

enum hv_status image_commit_meta(struct image *img)
{
    for (u32 class = 0; class < META_CLASSES; class ++) {
        bool any = img->meta.dirty[class] != 0;
        enum hv_status status = meta_write_back(&img->meta, class);

        if (status == HV_OK && any)
            status = disk_flush(img->file);
        if (status != HV_OK)
            return status;
    }
    return HV_OK;
}

enum hv_status image_layer_open(struct image *img, struct disk *file,
                                const struct image_format *format, void *arg, bool read_only)
{
    enum hv_status status;

    memset(img, 0, sizeof(*img));
    img->format = format;
    img->arg = arg;
    img->file = file;
    img->read_only = read_only || file->read_only;
    status = meta_init(&img->meta, file, META_BLOCKS);
    if (status != HV_OK)
        return status;
    file->users++;
    status = format->open(img);
    if (status == HV_OK && (img->size > IMAGE_SIZE_MAX || img->size % DISK_SECTOR))
        status =
            image_fail(img, HV_ECORRUPT, "a disk of %llu bytes", (unsigned long long)img->size);
    if (status == HV_OK) {
        img->fresh = MAX(img->end, file->size);
        img->read_only |= !format->can_write;
        return HV_OK;
    }
    if (!img->error[0])
        image_fail(img, status, "reading it failed (%d)", status);
    image_layer_close(img);
    return status;
}

enum hv_status image_layer_close(struct image *img)
{
    if (img->format->release)
        img->format->release(img);
    img->priv = NULL;
    meta_fini(&img->meta);
    img->file->users--;
    return HV_OK;
}
