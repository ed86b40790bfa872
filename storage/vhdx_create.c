/* Empty VHDX images: file identifier, headers, regions, metadata, block table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/vhdx.h"

#define LOG_AT MIB
#define METADATA_AT (2 * MIB)
#define TABLE_AT (3 * MIB)
#define ITEMS_AT (64 * KIB) /* in the metadata region */

struct items { /* being put together */
    u8 *region;
    u32 count, at;
};

static void add_item(struct items *t, const u8 *guid, const void *data, u32 len, u32 flags)
{
    u8 *e = t->region + 32 + t->count++ * 32;

    memcpy(e, guid, 16);
    put_le32(e + 16, t->at);
    put_le32(e + 20, len);
    put_le32(e + 24, flags);
    memcpy(t->region + t->at, data, len);
    t->at += ROUND_UP(len, 8u);
}

static u32 put_utf16(u8 *at, const char *text)
{
    u32 n = 0;

    for (; text[n]; n++)
        put_le16(at + 2 * n, (u8)text[n]);
    return 2 * n;
}

/* Section 2.6.2.6: the parent is known by its DataWriteGuid. */
static u32 make_locator(u8 *l, const struct image_options *o)
{
    static const u8 type[16] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                                0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};
    const u8 *g = o->parent->id;
    char guid[48];
    u32 at = 20 + 2 * 12;
    const char *pairs[2][2] = {{"parent_linkage", guid},
                               {"relative_path", o->parent_name ? o->parent_name : ""}};

    snprintf(guid, sizeof(guid), "{%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}", le32(g),
             le16(g + 4), le16(g + 6), g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
    memcpy(l, type, 16);
    put_le16(l + 18, 2);
    for (u32 i = 0; i < 2; i++) {
        u8 *e = l + 20 + i * 12;
        u32 len = put_utf16(l + at, pairs[i][0]);

        put_le32(e, at);
        put_le16(e + 8, (u16)len);
        at += len;
        len = put_utf16(l + at, pairs[i][1]);
        put_le32(e + 4, at);
        put_le16(e + 10, (u16)len);
        at += len;
    }
    return at;
}

static void make_metadata(u8 *region, const struct image_options *o, u32 block, bool fixed)
{
    struct items t = {region, 0, ITEMS_AT};
    u8 file[8], size[8], sector[4], *locator = calloc(1, 8192);
    const u32 required = 4, virtual_disk = 2;

    memcpy(region, "metadata", 8);
    put_le32(file, block);
    put_le32(file + 4, (fixed ? 1u : 0u) | (o->parent ? 2u : 0u));
    put_le64(size, o->size);
    put_le32(sector, 512);
    add_item(&t, vhdx_guid_file, file, 8, required);
    add_item(&t, vhdx_guid_size, size, 8, required | virtual_disk);
    add_item(&t, vhdx_guid_page83, o->id, 16, required | virtual_disk);
    add_item(&t, vhdx_guid_logical, sector, 4, required | virtual_disk);
    put_le32(sector, 4096);
    add_item(&t, vhdx_guid_physical, sector, 4, required | virtual_disk);
    if (o->parent && locator)
        add_item(&t, vhdx_guid_locator, locator, make_locator(locator, o), required);
    put_le16(region + 10, (u16)t.count);
    free(locator);
}

static void make_regions(u8 *r, u32 table_length)
{
    const struct {
        const u8 *guid;
        u64 at;
        u32 length;
    } rows[] = {{vhdx_guid_table, TABLE_AT, table_length}, {vhdx_guid_metadata, METADATA_AT, MIB}};

    memset(r, 0, VHDX_REGION_SIZE);
    memcpy(r, "regi", 4);
    put_le32(r + 8, 2);
    for (u32 i = 0; i < 2; i++) {
        u8 *e = r + 16 + i * 32;

        memcpy(e, rows[i].guid, 16);
        put_le64(e + 16, rows[i].at);
        put_le32(e + 24, rows[i].length);
        put_le32(e + 28, 1);
    }
    put_le32(r + 4, vhdx_checksum(r, VHDX_REGION_SIZE));
}

static void make_header(u8 *h, u64 sequence, const u8 *id)
{
    memset(h, 0, VHDX_HEADER_SIZE);
    memcpy(h, "head", 4);
    put_le64(h + VHDX_SEQUENCE, sequence);
    memcpy(h + VHDX_FILE_GUID, id, 16);
    memcpy(h + VHDX_DATA_GUID, id, 16);
    put_le16(h + VHDX_VERSION, 1);
    put_le32(h + VHDX_LOG_LENGTH, MIB);
    put_le64(h + VHDX_LOG_OFFSET, LOG_AT);
    put_le32(h + VHDX_CHECKSUM, vhdx_checksum(h, VHDX_HEADER_SIZE));
}

/* All blocks in their order, and where the bitmaps' entries are, nothing. */
static enum hv_status make_fixed(struct disk *file, u64 blocks, u32 block, u64 chunk, u64 table)
{
    u64 data_at = TABLE_AT + table;
    u8 *entries = calloc(1, table);
    enum hv_status status = HV_ENOMEM;

    for (u64 i = 0; entries && i < blocks; i++)
        put_le64(entries + (i + i / chunk) * 8, (data_at + i * block) | VHDX_PRESENT);
    if (entries)
        status = disk_resize(file, data_at + blocks * block);
    if (status == HV_OK)
        status = disk_write(file, TABLE_AT, entries, table);
    free(entries);
    return status;
}

enum hv_status vhdx_create(struct disk *file, const struct image_options *o,
                           char error[IMAGE_ERROR_MAX])
{
    u32 block = o->unit ? o->unit : (u32)(16 * MIB);
    bool fixed = o->kind && !strcmp(o->kind, "fixed") && !o->parent;
    u64 blocks = (o->size + block - 1) / block, chunk = (1ull << 32) / block;
    u64 table = ROUND_UP((blocks / chunk + 1) * (chunk + 1) * 8, MIB);
    u8 *all;

    if (!o->size || o->size % 512 || o->size > IMAGE_SIZE_MAX || block < MIB || block > 256 * MIB ||
        block & (block - 1) || table > GIB) {
        snprintf(error, IMAGE_ERROR_MAX, "no VHDX image can be of this size and block size");
        return HV_EINVAL;
    }
    if (!(all = calloc(1, TABLE_AT)))
        return HV_ENOMEM;
    memcpy(all, "vhdxfile", 8);
    put_utf16(all + 8, "Bulkhead");
    make_header(all + VHDX_HEADER1, 1, o->id);
    make_header(all + VHDX_HEADER2, 2, o->id);
    make_regions(all + VHDX_REGION1, (u32)table);
    make_regions(all + VHDX_REGION2, (u32)table);
    make_metadata(all + METADATA_AT, o, block, fixed);
    enum hv_status status = disk_resize(file, TABLE_AT + table);
    if (status == HV_OK)
        status = disk_write(file, 0, all, TABLE_AT);
    free(all);
    if (status == HV_OK && fixed)
        status = make_fixed(file, blocks, block, chunk, table);
    return status;
}

/* ---- growing -----------------------------------------------------------------------------------
 */

#define PIECE 32u /* blocks of metadata in one entry of the log */

/* What the table has beyond the old end may be anything: nothing is there yet, or in a fixed image
 * new blocks of zeros. */
static enum hv_status new_entry(struct image *img, u64 index)
{
    struct vhdx *v = img->priv;
    bool bitmap = index % (v->chunk + 1) == v->chunk;
    u64 at = 0;
    enum hv_status status = HV_OK;

    if (v->fixed && !bitmap) {
        status = image_append(img, v->block, MIB, &at);
        if (status == HV_OK)
            status = disk_zero(img->file, at, v->block);
        at |= VHDX_PRESENT;
    }
    if (status == HV_OK)
        status = vhdx_put_entry(img, index, at);
    if (status == HV_OK && meta_dirty(&img->meta) > PIECE)
        status = vhdx_commit(img);
    return status;
}

/* As far as the table has room: ours have it for 2 TiB.  The size is the last to change. */
enum hv_status vhdx_resize(struct image *img, u64 size)
{
    struct vhdx *v = img->priv;
    u64 entries = vhdx_entries(v, (size + v->block - 1) / v->block);
    u8 raw[8];

    if (size < img->size || size % v->sector || !v->size_at)
        return image_fail(img, HV_ENOSYS, "it cannot get that size");
    if (entries * 8 > v->table_length)
        return image_fail(img, HV_ENOSYS, "its table has room for %llu blocks of %u MiB",
                          (unsigned long long)v->table_length / 8, v->block >> 20);
    u64 *table = realloc(v->table, entries * 8);
    if (!table)
        return HV_ENOMEM;
    v->table = table;
    enum hv_status status = HV_OK;
    for (; v->entries < entries && status == HV_OK; v->entries++)
        status = new_entry(img, v->entries);
    if (status == HV_OK)
        status = vhdx_commit(img);
    put_le64(raw, size);
    return status == HV_OK ? meta_write(&img->meta, META_TABLE, v->size_at, raw, 8) : status;
}
