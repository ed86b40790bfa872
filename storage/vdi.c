/* VDI: a header, a map of 32-bit block numbers, blocks.  There is no published specification: the
 * layout is what VirtualBox and QEMU agree on.  Called by the engine. */
#include "storage/vdi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"

typedef unsigned long long ull;

#define SIGNATURE 0xbeda107fu
#define VERSION 0x00010001u
#define NOWHERE 0xffffffffu /* entry: not allocated */
#define ZEROS 0xfffffffeu   /* entry: reads as zeros */
#define BLOCKS_MAX 0x3fffffffu

enum vdi_type { VDI_DYNAMIC = 1, VDI_FIXED = 2, VDI_DIFFERENCING = 4 };

enum vdi_field { /* offsets in the header, little-endian */
                 VDI_SIGNATURE = 64,
                 VDI_VERSION = 68,
                 VDI_HEADER_SIZE = 72,
                 VDI_TYPE = 76,
                 VDI_MAP = 340,
                 VDI_DATA = 344,
                 VDI_SECTOR = 360,
                 VDI_SIZE = 368,
                 VDI_BLOCK = 376,
                 VDI_EXTRA = 380,
                 VDI_BLOCKS = 384,
                 VDI_ALLOCATED = 388,
                 VDI_UUID = 392,
                 VDI_UUID_SNAPSHOT = 408,
                 VDI_UUID_LINK = 424,
                 VDI_UUID_PARENT = 440,
                 VDI_HEADER = 512,
};

struct vdi {
    u32 type, blocks, allocated; /* allocated: blocks of the file in use, the next free number */
    u64 map_at, data_at;
    u32 *map;
};

static u64 place(const struct image *img, u32 entry)
{
    const struct vdi *v = img->priv;

    return v->data_at + (u64)entry * img->unit;
}

static enum hv_status read_header(struct image *img, const u8 *h)
{
    struct vdi *v = img->priv;
    u64 size = le64(h + VDI_SIZE);

    v->type = le32(h + VDI_TYPE);
    v->blocks = le32(h + VDI_BLOCKS);
    v->map_at = le32(h + VDI_MAP);
    v->data_at = le32(h + VDI_DATA);
    img->unit = le32(h + VDI_BLOCK);
    if (le32(h + VDI_SIGNATURE) != SIGNATURE)
        return image_fail(img, HV_ECORRUPT, "no VDI signature at 64");
    if (le32(h + VDI_VERSION) != VERSION)
        return image_fail(img, HV_ENOSYS, "version %x, at 68", le32(h + VDI_VERSION));
    if (v->type != VDI_DYNAMIC && v->type != VDI_FIXED && v->type != VDI_DIFFERENCING)
        return image_fail(img, HV_ENOSYS, "images of type %u, at 76", v->type);
    if (size > IMAGE_SIZE_MAX || !size)
        return image_fail(img, HV_ECORRUPT, "a disk of %llu bytes, at 368", (ull)size);
    img->size = ROUND_UP(size, DISK_SECTOR); /* odd sizes have been seen */
    if (img->unit < 4096 || img->unit > 256 * MIB || (img->unit & (img->unit - 1)))
        return image_fail(img, HV_ENOSYS, "blocks of %u bytes, at 376", img->unit);
    if (le32(h + VDI_SECTOR) != DISK_SECTOR || le32(h + VDI_EXTRA))
        return image_fail(img, HV_ENOSYS, "sectors of %u bytes or extra data, at 360",
                          le32(h + VDI_SECTOR));
    if (v->blocks > BLOCKS_MAX || (u64)v->blocks * img->unit < img->size)
        return image_fail(img, HV_ECORRUPT, "%u blocks for %llu bytes, at 384", v->blocks,
                          (ull)img->size);
    if (v->map_at % DISK_SECTOR || v->map_at < VDI_HEADER || v->data_at % DISK_SECTOR ||
        v->map_at > img->file->size || v->blocks * 4ull > img->file->size - v->map_at ||
        v->data_at < v->map_at + v->blocks * 4ull)
        return image_fail(img, HV_ECORRUPT, "its map at %llu is not in the file", (ull)v->map_at);
    memcpy(img->id, h + VDI_UUID, 16);
    memcpy(img->parent_id, h + VDI_UUID_LINK, 16);
    img->wants_parent = v->type == VDI_DIFFERENCING;
    return HV_OK;
}

static enum hv_status load_map(struct image *img)
{
    struct vdi *v = img->priv;
    u64 *places = NULL;
    enum hv_status status;

    v->map = malloc(v->blocks * 4ull + 4);
    places = malloc((u64)v->blocks * 8 + 8);
    status = v->map && places ? image_read(img, v->map_at, v->map, v->blocks * 4ull) : HV_ENOMEM;
    for (u32 i = 0; i < v->blocks && status == HV_OK; i++) {
        u32 entry = le32(&v->map[i]);

        v->map[i] = entry;
        places[i] = ~0ull;
        if (entry >= ZEROS)
            continue;
        places[i] = place(img, entry);
        if (entry > BLOCKS_MAX || places[i] >= img->file->size)
            status = image_fail(img, HV_ECORRUPT, "block %u is said to be at %llu, past the end", i,
                                (ull)places[i]);
        v->allocated = MAX(v->allocated, entry + 1);
    }
    if (status == HV_OK)
        status = image_check_overlap(img, places, v->blocks, img->unit, ~0ull);
    free(places);
    img->end = MAX(place(img, v->allocated), v->data_at);
    return status;
}

static enum hv_status vdi_open(struct image *img)
{
    struct vdi *v = calloc(1, sizeof(*v));
    u8 h[VDI_HEADER];

    img->priv = v;
    if (!v)
        return HV_ENOMEM;
    if (img->file->size < VDI_HEADER)
        return image_fail(img, HV_ECORRUPT, "a file of %llu bytes", (ull)img->file->size);
    enum hv_status status = image_read(img, 0, h, sizeof(h));
    if (status == HV_OK)
        status = read_header(img, h);
    if (status == HV_OK)
        status = load_map(img);
    if (status == HV_OK)
        snprintf(img->note, sizeof(img->note), "%s, blocks of %u KiB",
                 v->type == VDI_FIXED     ? "fixed"
                 : v->type == VDI_DYNAMIC ? "dynamic"
                                          : "differencing",
                 img->unit >> 10);
    return status;
}

static void vdi_release(struct image *img)
{
    struct vdi *v = img->priv;

    if (v)
        free(v->map);
    free(v);
}

static enum hv_status vdi_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    struct vdi *v = img->priv;
    u64 block = offset / img->unit, within = offset % img->unit;
    u32 first = v->map[block];

    e->kind = first == NOWHERE ? IMAGE_HOLE : first == ZEROS ? IMAGE_ZERO : IMAGE_DATA;
    e->at = e->kind == IMAGE_DATA ? place(img, first) + within : 0;
    e->length = img->unit - within;
    for (u32 n = 1; e->length < length; n++, e->length += img->unit)
        if (v->map[block + n] != (e->kind == IMAGE_DATA ? first + n : first))
            break;
    e->length = MIN(e->length, length);
    return HV_OK;
}

static enum hv_status vdi_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got)
{
    struct vdi *v = img->priv;

    (void)offset;
    *got = MIN(length, (u64)(BLOCKS_MAX - v->allocated) * img->unit);
    if (!*got)
        return HV_ENOSPC;
    enum hv_status status = image_append(img, *got, 512, at);
    if (status == HV_OK)
        v->allocated += (u32)(*got / img->unit);
    return status;
}

static enum hv_status put32(struct image *img, enum meta_class class, u64 at, u32 value)
{
    u8 raw[4];

    put_le32(raw, value);
    return meta_write(&img->meta, class, at, raw, 4);
}

static enum hv_status vdi_link(struct image *img, u64 offset, u64 length, u64 at)
{
    struct vdi *v = img->priv;
    enum hv_status status = put32(img, META_ROOT, VDI_ALLOCATED, v->allocated);

    for (u64 n = 0; n < length && status == HV_OK; n += img->unit) {
        u64 block = (offset + n) / img->unit;

        v->map[block] = (u32)((at + n - v->data_at) / img->unit);
        status = put32(img, META_TABLE, v->map_at + block * 4, v->map[block]);
    }
    return status;
}

/* The number of blocks in the header is also where others append: behind whatever a power cut or a
 * failed write has left unused. */
static enum hv_status vdi_begin(struct image *img)
{
    struct vdi *v = img->priv;

    return put32(img, META_ROOT, VDI_ALLOCATED, v->allocated);
}

/* Growing, as far as the map has room before the data.  A fixed image has its new blocks at once.
 */
static enum hv_status vdi_resize(struct image *img, u64 size)
{
    struct vdi *v = img->priv;
    u64 blocks = (size + img->unit - 1) / img->unit;
    u8 raw[8];

    if (size < img->size || v->map_at + blocks * 4 > v->data_at)
        return image_fail(img, HV_ENOSYS, "its map has no room for that; convert it instead");
    u32 *map = realloc(v->map, blocks * 4 + 4);
    if (!map)
        return HV_ENOMEM;
    v->map = map;
    enum hv_status status = HV_OK;
    for (; v->blocks < blocks && status == HV_OK; v->blocks++) {
        u64 at = 0, got = 0;

        map[v->blocks] = NOWHERE;
        if (v->type != VDI_FIXED) {
            status = put32(img, META_TABLE, v->map_at + v->blocks * 4ull, NOWHERE);
            continue;
        }
        status = vdi_alloc(img, v->blocks * (u64)img->unit, img->unit, &at, &got);
        if (status == HV_OK)
            status = disk_zero(img->file, at, img->unit);
        if (status == HV_OK)
            status = vdi_link(img, v->blocks * (u64)img->unit, img->unit, at);
    }
    put_le64(raw, size);
    if (status == HV_OK)
        status = meta_write(&img->meta, META_ROOT, VDI_SIZE, raw, 8);
    return status == HV_OK ? put32(img, META_ROOT, VDI_BLOCKS, v->blocks) : status;
}

/* Overlaps and places were checked by open. */
static enum hv_status vdi_check(struct image *img, u64 *problems)
{
    struct vdi *v = img->priv;
    u8 raw[4];
    enum hv_status status = meta_read(&img->meta, VDI_ALLOCATED, raw, 4);

    if (status == HV_OK && le32(raw) < v->allocated) {
        image_fail(img, HV_ECORRUPT, "the header counts %u blocks, there are %u", le32(raw),
                   v->allocated);
        (*problems)++;
    }
    return status;
}

static void make_header(u8 *h, const struct image_options *o, u32 type, u32 unit, u64 data_at)
{
    static const char text[] = "<<< Bulkhead VDI Disk Image >>>\n";
    u64 blocks = (o->size + unit - 1) / unit;

    memcpy(h, text, sizeof(text));
    put_le32(h + VDI_SIGNATURE, SIGNATURE);
    put_le32(h + VDI_VERSION, VERSION);
    put_le32(h + VDI_HEADER_SIZE, 400);
    put_le32(h + VDI_TYPE, type);
    put_le32(h + VDI_MAP, VDI_HEADER);
    put_le32(h + VDI_DATA, (u32)data_at);
    put_le32(h + VDI_SECTOR, DISK_SECTOR);
    put_le64(h + VDI_SIZE, o->size);
    put_le32(h + VDI_BLOCK, unit);
    put_le32(h + VDI_BLOCKS, (u32)blocks);
    put_le32(h + VDI_ALLOCATED, type == VDI_FIXED ? (u32)blocks : 0);
    memcpy(h + VDI_UUID, o->id, 16);
    memcpy(h + VDI_UUID_SNAPSHOT, o->id, 16);
    if (o->parent)
        memcpy(h + VDI_UUID_LINK, o->parent->id, 16);
}

static enum hv_status vdi_create(struct disk *file, const struct image_options *o,
                                 char error[IMAGE_ERROR_MAX])
{
    bool fixed = o->kind && !strcmp(o->kind, "fixed");
    u32 type = o->parent ? VDI_DIFFERENCING : fixed ? VDI_FIXED : VDI_DYNAMIC;
    u32 unit = o->unit ? o->unit : (u32)MIB;
    u64 blocks = (o->size + unit - 1) / unit;
    u64 data_at = ROUND_UP(VDI_HEADER + blocks * 4, MIB), used = ROUND_UP(blocks * 4, 512ull);

    if (!o->size || blocks > BLOCKS_MAX || data_at > 0xffffffff || unit < 4096 ||
        unit & (unit - 1)) {
        snprintf(error, IMAGE_ERROR_MAX, "no VDI image can be of this size and block size");
        return HV_EINVAL;
    }
    u8 *h = calloc(1, VDI_HEADER + used);
    if (!h)
        return HV_ENOMEM;
    make_header(h, o, type, unit, data_at);
    for (u64 i = 0; i < used / 4; i++)
        put_le32(h + VDI_HEADER + i * 4, type == VDI_FIXED && i < blocks ? (u32)i : NOWHERE);
    enum hv_status status = disk_resize(file, data_at + (type == VDI_FIXED ? blocks * unit : 0));
    if (status == HV_OK)
        status = disk_write(file, 0, h, VDI_HEADER + used);
    free(h);
    return status;
}

const struct image_format vdi_format = {
    .name = "vdi",
    .can_create = true,
    .can_write = true,
    .can_parent = true,
    .kinds = "dynamic|fixed",
    .create = vdi_create,
    .open = vdi_open,
    .map = vdi_map,
    .begin = vdi_begin,
    .alloc = vdi_alloc,
    .link = vdi_link,
    .resize = vdi_resize,
    .check = vdi_check,
    .release = vdi_release,
};
