/* VHD: a footer at the end (a copy of it at the start, but for fixed ones), a header, a table of
 * blocks, blocks with a bitmap of their sectors in front.  Called by the engine. */
#include "storage/vhd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"

typedef unsigned long long ull;

#define FOOTER 512u
#define HEADER 1024u
#define NOWHERE 0xffffffffu
#define BLOCKS_MAX (1u << 24)
#define SIZE_MAX_VHD (2040ull * GIB) /* sector numbers are of 32 bits */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

enum vhd_field { /* of the footer, big-endian ("Hard Disk Footer Format") */
                 FOOTER_FEATURES = 8,
                 FOOTER_VERSION = 12,
                 FOOTER_DATA = 16,
                 FOOTER_TIME = 24,
                 FOOTER_CREATOR = 28,
                 FOOTER_CREATOR_OS = 36,
                 FOOTER_ORIGINAL = 40,
                 FOOTER_SIZE = 48,
                 FOOTER_CYLINDERS = 56,
                 FOOTER_HEADS = 58,
                 FOOTER_SECTORS = 59,
                 FOOTER_TYPE = 60,
                 FOOTER_CHECKSUM = 64,
                 FOOTER_UUID = 68,
                 /* of the dynamic disk header */
                 HEADER_DATA = 8,
                 HEADER_TABLE = 16,
                 HEADER_VERSION = 24,
                 HEADER_ENTRIES = 28,
                 HEADER_BLOCK = 32,
                 HEADER_CHECKSUM = 36,
                 HEADER_PARENT = 40,
                 HEADER_PARENT_NAME = 64,
};

struct vhd {
    enum vhd_type type;
    u32 block, bitmap; /* bytes of a block's data, and of the bitmap in front of it */
    u32 entries;
    u64 table_at;
    u32 *table; /* sector numbers */
    u8 footer[FOOTER];
};

static u32 checksum(const u8 *at, u32 len, u32 field)
{
    u32 sum = 0;

    for (u32 i = 0; i < len; i++)
        sum += i >= field && i < field + 4 ? 0 : at[i];
    return ~sum;
}

static bool footer_valid(const u8 *f)
{
    return !memcmp(f, "conectix", 8) &&
           be32(f + FOOTER_CHECKSUM) == checksum(f, FOOTER, FOOTER_CHECKSUM);
}

/* The footer at the end, or after a crash while the file grew the copy at the start.  A guest can
 * write what looks like one: over the first sector of a fixed disk, or at the end of a file that
 * grew before a crash.  It does not know the UUID: two that differ are refused. */
static enum hv_status read_footer(struct image *img)
{
    struct vhd *v = img->priv;
    u64 size = img->file->size, last = (size - FOOTER) & ~511ull;
    u8 first[FOOTER];

    if (size < FOOTER)
        return image_fail(img, HV_ECORRUPT, "a file of %llu bytes", (ull)size);
    enum hv_status status = image_read(img, last, v->footer, FOOTER);
    if (status == HV_OK)
        status = image_read(img, 0, first, FOOTER);
    if (status != HV_OK)
        return status;
    bool end_valid = footer_valid(v->footer);
    bool start_valid = last && footer_valid(first) && be32(first + FOOTER_TYPE) != VHD_FIXED;
    if (end_valid && start_valid && memcmp(first, v->footer, FOOTER))
        return image_fail(img, HV_ECORRUPT, "the footer at %llu and its copy at 0 differ",
                          (ull)last);
    if (!end_valid && !start_valid)
        return image_fail(img, HV_ECORRUPT, "no valid footer at its end and no copy at its start");
    if (!end_valid)
        memcpy(v->footer, first, FOOTER);
    img->end = end_valid ? last : ROUND_UP(size, 512ull);
    return HV_OK;
}

/* Virtual PC and Virtual Server mean the size that the geometry gives, everybody else the field. */
static u64 disk_size(const u8 *f)
{
    u64 chs = (u64)be16(f + FOOTER_CYLINDERS) * f[FOOTER_HEADS] * f[FOOTER_SECTORS] * 512;
    bool geometry =
        !memcmp(f + FOOTER_CREATOR, "vpc ", 4) || !memcmp(f + FOOTER_CREATOR, "vs  ", 4);

    return geometry && chs && chs < 65535ull * 16 * 255 * 512 ? chs : be64(f + FOOTER_SIZE);
}

static enum hv_status read_header(struct image *img)
{
    struct vhd *v = img->priv;
    u64 at = be64(v->footer + FOOTER_DATA);
    u8 h[HEADER];

    if (at % 512 || at > img->file->size || img->file->size - at < HEADER)
        return image_fail(img, HV_ECORRUPT, "its header at %llu is not in the file", (ull)at);
    enum hv_status status = image_read(img, at, h, sizeof(h));
    if (status != HV_OK)
        return status;
    if (memcmp(h, "cxsparse", 8) ||
        be32(h + HEADER_CHECKSUM) != checksum(h, HEADER, HEADER_CHECKSUM))
        return image_fail(img, HV_ECORRUPT, "no valid header at %llu", (ull)at);
    v->block = be32(h + HEADER_BLOCK);
    v->entries = be32(h + HEADER_ENTRIES);
    v->table_at = be64(h + HEADER_TABLE);
    if (v->block < 4096 || v->block > 256 * MIB || (v->block & (v->block - 1)))
        return image_fail(img, HV_ENOSYS, "blocks of %u bytes", v->block);
    if (v->entries > BLOCKS_MAX || (u64)v->entries * v->block < img->size)
        return image_fail(img, HV_ECORRUPT, "%u blocks for %llu bytes", v->entries, (ull)img->size);
    v->bitmap = ROUND_UP(v->block / 512 / 8, 512u);
    if (v->table_at % 512 || v->table_at < FOOTER || v->table_at > img->file->size ||
        v->entries * 4ull > img->file->size - v->table_at)
        return image_fail(img, HV_ECORRUPT, "its block table at %llu is not in the file",
                          (ull)v->table_at);
    memcpy(img->parent_id, h + HEADER_PARENT, 16);
    if (v->type == VHD_DIFFERENCING) /* UTF-16; what is not ASCII is shown as ? */
        for (u32 i = 0; i < 256 && be16(h + HEADER_PARENT_NAME + 2 * i); i++) {
            u16 c = be16(h + HEADER_PARENT_NAME + 2 * i);
            img->parent_hint[i] = c >= ' ' && c < 127 ? (char)c : '?';
        }
    return HV_OK;
}

static enum hv_status load_table(struct image *img)
{
    struct vhd *v = img->priv;
    u64 *places = malloc(v->entries * 8ull + 8), last = img->end;
    enum hv_status status;

    v->table = malloc(v->entries * 4ull + 4);
    status =
        v->table && places ? image_read(img, v->table_at, v->table, v->entries * 4ull) : HV_ENOMEM;
    for (u32 i = 0; i < v->entries && status == HV_OK; i++) {
        v->table[i] = be32(&v->table[i]);
        places[i] = ~0ull;
        if (v->table[i] == NOWHERE)
            continue;
        places[i] = v->table[i] * 512ull;
        u64 end = places[i] + v->bitmap + v->block;
        bool over = places[i] < v->table_at + v->entries * 4ull && end > v->table_at;
        if (places[i] < FOOTER + HEADER || over || places[i] + v->bitmap >= img->file->size)
            status =
                image_fail(img, HV_ECORRUPT, "block %u is said to be at %llu, not a place for it",
                           i, (ull)places[i]);
        last = MAX(last, end);
    }
    if (status == HV_OK)
        status = image_check_overlap(img, places, v->entries, v->bitmap + v->block, ~0ull);
    free(places);
    img->end = last;
    return status;
}

static enum hv_status vhd_open(struct image *img)
{
    static const char *const names[] = {"?", "?", "fixed", "dynamic", "differencing"};
    struct vhd *v = calloc(1, sizeof(*v));

    img->priv = v;
    if (!v)
        return HV_ENOMEM;
    enum hv_status status = read_footer(img);
    if (status != HV_OK)
        return status;
    v->type = be32(v->footer + FOOTER_TYPE);
    img->size = disk_size(v->footer);
    memcpy(img->id, v->footer + FOOTER_UUID, 16);
    if (v->type < VHD_FIXED || v->type > VHD_DIFFERENCING)
        return image_fail(img, HV_ENOSYS, "images of type %u, at 60 of the footer", v->type);
    if (be32(v->footer + FOOTER_VERSION) >> 16 != 1)
        return image_fail(img, HV_ENOSYS, "version %x", be32(v->footer + FOOTER_VERSION));
    if (!img->size || img->size > SIZE_MAX_VHD || img->size % 512)
        return image_fail(img, HV_ECORRUPT, "a disk of %llu bytes, at 48 of the footer",
                          (ull)img->size);
    img->wants_parent = v->type == VHD_DIFFERENCING;
    if (v->type == VHD_FIXED) {
        if (img->size > img->end)
            return image_fail(img, HV_ECORRUPT, "a disk of %llu bytes in a file of %llu",
                              (ull)img->size, (ull)img->file->size);
        img->unit = MIB;
        img->end = img->file->size;
    } else {
        status = read_header(img);
        if (status == HV_OK)
            status = load_table(img);
        img->unit = v->type == VHD_DIFFERENCING ? 512 : v->block;
    }
    snprintf(img->note, sizeof(img->note), "%s", names[v->type]);
    return status;
}

static void vhd_release(struct image *img)
{
    struct vhd *v = img->priv;

    if (v)
        free(v->table);
    free(v);
}

/* How many sectors from `first` on, at most `count`, have the same bit in a block's bitmap. */
static enum hv_status bitmap_run(struct image *img, u64 bitmap_at, u32 first, u32 count, bool *set,
                                 u32 *run)
{
    u8 bits[512];
    enum hv_status status = HV_OK;

    for (u32 n = 0; n < count; n++) {
        u32 sector = first + n;

        if (!n || sector % 4096 == 0)
            status = meta_read(&img->meta, bitmap_at + sector / 4096 * 512, bits, 512);
        if (status != HV_OK)
            return status;
        bool bit = bits[sector % 4096 / 8] & 0x80 >> sector % 8;
        if (!n)
            *set = bit;
        else if (bit != *set)
            break;
        *run = n + 1;
    }
    return status;
}

static enum hv_status vhd_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    struct vhd *v = img->priv;

    *e = (struct image_extent){IMAGE_DATA, offset, length};
    if (v->type == VHD_FIXED)
        return HV_OK;
    u64 within = offset % v->block;
    u32 entry = v->table[offset / v->block], run = 0;
    bool set = true;
    enum hv_status status = HV_OK;

    e->length = length = MIN(length, v->block - within);
    e->kind = entry == NOWHERE ? IMAGE_HOLE : IMAGE_DATA;
    e->at = entry == NOWHERE ? 0 : entry * 512ull + v->bitmap + within;
    /* In a dynamic disk the bitmap says nothing more: sectors without data are zeros there. */
    if (e->kind == IMAGE_DATA && v->type == VHD_DIFFERENCING) {
        status =
            bitmap_run(img, entry * 512ull, (u32)(within / 512), (u32)(length / 512), &set, &run);
        e->length = run * 512ull;
    }
    if (!set)
        *e = (struct image_extent){IMAGE_HOLE, 0, e->length};
    return status;
}

static enum hv_status put_entry(struct image *img, u64 block, u64 at)
{
    struct vhd *v = img->priv;
    u8 raw[4];

    v->table[block] = (u32)(at / 512);
    put_be32(raw, v->table[block]);
    return meta_write(&img->meta, META_ROOT, v->table_at + block * 4, raw, 4);
}

static enum hv_status vhd_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got)
{
    struct vhd *v = img->priv;
    u64 block = offset / v->block, within = offset % v->block, begin;
    enum hv_status status = HV_OK;

    if (v->type == VHD_FIXED)
        return HV_ENOSYS;
    *got = MIN(length, v->block - within);
    if (v->table[block] == NOWHERE) {
        status = image_append(img, v->bitmap + v->block, 4096, &begin);
        if (status == HV_OK && (begin + v->bitmap + v->block) / 512 >= NOWHERE)
            status = HV_ENOSPC;
        if (status != HV_OK)
            return status;
        /* A differencing block appears at once, with an empty bitmap: all is the parent's still. */
        if (v->type == VHD_DIFFERENCING) {
            status = meta_fill(&img->meta, META_TABLE, begin, 0, v->bitmap);
            if (status == HV_OK)
                status = put_entry(img, block, begin);
        }
    } else {
        begin = v->table[block] * 512ull;
    }
    *at = begin + v->bitmap + within;
    return status;
}

static enum hv_status vhd_link(struct image *img, u64 offset, u64 length, u64 at)
{
    struct vhd *v = img->priv;
    u64 block = offset / v->block, within = offset % v->block;
    u64 begin = at - within - v->bitmap;
    enum hv_status status = HV_OK;

    if (v->type != VHD_DIFFERENCING) {
        status = meta_fill(&img->meta, META_TABLE, begin, 0xff, v->bitmap);
        return status == HV_OK ? put_entry(img, block, begin) : status;
    }
    for (u64 s = within / 512; s < (within + length) / 512 && status == HV_OK; s++) {
        u64 left = (within + length) / 512 - s;
        u8 byte = 0xff;

        if (s % 8 == 0 && left >= 8) { /* whole bytes */
            u64 n = left / 8;
            status = meta_fill(&img->meta, META_TABLE, begin + s / 8, 0xff, n);
            s += n * 8 - 1;
            continue;
        }
        status = meta_read(&img->meta, begin + s / 8, &byte, 1);
        byte |= (u8)(0x80 >> s % 8);
        if (status == HV_OK)
            status = meta_write(&img->meta, META_TABLE, begin + s / 8, &byte, 1);
    }
    return status;
}

/* The footer back to where the file ends. */
static enum hv_status vhd_finish(struct image *img)
{
    struct vhd *v = img->priv;
    u64 at;

    if (v->type == VHD_FIXED)
        return HV_OK;
    img->end = ROUND_UP(img->end, 512ull);
    enum hv_status status = image_append(img, FOOTER, 512, &at);
    return status == HV_OK ? disk_write(img->file, at, v->footer, FOOTER) : status;
}

/* ---- growing -----------------------------------------------------------------------------------
 */

/* "CHS Calculation" of the specification. */
static void geometry(u8 *f, u64 sectors);

static void set_size(u8 *f, u64 size)
{
    put_be64(f + FOOTER_SIZE, size);
    geometry(f, size / 512);
    if (!memcmp(f + FOOTER_CREATOR, "vpc ", 4) || !memcmp(f + FOOTER_CREATOR, "vs  ", 4))
        memcpy(f + FOOTER_CREATOR, "win ", 4); /* of theirs the geometry would count */
    put_be32(f + FOOTER_CHECKSUM, checksum(f, FOOTER, FOOTER_CHECKSUM));
}

/* The file grows with the write of its new footer; the old one is there until then. */
static enum hv_status grow_fixed(struct image *img, u64 size)
{
    struct vhd *v = img->priv;
    static const u8 zeros[FOOTER];
    u64 last = (img->file->size - FOOTER) & ~511ull, at = MAX(size, last);

    set_size(v->footer, size);
    enum hv_status status = disk_write(img->file, at, v->footer, FOOTER);
    if (status == HV_OK)
        status = disk_flush(img->file);
    if (status == HV_OK && at > last)
        status = disk_write(img->file, last, zeros, FOOTER);
    img->end = img->file->size;
    return status;
}

/* A larger table behind the blocks, then the header that names it, then the size.  The footer at
 * the file's end is gone by then, since the file has grown: until the image is closed the copy at
 * its start counts. */
static enum hv_status move_table(struct image *img, u32 entries)
{
    struct vhd *v = img->priv;
    u64 header_at = be64(v->footer + FOOTER_DATA), bytes = ROUND_UP(entries * 4ull, 512ull), at;
    u32 *table = realloc(v->table, bytes);
    u8 *raw = malloc(bytes), h[HEADER];
    enum hv_status status = HV_ENOMEM;

    v->table = table ? table : v->table;
    if (table && raw) {
        for (u32 i = v->entries; i < bytes / 4; i++)
            table[i] = NOWHERE;
        for (u32 i = 0; i < bytes / 4; i++)
            put_be32(raw + i * 4, table[i]);
        status = image_append(img, bytes, 4096, &at);
    }
    if (status == HV_OK)
        status = disk_write(img->file, at, raw, bytes);
    free(raw);
    if (status == HV_OK)
        status = disk_flush(img->file);
    if (status == HV_OK)
        status = image_read(img, header_at, h, sizeof(h));
    if (status != HV_OK)
        return status;
    put_be64(h + HEADER_TABLE, at);
    put_be32(h + HEADER_ENTRIES, entries);
    put_be32(h + HEADER_CHECKSUM, checksum(h, HEADER, HEADER_CHECKSUM));
    status = disk_write(img->file, header_at, h, 512); /* all that has changed: one sector */
    if (status != HV_OK)
        return status;
    v->table_at = at;
    v->entries = entries;
    return disk_flush(img->file);
}

static enum hv_status vhd_resize(struct image *img, u64 size)
{
    struct vhd *v = img->priv;
    u64 entries = v->block ? (size + v->block - 1) / v->block : 0;

    if (size < img->size || size > SIZE_MAX_VHD || entries > BLOCKS_MAX)
        return image_fail(img, HV_ENOSYS, "no VHD image can be of that size");
    if (v->type == VHD_FIXED)
        return grow_fixed(img, size);
    enum hv_status status = move_table(img, MAX((u32)entries, v->entries));
    meta_forget(&img->meta, 0, META_BLOCK);
    if (status != HV_OK)
        return status;
    set_size(v->footer, size);
    return disk_write(img->file, 0, v->footer, FOOTER);
}

static enum hv_status vhd_check(struct image *img, u64 *problems)
{
    (void)img, (void)problems; /* all that can be wrong was checked by open */
    return HV_OK;
}

/* ---- create ------------------------------------------------------------------------------------
 */

static void geometry(u8 *f, u64 sectors)
{
    u32 cylinders_heads, heads, per_track;

    sectors = MIN(sectors, 65535ull * 16 * 255);
    if (sectors >= 65535ull * 16 * 63) {
        per_track = 255;
        heads = 16;
        cylinders_heads = (u32)(sectors / per_track);
    } else {
        per_track = 17;
        cylinders_heads = (u32)(sectors / per_track);
        heads = MAX((cylinders_heads + 1023) / 1024, 4u);
        if (cylinders_heads >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
            cylinders_heads = (u32)(sectors / per_track);
        }
        if (cylinders_heads >= heads * 1024) {
            per_track = 63;
            heads = 16;
            cylinders_heads = (u32)(sectors / per_track);
        }
    }
    put_be16(f + FOOTER_CYLINDERS, (u16)(cylinders_heads / heads));
    f[FOOTER_HEADS] = (u8)heads;
    f[FOOTER_SECTORS] = (u8)per_track;
}

static void make_footer(u8 *f, const struct image_options *o, enum vhd_type type)
{
    memcpy(f, "conectix", 8);
    put_be32(f + FOOTER_FEATURES, 2);
    put_be32(f + FOOTER_VERSION, 0x10000);
    put_be64(f + FOOTER_DATA, type == VHD_FIXED ? ~0ull : FOOTER);
    memcpy(f + FOOTER_CREATOR, "win ", 4); /* readers take the size field of this creator */
    put_be32(f + FOOTER_CREATOR + 4, 0x60001);
    memcpy(f + FOOTER_CREATOR_OS, "Wi2k", 4);
    put_be64(f + FOOTER_ORIGINAL, o->size);
    put_be64(f + FOOTER_SIZE, o->size);
    geometry(f, o->size / 512);
    put_be32(f + FOOTER_TYPE, type);
    memcpy(f + FOOTER_UUID, o->id, 16);
    put_be32(f + FOOTER_CHECKSUM, checksum(f, FOOTER, FOOTER_CHECKSUM));
}

static void make_header(u8 *h, const struct image_options *o, u32 entries, u32 block)
{
    memcpy(h, "cxsparse", 8);
    put_be64(h + HEADER_DATA, ~0ull);
    put_be64(h + HEADER_TABLE, FOOTER + HEADER);
    put_be32(h + HEADER_VERSION, 0x10000);
    put_be32(h + HEADER_ENTRIES, entries);
    put_be32(h + HEADER_BLOCK, block);
    if (o->parent)
        memcpy(h + HEADER_PARENT, o->parent->id, 16);
    if (o->parent && o->parent_name)
        for (u32 i = 0; i < 255 && o->parent_name[i]; i++)
            put_be16(h + HEADER_PARENT_NAME + 2 * i, (u8)o->parent_name[i]);
    put_be32(h + HEADER_CHECKSUM, checksum(h, HEADER, HEADER_CHECKSUM));
}

static enum hv_status create_dynamic(struct disk *file, const struct image_options *o,
                                     const u8 *footer)
{
    u32 block = o->unit ? o->unit : (u32)(2 * MIB);
    u64 entries = (o->size + block - 1) / block, table = ROUND_UP(entries * 4, 512ull);
    u64 total = FOOTER + HEADER + table;
    u8 *all = malloc(total + FOOTER);
    enum hv_status status;

    if (!all)
        return HV_ENOMEM;
    memset(all, 0, FOOTER + HEADER);
    memset(all + FOOTER + HEADER, 0xff, table);
    memcpy(all, footer, FOOTER);
    make_header(all + FOOTER, o, (u32)entries, block);
    memcpy(all + total, footer, FOOTER);
    status = disk_write(file, 0, all, total + FOOTER);
    free(all);
    return status;
}

static enum hv_status vhd_create(struct disk *file, const struct image_options *o,
                                 char error[IMAGE_ERROR_MAX])
{
    bool fixed = o->kind && !strcmp(o->kind, "fixed") && !o->parent;
    enum vhd_type type = o->parent ? VHD_DIFFERENCING : fixed ? VHD_FIXED : VHD_DYNAMIC;
    u8 footer[FOOTER] = {0};
    enum hv_status status;

    if (!o->size || o->size > SIZE_MAX_VHD || o->size % 512 ||
        (o->unit && (o->unit < 4096 || o->unit & (o->unit - 1)))) {
        snprintf(error, IMAGE_ERROR_MAX, "no VHD image can be of this size and block size");
        return HV_EINVAL;
    }
    make_footer(footer, o, type);
    if (!fixed)
        return create_dynamic(file, o, footer);
    status = disk_resize(file, o->size + FOOTER);
    return status == HV_OK ? disk_write(file, o->size, footer, FOOTER) : status;
}

const struct image_format vhd_format = {
    .name = "vhd",
    .can_create = true,
    .can_write = true,
    .can_parent = true,
    .kinds = "dynamic|fixed",
    .create = vhd_create,
    .open = vhd_open,
    .map = vhd_map,
    .alloc = vhd_alloc,
    .link = vhd_link,
    .finish = vhd_finish,
    .resize = vhd_resize,
    .check = vhd_check,
    .release = vhd_release,
};
