/* VHDX: headers, regions, metadata items, the block table.  Called by the engine. */
#include "storage/vhdx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"

typedef unsigned long long ull;

/* GUIDs as they lie in the file: the first three parts little-endian. */
const u8 vhdx_guid_table[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const u8 vhdx_guid_metadata[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                   0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
const u8 vhdx_guid_file[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                               0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
const u8 vhdx_guid_size[16] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                               0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
const u8 vhdx_guid_page83[16] = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                                 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
const u8 vhdx_guid_logical[16] = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                  0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
const u8 vhdx_guid_physical[16] = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                   0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
const u8 vhdx_guid_locator[16] = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45,
                                  0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};

u32 vhdx_checksum(const u8 *at, u32 len)
{
    static const u8 zeros[4];
    u32 crc = crc32c(0, at, 4);

    crc = crc32c(crc, zeros, 4);
    return crc32c(crc, at + 8, len - 8);
}

/* ---- headers -----------------------------------------------------------------------------------
 */

static enum hv_status read_header(struct image *img)
{
    struct vhdx *v = img->priv;
    u8 h[2][VHDX_HEADER_SIZE], signature[8];
    bool valid[2];
    enum hv_status status = image_read(img, 0, signature, 8);

    for (u32 i = 0; i < 2 && status == HV_OK; i++) {
        status = image_read(img, i ? VHDX_HEADER2 : VHDX_HEADER1, h[i], sizeof(h[i]));
        valid[i] = !memcmp(h[i], "head", 4) &&
                   le32(h[i] + VHDX_CHECKSUM) == vhdx_checksum(h[i], sizeof(h[i]));
    }
    if (status != HV_OK)
        return status;
    if (memcmp(signature, "vhdxfile", 8))
        return image_fail(img, HV_ECORRUPT, "it does not begin as a VHDX image does");
    if (!valid[0] && !valid[1])
        return image_fail(img, HV_ECORRUPT, "neither header, at 64 KiB and 128 KiB, is valid");
    v->current = !valid[0] || (valid[1] && le64(h[1] + VHDX_SEQUENCE) > le64(h[0] + VHDX_SEQUENCE));
    memcpy(v->header, h[v->current], sizeof(v->header));
    v->log_at = le64(v->header + VHDX_LOG_OFFSET);
    v->log_length = le32(v->header + VHDX_LOG_LENGTH);
    if (le16(v->header + VHDX_VERSION) != 1 || le16(v->header + VHDX_LOG_VERSION))
        return image_fail(img, HV_ENOSYS, "version %u", le16(v->header + VHDX_VERSION));
    if (v->log_at % MIB || v->log_at < MIB || v->log_length % MIB || !v->log_length ||
        v->log_length > VHDX_LOG_MAX || v->log_at > img->file->size ||
        v->log_length > img->file->size - v->log_at)
        return image_fail(img, HV_ECORRUPT, "its log at %llu is not in the file", (ull)v->log_at);
    memcpy(img->id, v->header + VHDX_DATA_GUID, 16);
    return HV_OK;
}

enum hv_status vhdx_put_header(struct image *img)
{
    struct vhdx *v = img->priv;

    put_le64(v->header + VHDX_SEQUENCE, le64(v->header + VHDX_SEQUENCE) + 1);
    put_le32(v->header + VHDX_CHECKSUM, vhdx_checksum(v->header, sizeof(v->header)));
    enum hv_status status = disk_write(img->file, v->current ? VHDX_HEADER1 : VHDX_HEADER2,
                                       v->header, sizeof(v->header));
    if (status == HV_OK)
        status = disk_flush(img->file);
    v->current ^= status == HV_OK;
    return status;
}

/* ---- regions and metadata ----------------------------------------------------------------------
 */

static bool region_fits(const struct image *img, u64 at, u64 length)
{
    const struct vhdx *v = img->priv;

    return at % MIB == 0 && at >= MIB && length % MIB == 0 && length && at <= img->file->size &&
           length <= img->file->size - at &&
           (at >= v->log_at + v->log_length || at + length <= v->log_at);
}

static enum hv_status read_regions(struct image *img)
{
    struct vhdx *v = img->priv;
    u8 *r = malloc(VHDX_REGION_SIZE);
    enum hv_status status = r ? HV_OK : HV_ENOMEM;
    bool valid = false;

    for (u32 i = 0; i < 2 && status == HV_OK && !valid; i++) {
        status = meta_read(&img->meta, i ? VHDX_REGION2 : VHDX_REGION1, r, VHDX_REGION_SIZE);
        valid = !memcmp(r, "regi", 4) && le32(r + 8) <= 2047 &&
                le32(r + 4) == vhdx_checksum(r, VHDX_REGION_SIZE);
    }
    if (status == HV_OK && !valid)
        status = image_fail(img, HV_ECORRUPT, "no valid region table at 192 KiB or 256 KiB");
    for (u32 i = 0; status == HV_OK && i < le32(r + 8); i++) {
        const u8 *e = r + 16 + i * 32;
        u64 at = le64(e + 16), length = le32(e + 24);
        bool table = !memcmp(e, vhdx_guid_table, 16), meta = !memcmp(e, vhdx_guid_metadata, 16);

        if (!table && !meta && (le32(e + 28) & 1))
            status = image_fail(img, HV_ENOSYS, "a required region of an unknown kind");
        else if ((table || meta) && !region_fits(img, at, length))
            status = image_fail(img, HV_ECORRUPT, "a region at %llu is not in the file", (ull)at);
        if (table) {
            v->table_at = at;
            v->table_length = (u32)length;
        } else if (meta) {
            v->metadata_at = at;
            v->metadata_length = (u32)length;
        }
    }
    free(r);
    if (status == HV_OK && (!v->table_at || !v->metadata_at ||
                            (v->table_at < v->metadata_at + v->metadata_length &&
                             v->metadata_at < v->table_at + v->table_length)))
        status = image_fail(img, HV_ECORRUPT, "block table or metadata are missing or overlap");
    return status;
}

/* "{12345678-1234-...}" in UTF-16 to the form in the file. */
static void read_guid(const u8 *text, u32 len, u8 out[16])
{
    static const u8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    u32 digits = 0;

    for (u32 i = 0; i + 1 < len && digits < 32; i += 2) {
        u16 c = le16(text + i);
        u32 value = 99;

        if (c >= '0' && c <= '9')
            value = c - (u32)'0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            value = (c | 32) - (u32)'a' + 10;
        if (value > 15)
            continue;
        out[order[digits / 2]] = (u8)(out[order[digits / 2]] << 4 | value);
        digits++;
    }
}

/* Section 2.6.2.6: keys and values in UTF-16, by offset in the item. */
static enum hv_status read_locator(struct image *img, u64 at, u32 length)
{
    u8 *l = length >= 20 && length <= MIB ? malloc(length) : NULL;

    if (!l)
        return image_fail(img, HV_ECORRUPT, "a parent locator of %u bytes", length);
    enum hv_status status = meta_read(&img->meta, at, l, length);
    u32 count = status == HV_OK ? le16(l + 18) : 0;
    for (u32 i = 0; i < count && 20 + (i + 1) * 12 <= length; i++) {
        const u8 *e = l + 20 + i * 12;
        u32 key = le32(e), value = le32(e + 4), key_len = le16(e + 8), value_len = le16(e + 10);
        char name[32] = "";

        if (key > length || key_len > length - key || value > length || value_len > length - value)
            continue;
        for (u32 n = 0; n < key_len / 2 && n < sizeof(name) - 1; n++)
            name[n] = (char)l[key + 2 * n];
        if (!strcmp(name, "parent_linkage"))
            read_guid(l + value, value_len, img->parent_id);
        if (strcmp(name, "relative_path"))
            continue;
        for (u32 n = 0; n < value_len / 2 && n < IMAGE_HINT_MAX - 1; n++) {
            u16 c = le16(l + value + 2 * n);
            img->parent_hint[n] = c >= ' ' && c < 127 ? (char)c : '?';
        }
    }
    free(l);
    return status;
}

static enum hv_status read_item(struct image *img, const u8 *entry)
{
    struct vhdx *v = img->priv;
    u32 offset = le32(entry + 16), length = le32(entry + 20), flags = le32(entry + 24);
    u64 at = v->metadata_at + offset;
    u8 raw[8] = {0};
    enum hv_status status;

    if (offset > v->metadata_length || length > v->metadata_length - offset)
        return image_fail(img, HV_ECORRUPT, "a metadata item at %llu", (ull)at);
    status = meta_read(&img->meta, at, raw, MIN(length, 8));
    if (status != HV_OK)
        return status;
    if (!memcmp(entry, vhdx_guid_file, 16)) {
        v->block = le32(raw);
        v->fixed = raw[4] & 1;
        v->parent = raw[4] & 2;
    } else if (!memcmp(entry, vhdx_guid_size, 16)) {
        img->size = le64(raw);
        v->size_at = at;
    } else if (!memcmp(entry, vhdx_guid_logical, 16)) {
        v->sector = le32(raw);
    } else if (!memcmp(entry, vhdx_guid_locator, 16)) {
        return read_locator(img, at, length);
    } else if (memcmp(entry, vhdx_guid_page83, 16) && memcmp(entry, vhdx_guid_physical, 16) &&
               (flags & 4)) {
        return image_fail(img, HV_ENOSYS, "a required metadata item of an unknown kind");
    }
    return HV_OK;
}

static enum hv_status read_metadata(struct image *img)
{
    struct vhdx *v = img->priv;
    u8 head[32], entry[32];
    enum hv_status status = meta_read(&img->meta, v->metadata_at, head, sizeof(head));
    u32 count = le16(head + 10);

    if (status == HV_OK && (memcmp(head, "metadata", 8) || count > 2047))
        return image_fail(img, HV_ECORRUPT, "no metadata table at %llu", (ull)v->metadata_at);
    for (u32 i = 0; i < count && status == HV_OK; i++) {
        status = meta_read(&img->meta, v->metadata_at + 32 + i * 32, entry, sizeof(entry));
        if (status == HV_OK)
            status = read_item(img, entry);
    }
    if (status != HV_OK)
        return status;
    if (v->block < MIB || v->block > 256 * MIB || (v->block & (v->block - 1)))
        return image_fail(img, HV_ECORRUPT, "blocks of %u bytes", v->block);
    if (v->sector != 512 && v->sector != 4096)
        return image_fail(img, HV_ECORRUPT, "sectors of %u bytes", v->sector);
    if (!img->size || img->size > IMAGE_SIZE_MAX || img->size % v->sector)
        return image_fail(img, HV_ECORRUPT, "a disk of %llu bytes", (ull)img->size);
    return HV_OK;
}

/* ---- the block table ---------------------------------------------------------------------------
 */

/* A bitmap entry follows each chunk of payload entries (section 2.5). */
static u64 entry_of(const struct vhdx *v, u64 block)
{
    return block + block / v->chunk;
}

static u64 bitmap_entry_of(const struct vhdx *v, u64 block)
{
    return (block / v->chunk + 1) * (v->chunk + 1) - 1;
}

u64 vhdx_entries(const struct vhdx *v, u64 blocks)
{
    return v->parent ? bitmap_entry_of(v, blocks - 1) + 1 : entry_of(v, blocks - 1) + 1;
}

static u64 place(u64 entry)
{
    return entry & BITS(63, 20);
}

static enum hv_status load_table(struct image *img)
{
    struct vhdx *v = img->priv;
    u64 blocks = (img->size + v->block - 1) / v->block, last = MIB;
    u64 *places;
    enum hv_status status;

    v->chunk = (1ull << 23) * v->sector / v->block;
    v->entries = vhdx_entries(v, blocks);
    if (v->entries * 8 > v->table_length)
        return image_fail(img, HV_ECORRUPT, "%llu blocks in a table of %u bytes", (ull)blocks,
                          v->table_length);
    v->table = malloc(v->entries * 8);
    places = malloc(v->entries * 8);
    status = v->table && places ? meta_read(&img->meta, v->table_at, v->table, v->entries * 8)
                                : HV_ENOMEM;
    for (u64 i = 0; i < v->entries && status == HV_OK; i++) {
        bool bitmap = i % (v->chunk + 1) == v->chunk;
        u64 entry = le64(&v->table[i]), length = bitmap ? MIB : v->block;
        u32 state = entry & 7;

        v->table[i] = entry;
        places[i] = ~0ull;
        if (state != VHDX_PRESENT && state != VHDX_PARTIAL)
            continue;
        if (state == VHDX_PARTIAL && (!v->parent || bitmap))
            status = image_fail(img, HV_ECORRUPT, "entry %llu of the block table", (ull)i);
        if (place(entry) < MIB || place(entry) >= img->file->size)
            status = image_fail(img, HV_ECORRUPT, "block %llu is said to be at %llu", (ull)i,
                                (ull)place(entry));
        places[i] = place(entry);
        last = MAX(last, place(entry) + length);
        if (places[i] < v->table_at + v->table_length && v->table_at < places[i] + length)
            status = image_fail(img, HV_ECORRUPT, "block %llu at %llu overlaps the block table",
                                (ull)i, (ull)places[i]);
    }
    /* Bitmap blocks are of 1 MiB only: what is checked is that no two begin too close for that. */
    if (status == HV_OK)
        status = image_check_overlap(img, places, v->entries, v->parent ? MIB : v->block, ~0ull);
    free(places);
    img->end = MAX(ROUND_UP(img->file->size, MIB), last);
    return status;
}

static enum hv_status vhdx_open(struct image *img)
{
    struct vhdx *v = calloc(1, sizeof(*v));

    img->priv = v;
    if (!v)
        return HV_ENOMEM;
    if (img->file->size < MIB)
        return image_fail(img, HV_ECORRUPT, "a file of %llu bytes", (ull)img->file->size);
    enum hv_status status = read_header(img);
    if (status == HV_OK)
        status = vhdx_replay(img);
    if (status == HV_OK)
        status = read_regions(img);
    if (status == HV_OK)
        status = read_metadata(img);
    if (status == HV_OK)
        status = load_table(img);
    if (status != HV_OK)
        return status;
    img->unit = v->parent ? v->sector : v->block;
    img->wants_parent = v->parent;
    snprintf(img->note, sizeof(img->note), "%s, blocks of %u MiB",
             v->parent  ? "differencing"
             : v->fixed ? "fixed"
                        : "dynamic",
             v->block >> 20);
    return HV_OK;
}

static void vhdx_release(struct image *img)
{
    struct vhdx *v = img->priv;

    if (v)
        free(v->table);
    free(v);
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

/* File offset of the byte of the bitmap that has the bit of a sector; least significant first. */
static u64 bitmap_byte(const struct vhdx *v, u64 offset)
{
    u64 block = offset / v->block;
    u64 sector = offset % (v->chunk * v->block) / v->sector;

    return place(v->table[bitmap_entry_of(v, block)]) + sector / 8;
}

static enum hv_status bitmap_run(struct image *img, u64 offset, u64 length, bool *set, u64 *run)
{
    struct vhdx *v = img->priv;

    for (*run = 0; *run < length; *run += v->sector) {
        u64 at = offset + *run;
        u8 byte;
        enum hv_status status = meta_read(&img->meta, bitmap_byte(v, at), &byte, 1);

        if (status != HV_OK)
            return status;
        bool bit = byte >> at / v->sector % 8 & 1;
        if (!*run)
            *set = bit;
        else if (bit != *set)
            break;
    }
    *run = MIN(*run, length);
    return HV_OK;
}

static enum hv_status vhdx_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    struct vhdx *v = img->priv;
    u64 block = offset / v->block, within = offset % v->block;
    u64 entry = v->table[entry_of(v, block)];
    u32 state = entry & 7;

    length = MIN(length, v->block - within);
    *e = (struct image_extent){IMAGE_HOLE, 0, length};
    if (state == VHDX_PRESENT) {
        *e = (struct image_extent){IMAGE_DATA, place(entry) + within, length};
    } else if (state == VHDX_PARTIAL) {
        bool set = false;
        u64 run, bitmap = v->table[bitmap_entry_of(v, block)];

        if ((bitmap & 7) != VHDX_PRESENT)
            return image_fail(img, HV_ECORRUPT, "block %llu has no bitmap", (ull)block);
        /* From the sector's start: this may ask for a part of one. */
        u64 skip = offset % v->sector;
        enum hv_status status = bitmap_run(img, offset - skip, length + skip, &set, &run);
        if (status != HV_OK)
            return status;
        e->length = MIN(run - skip, length);
        if (set) {
            e->kind = IMAGE_DATA;
            e->at = place(entry) + within;
        }
    } else if (state != VHDX_NOT_PRESENT) {
        e->kind = IMAGE_ZERO;
    }
    return HV_OK;
}

/* ---- changing ----------------------------------------------------------------------------------
 */

enum hv_status vhdx_put_entry(struct image *img, u64 index, u64 value)
{
    struct vhdx *v = img->priv;
    u8 raw[8];

    v->table[index] = value;
    put_le64(raw, value);
    return meta_write(&img->meta, META_TABLE, v->table_at + index * 8, raw, 8);
}

static enum hv_status vhdx_begin(struct image *img)
{
    struct vhdx *v = img->priv;

    image_new_id(v->header + VHDX_FILE_GUID);
    image_new_id(v->header + VHDX_DATA_GUID);
    image_new_id(v->header + VHDX_LOG_GUID);
    v->sequence = 0;
    enum hv_status status = vhdx_put_header(img);
    return status == HV_OK ? vhdx_put_header(img) : status;
}

/* A child's block appears at once, with all its bits clear: its sectors are still the parent's. */
static enum hv_status make_partial(struct image *img, u64 block, u64 at)
{
    struct vhdx *v = img->priv;
    u64 index = bitmap_entry_of(v, block), bitmap;
    enum hv_status status = HV_OK;

    if ((v->table[index] & 7) != VHDX_PRESENT) {
        status = image_append(img, MIB, MIB, &bitmap);
        if (status == HV_OK)
            status = disk_zero(img->file, bitmap, MIB);
        if (status == HV_OK)
            status = vhdx_put_entry(img, index, bitmap | VHDX_PRESENT);
    } else { /* bits that an earlier state of this block has left */
        u64 first = bitmap_byte(v, block * v->block);

        status = meta_fill(&img->meta, META_TABLE, first, 0, v->block / v->sector / 8);
    }
    return status == HV_OK ? vhdx_put_entry(img, entry_of(v, block), at | VHDX_PARTIAL) : status;
}

static enum hv_status vhdx_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got)
{
    struct vhdx *v = img->priv;
    u64 block = offset / v->block, within = offset % v->block;
    u64 entry = v->table[entry_of(v, block)];
    enum hv_status status = HV_OK;

    *got = MIN(length, v->block - within);
    if ((entry & 7) == VHDX_PARTIAL) {
        *at = place(entry) + within;
        return HV_OK;
    }
    status = image_append(img, v->block, MIB, at);
    /* A child's block of zeros does not become partly the parent's: it is taken whole. */
    if (status == HV_OK && v->parent) {
        if ((entry & 7) == VHDX_NOT_PRESENT)
            status = make_partial(img, block, *at);
        else
            status = disk_zero(img->file, *at, v->block);
        if (status == HV_OK && (entry & 7) != VHDX_NOT_PRESENT)
            status = vhdx_put_entry(img, entry_of(v, block), *at | VHDX_PRESENT);
    }
    *at += within;
    return status;
}

static enum hv_status vhdx_link(struct image *img, u64 offset, u64 length, u64 at)
{
    struct vhdx *v = img->priv;
    u64 block = offset / v->block;
    enum hv_status status = HV_OK;

    if (!v->parent)
        return vhdx_put_entry(img, entry_of(v, block), ROUND_DOWN(at, MIB) | VHDX_PRESENT);
    if ((v->table[entry_of(v, block)] & 7) == VHDX_PRESENT)
        return HV_OK;
    for (u64 n = 0; n < length && status == HV_OK; n += v->sector) {
        u64 place_at = bitmap_byte(v, offset + n);
        u8 byte;

        status = meta_read(&img->meta, place_at, &byte, 1);
        byte |= (u8)(1 << (offset + n) / v->sector % 8);
        if (status == HV_OK)
            status = meta_write(&img->meta, META_TABLE, place_at, &byte, 1);
    }
    return status;
}

/* The log is empty from now on: nothing is to be replayed. */
static enum hv_status vhdx_finish(struct image *img)
{
    struct vhdx *v = img->priv;

    memset(v->header + VHDX_LOG_GUID, 0, 16);
    img->end = ROUND_UP(img->end, MIB);
    enum hv_status status = vhdx_put_header(img);
    return status == HV_OK ? vhdx_put_header(img) : status;
}

static enum hv_status vhdx_check(struct image *img, u64 *problems)
{
    (void)img, (void)problems; /* all that can be wrong was checked by open */
    return HV_OK;
}

const struct image_format vhdx_format = {
    .name = "vhdx",
    .can_create = true,
    .can_write = true,
    .can_parent = true,
    .kinds = "dynamic|fixed",
    .create = vhdx_create,
    .open = vhdx_open,
    .map = vhdx_map,
    .begin = vhdx_begin,
    .alloc = vhdx_alloc,
    .link = vhdx_link,
    .commit = vhdx_commit,
    .finish = vhdx_finish,
    .resize = vhdx_resize,
    .check = vhdx_check,
    .release = vhdx_release,
};
