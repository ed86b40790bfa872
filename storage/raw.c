/* Raw images and whole devices, as a format of the engine. */
#include "storage/raw.h"

#include <stdio.h>
#include <string.h>

static enum hv_status raw_create(struct disk *file, const struct image_options *o,
                                 char error[IMAGE_ERROR_MAX])
{
    (void)error;
    return disk_resize(file, o->size);
}

static enum hv_status raw_open(struct image *img)
{
    u64 size = img->file->size;

    if (size % DISK_SECTOR && !img->read_only)
        return image_fail(img, HV_EINVAL, "its size, %llu bytes, is not a multiple of 512",
                          (unsigned long long)size);
    img->size = ROUND_UP(size, DISK_SECTOR); /* the rest of the last sector reads as zeros */
    img->unit = MIB;
    img->end = size;
    snprintf(img->note, sizeof(img->note), "flat");
    return HV_OK;
}

static enum hv_status raw_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    (void)img;
    *e = (struct image_extent){IMAGE_DATA, offset, length};
    return HV_OK;
}

static enum hv_status raw_resize(struct image *img, u64 size)
{
    enum hv_status status = disk_resize(img->file, size);

    if (status == HV_OK)
        img->end = size;
    return status;
}

static enum hv_status raw_check(struct image *img, u64 *problems)
{
    (void)img, (void)problems;
    return HV_OK;
}

const struct image_format raw_format = {
    .name = "raw",
    .can_create = true,
    .can_write = true,
    .kinds = "flat",
    .create = raw_create,
    .open = raw_open,
    .map = raw_map,
    .resize = raw_resize,
    .check = raw_check,
};
