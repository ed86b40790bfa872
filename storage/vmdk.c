/* Sparse VMDK extents: header, embedded descriptor, grain directory (twice), grain tables, grains.
 * Called by the engine. */
#include "storage/vmdk_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/unpack.h"

typedef unsigned long long ull;

/* ---- opening -----------------------------------------------------------------------------------
 */

static enum hv_status read_descriptor(struct image *img)
{
    struct vmdk *v = img->priv;
    struct vmdk_descriptor d;
    const char *why;
    char *text;

    if (!v->descriptor_at)
        return HV_OK;
    if (!v->descriptor_size || v->descriptor_size > VMDK_DESCRIPTOR_MAX ||
        v->descriptor_at > img->file->size ||
        v->descriptor_size > img->file->size - v->descriptor_at)
        return image_fail(img, HV_ECORRUPT, "its descriptor at %llu is not in the file",
                          (ull)v->descriptor_at);
    if (!(text = malloc(v->descriptor_size)))
        return HV_ENOMEM;
    enum hv_status status = image_read(img, v->descriptor_at, text, v->descriptor_size);
    if (status == HV_OK && vmdk_descriptor_read(text, v->descriptor_size, &d, &why) != HV_OK)
        status =
            image_fail(img, HV_ECORRUPT, "its descriptor at %llu: %s", (ull)v->descriptor_at, why);
    free(text);
    if (status != HV_OK)
        return status;
    if (strcmp(d.type, "monolithicSparse") && strcmp(d.type, "streamOptimized"))
        return image_fail(img, HV_ENOSYS, "its type is %s", d.type);
    v->cid = d.cid;
    memcpy(img->id, &d.cid, 4);
    img->wants_parent = d.parent_cid != 0xffffffff;
    if (img->wants_parent)
        memcpy(img->parent_id, &d.parent_cid, 4);
    strcpy(img->parent_hint, d.parent);
    return HV_OK;
}

static enum hv_status load_directory(struct image *img, u64 at, u32 **out)
{
    struct vmdk *v = img->priv;

    if (at > img->file->size || v->tables * 4 > img->file->size - at)
        return image_fail(img, HV_ECORRUPT, "its grain directory at %llu is not in the file",
                          (ull)at);
    *out = malloc(v->tables * 4 + 4);
    if (!*out)
        return HV_ENOMEM;
    enum hv_status status = image_read(img, at, *out, v->tables * 4);
    for (u64 i = 0; i < v->tables && status == HV_OK; i++) {
        u64 table = (*out)[i] * VMDK_SECTOR;

        if ((*out)[i] && (table >= img->file->size || table < VMDK_HEADER ||
                          v->entries * 4ull > img->file->size - table))
            status = image_fail(img, HV_ECORRUPT, "grain table %llu is said to be at %llu", (ull)i,
                                (ull)table);
    }
    return status;
}

/* A streamed image has its real header at the end: marker, footer, marker ("Footer"). */
static enum hv_status read_header(struct image *img, u8 *h)
{
    enum hv_status status;

    status = image_read(img, 0, h, MIN(VMDK_HEADER, img->file->size));
    if (status == HV_OK && (h[0] == '#' || !memcmp(h, "version", 7)))
        return image_fail(img, HV_ENOSYS,
                          "it is the descriptor of a flat image: attach that as raw");
    if (status == HV_OK && img->file->size < VMDK_HEADER)
        return image_fail(img, HV_ECORRUPT, "a file of %llu bytes", (ull)img->file->size);
    if (status != HV_OK || memcmp(h, "KDMV", 4) || le64(h + VMDK_DIRECTORY) != VMDK_AT_END)
        return status;
    if (img->file->size < 3 * VMDK_HEADER)
        return image_fail(img, HV_ECORRUPT, "it has no footer");
    return image_read(img, ROUND_DOWN(img->file->size, VMDK_SECTOR) - 2 * VMDK_HEADER, h,
                      VMDK_HEADER);
}

static enum hv_status check_header(struct image *img, const u8 *h)
{
    struct vmdk *v = img->priv;
    u64 capacity = le64(h + VMDK_CAPACITY), grain = le64(h + VMDK_GRAIN);
    static const u8 newlines[4] = {'\n', ' ', '\r', '\n'};

    v->version = le32(h + VMDK_VERSION);
    v->flags = le32(h + VMDK_FLAGS);
    v->entries = le32(h + VMDK_ENTRIES);
    if (memcmp(h, "KDMV", 4))
        return image_fail(img, HV_ECORRUPT, "no header of a sparse VMDK");
    if (v->version < 1 || v->version > 3)
        return image_fail(img, HV_ENOSYS, "version %u, at 4", v->version);
    if ((v->flags & VMDK_FLAG_NEWLINES) && memcmp(h + VMDK_NEWLINES, newlines, 4))
        return image_fail(img, HV_ECORRUPT, "it was changed by a transfer as text, at 73");
    if (!capacity || capacity > IMAGE_SIZE_MAX / VMDK_SECTOR)
        return image_fail(img, HV_ECORRUPT, "a disk of %llu sectors, at 12", (ull)capacity);
    if (grain < 8 || grain > 4096 || grain & (grain - 1))
        return image_fail(img, HV_ECORRUPT, "grains of %llu sectors, at 20", (ull)grain);
    if (!v->entries || v->entries > 4096)
        return image_fail(img, HV_ECORRUPT, "tables of %u entries, at 44", v->entries);
    if ((v->flags & VMDK_FLAG_COMPRESSED) && le16(h + VMDK_COMPRESSION) != 1)
        return image_fail(img, HV_ENOSYS, "compression %u, at 77", le16(h + VMDK_COMPRESSION));
    if (le64(h + VMDK_DESCRIPTOR) > VMDK_ENTRIES_MAX ||
        le64(h + VMDK_DESCRIPTOR_SIZE) > VMDK_ENTRIES_MAX ||
        le64(h + VMDK_DIRECTORY) > 0xffffffff || le64(h + VMDK_SPARE_DIRECTORY) > 0xffffffff)
        return image_fail(img, HV_ECORRUPT, "its tables are not in the file, at 28 to 56");
    img->size = capacity * VMDK_SECTOR;
    img->unit = (u32)(grain * VMDK_SECTOR);
    v->tables = (img->size + (u64)img->unit * v->entries - 1) / ((u64)img->unit * v->entries);
    v->descriptor_at = le64(h + VMDK_DESCRIPTOR) * VMDK_SECTOR;
    v->descriptor_size = le64(h + VMDK_DESCRIPTOR_SIZE) * VMDK_SECTOR;
    v->directory_at = le64(h + VMDK_DIRECTORY) * VMDK_SECTOR;
    v->spare_at = v->flags & VMDK_FLAG_SPARE ? le64(h + VMDK_SPARE_DIRECTORY) * VMDK_SECTOR : 0;
    return v->tables > VMDK_ENTRIES_MAX ? image_fail(img, HV_ECORRUPT, "too many tables") : HV_OK;
}

static enum hv_status vmdk_open(struct image *img)
{
    struct vmdk *v = calloc(1, sizeof(*v));
    u8 h[VMDK_HEADER] = {0};

    img->priv = v;
    if (!v)
        return HV_ENOMEM;
    v->unpacked_at = ~0ull;
    enum hv_status status = read_header(img, h);
    if (status == HV_OK)
        status = check_header(img, h);
    if (status == HV_OK)
        status = read_descriptor(img);
    if (status == HV_OK)
        status = load_directory(img, v->directory_at, &v->directory);
    if (status == HV_OK && v->spare_at)
        status = load_directory(img, v->spare_at, &v->spare);
    if (status != HV_OK)
        return status;
    img->end = ROUND_UP(img->file->size, VMDK_SECTOR);
    img->read_only |= (v->flags & (VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS)) != 0;
    snprintf(img->note, sizeof(img->note), "%s, grains of %u KiB",
             v->flags & VMDK_FLAG_COMPRESSED ? "streamOptimized" : "sparse", img->unit >> 10);
    return HV_OK;
}

static void vmdk_release(struct image *img)
{
    struct vmdk *v = img->priv;

    if (!v)
        return;
    free(v->directory);
    free(v->spare);
    free(v->unpacked);
    free(v);
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

/* Grains begin behind the header and do not lie over it, the descriptor or the directories; that
 * they overlap each other or a table hurts nobody but their own disk. */
static bool over_metadata(const struct vmdk *v, u64 at, u64 len)
{
    const u64 ranges[][2] = {{0, VMDK_HEADER},
                             {v->descriptor_at, v->descriptor_size},
                             {v->directory_at, v->tables * 4},
                             {v->spare_at, v->spare_at ? v->tables * 4 : 0}};

    for (u32 i = 0; i < ARRAY_LEN(ranges); i++)
        if (at < ranges[i][0] + ranges[i][1] && ranges[i][0] < at + len && ranges[i][1])
            return true;
    return false;
}

static enum image_kind kind_of(const struct vmdk *v, u32 entry)
{
    if (!entry)
        return IMAGE_HOLE;
    if (entry == VMDK_GRAIN_ZERO && (v->flags & VMDK_FLAG_ZEROS))
        return IMAGE_ZERO;
    return v->flags & VMDK_FLAG_COMPRESSED ? IMAGE_SPECIAL : IMAGE_DATA;
}

static enum hv_status vmdk_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    struct vmdk *v = img->priv;
    u64 span = (u64)img->unit * v->entries, within = offset % img->unit;
    u64 table = v->directory[offset / span] * VMDK_SECTOR;
    u32 first = (u32)(offset % span / img->unit);
    u8 raw[64 * 4];

    length = MIN(length, span - offset % span);
    *e = (struct image_extent){IMAGE_HOLE, 0, length};
    if (!table)
        return HV_OK;
    u32 count = (u32)MIN((within + length + img->unit - 1) / img->unit, 64);
    enum hv_status status = meta_read(&img->meta, table + first * 4ull, raw, count * 4ull);
    if (status != HV_OK)
        return status;
    u32 entry = le32(raw), n = 1;
    e->kind = kind_of(v, entry);
    if (e->kind == IMAGE_DATA && over_metadata(v, entry * VMDK_SECTOR, img->unit))
        return image_fail(img, HV_ECORRUPT, "byte %llu of the disk is said to be at %llu: metadata",
                          (ull)offset, (ull)(entry * VMDK_SECTOR));
    for (; n < count && e->kind != IMAGE_SPECIAL; n++) {
        u32 next = le32(raw + n * 4);
        u64 expected = entry + (u64)n * (img->unit / VMDK_SECTOR);

        if (kind_of(v, next) != e->kind || (e->kind == IMAGE_DATA && next != expected))
            break;
    }
    e->at = e->kind == IMAGE_DATA ? entry * VMDK_SECTOR + within : 0;
    e->length = MIN((u64)n * img->unit - within, length);
    return HV_OK;
}

/* A compressed grain: its first sector number and its length, then the data ("Compressed Grains").
 */
static enum hv_status unpack_grain(struct image *img, u64 offset, u64 at, u8 *packed)
{
    struct vmdk *v = img->priv;
    u8 head[12];
    u64 size, want = MIN(img->unit, img->size - offset);
    enum hv_status status;

    if (at > img->file->size || img->file->size - at < sizeof(head))
        return image_fail(img, HV_ECORRUPT, "a grain at %llu, past the end", (ull)at);
    status = image_read(img, at, head, sizeof(head));
    size = le32(head + 8);
    if (status != HV_OK)
        return status;
    if (le64(head) * VMDK_SECTOR != offset || !size || size > 2ull * img->unit + 1024 ||
        size > img->file->size - at - sizeof(head))
        return image_fail(img, HV_ECORRUPT, "no grain for %llu at %llu", (ull)offset, (ull)at);
    status = image_read(img, at + sizeof(head), packed, size);
    if (status != HV_OK)
        return status;
    /* The last grain may have been cut at the end of the disk; some writers leave out zlib's
     * header. */
    memset(v->unpacked, 0, img->unit);
    if (unpack(UNPACK_ZLIB, packed, size, v->unpacked, img->unit) != HV_OK &&
        unpack(UNPACK_ZLIB, packed, size, v->unpacked, want) != HV_OK &&
        unpack(UNPACK_DEFLATE, packed, size, v->unpacked, img->unit) != HV_OK)
        return image_fail(img, HV_ECORRUPT, "the grain at %llu does not unpack", (ull)at);
    return HV_OK;
}

static enum hv_status vmdk_read_special(struct image *img, u64 offset, u8 *buf)
{
    struct vmdk *v = img->priv;
    u64 span = (u64)img->unit * v->entries;
    u64 table = v->directory[offset / span] * VMDK_SECTOR;
    enum hv_status status = HV_OK;
    u8 raw[4];

    if (!v->unpacked && !(v->unpacked = malloc(img->unit)))
        return HV_ENOMEM;
    if (v->unpacked_at != offset) {
        u8 *packed = malloc(2ull * img->unit + 1024);

        v->unpacked_at = ~0ull;
        status = packed ? meta_read(&img->meta, table + offset % span / img->unit * 4, raw, 4)
                        : HV_ENOMEM;
        if (status == HV_OK)
            status = unpack_grain(img, offset, le32(raw) * VMDK_SECTOR, packed);
        free(packed);
        if (status != HV_OK)
            return status;
        v->unpacked_at = offset;
    }
    memcpy(buf, v->unpacked, img->unit);
    return HV_OK;
}

/* ---- changing ----------------------------------------------------------------------------------
 */

/* After a power cut the two copies of a grain table may differ: the first one counts. */
static enum hv_status repair_spare(struct image *img)
{
    struct vmdk *v = img->priv;
    u64 bytes = v->entries * 4ull;
    u8 *table = malloc(bytes);
    enum hv_status status = table ? HV_OK : HV_ENOMEM;

    for (u64 i = 0; i < v->tables && status == HV_OK; i++) {
        if (!v->directory[i] || !v->spare[i])
            continue;
        status = image_read(img, v->directory[i] * VMDK_SECTOR, table, bytes);
        if (status == HV_OK)
            status = disk_write(img->file, v->spare[i] * VMDK_SECTOR, table, bytes);
        meta_forget(&img->meta, v->spare[i] * VMDK_SECTOR, bytes);
    }
    free(table);
    return status;
}

/* A changed image has another content ID, so that children made of the old contents are noticed. */
static enum hv_status vmdk_begin(struct image *img)
{
    struct vmdk *v = img->priv;
    static const u8 unclean = 1;
    u8 was_unclean = 0;
    char *text, *at;
    enum hv_status status = meta_read(&img->meta, VMDK_UNCLEAN, &was_unclean, 1);

    if (status == HV_OK && was_unclean && v->spare)
        status = repair_spare(img);
    if (status == HV_OK)
        status = meta_write(&img->meta, META_ROOT, VMDK_UNCLEAN, &unclean, 1);

    if (status != HV_OK || !v->descriptor_at)
        return status;
    if (!(text = calloc(1, v->descriptor_size + 1)))
        return HV_ENOMEM;
    status = meta_read(&img->meta, v->descriptor_at, text, v->descriptor_size);
    at = strstr(text, "\nCID=");
    if (status == HV_OK && at && strlen(at) >= 13) {
        char cid[9];

        v->cid = v->cid * 1664525 + 1013904223;
        snprintf(cid, sizeof(cid), "%08x", v->cid);
        status = meta_write(&img->meta, META_ROOT, v->descriptor_at + (u64)(at + 5 - text), cid, 8);
    }
    free(text);
    return status == HV_OK ? image_commit_meta(img) : status;
}

static enum hv_status vmdk_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got)
{
    (void)offset;
    if (img->end / VMDK_SECTOR + length / VMDK_SECTOR + img->unit / VMDK_SECTOR > 0xffffffff)
        return HV_ENOSPC;
    *got = length;
    return image_append(img, length, img->unit, at);
}

static enum hv_status put32(struct image *img, enum meta_class class, u64 at, u32 value)
{
    u8 raw[4];

    put_le32(raw, value);
    return meta_write(&img->meta, class, at, raw, 4);
}

/* A grain table that the directory does not have yet. */
static enum hv_status make_table(struct image *img, u32 *directory, u64 directory_at, u64 index)
{
    struct vmdk *v = img->priv;
    u64 at;

    if (directory[index])
        return HV_OK;
    enum hv_status status = image_append(img, v->entries * 4ull, VMDK_SECTOR, &at);
    if (status == HV_OK && at / VMDK_SECTOR > 0xffffffff)
        status = HV_ENOSPC;
    if (status == HV_OK)
        status = meta_fill(&img->meta, META_TABLE, at, 0, v->entries * 4ull);
    if (status != HV_OK)
        return status;
    directory[index] = (u32)(at / VMDK_SECTOR);
    return put32(img, META_ROOT, directory_at + index * 4, directory[index]);
}

static enum hv_status put_entry(struct image *img, u64 offset, u32 value)
{
    struct vmdk *v = img->priv;
    u64 span = (u64)img->unit * v->entries, index = offset / span;
    u64 within = offset % span / img->unit * 4;
    enum hv_status status = make_table(img, v->directory, v->directory_at, index);

    if (status == HV_OK)
        status = put32(img, META_TABLE, v->directory[index] * VMDK_SECTOR + within, value);
    if (status != HV_OK || !v->spare)
        return status;
    status = make_table(img, v->spare, v->spare_at, index);
    return status == HV_OK ? put32(img, META_TABLE, v->spare[index] * VMDK_SECTOR + within, value)
                           : status;
}

static enum hv_status vmdk_link(struct image *img, u64 offset, u64 length, u64 at)
{
    enum hv_status status = HV_OK;

    for (u64 n = 0; n < length && status == HV_OK; n += img->unit)
        status = put_entry(img, offset + n, (u32)((at + n) / VMDK_SECTOR));
    return status;
}

static enum hv_status vmdk_finish(struct image *img)
{
    static const u8 clean = 0;
    enum hv_status status = meta_write(&img->meta, META_ROOT, VMDK_UNCLEAN, &clean, 1);

    return status == HV_OK ? image_commit_meta(img) : status;
}

/* Every grain in the file, and both directories of one opinion. */
static enum hv_status vmdk_check(struct image *img, u64 *problems)
{
    struct vmdk *v = img->priv;

    for (u64 t = 0; t < v->tables; t++) {
        for (u32 i = 0; i < v->entries && v->directory[t]; i++) {
            u8 a[4], b[4];
            enum hv_status status =
                meta_read(&img->meta, v->directory[t] * VMDK_SECTOR + i * 4ull, a, 4);

            memcpy(b, a, 4);
            if (status == HV_OK && v->spare && v->spare[t])
                status = meta_read(&img->meta, v->spare[t] * VMDK_SECTOR + i * 4ull, b, 4);
            if (status != HV_OK)
                return status;
            bool data = kind_of(v, le32(a)) > IMAGE_ZERO;
            if (memcmp(a, b, 4) || (data && (le32(a) * VMDK_SECTOR >= img->file->size ||
                                             over_metadata(v, le32(a) * VMDK_SECTOR, VMDK_SECTOR))))
                if (!(*problems)++)
                    image_fail(img, HV_ECORRUPT, "grain %u of table %llu: %u and %u", i, (ull)t,
                               le32(a), le32(b));
        }
    }
    return HV_OK;
}

const struct image_format vmdk_format = {
    .name = "vmdk",
    .can_create = true,
    .can_write = true,
    .can_parent = true,
    .kinds = "sparse|flat",
    .create = vmdk_create,
    .open = vmdk_open,
    .map = vmdk_map,
    .read_special = vmdk_read_special,
    .begin = vmdk_begin,
    .alloc = vmdk_alloc,
    .link = vmdk_link,
    .finish = vmdk_finish,
    .resize = vmdk_resize,
    .check = vmdk_check,
    .release = vmdk_release,
};
