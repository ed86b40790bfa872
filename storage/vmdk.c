/* Sparse VMDK extents: header, embedded descriptor, grain directory (twice), grain tables, grains.
 * Called by the engine; vmdk_export() by `disk export`. */
#include "storage/vmdk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/unpack.h"

typedef unsigned long long ull;

#define HEADER 512u
#define SECTOR 512ull
#define AT_END (~0ull) /* of the grain directory: its place is in the footer */
#define GRAIN_ZERO 1u  /* table entry: zeros, if the header says that this is used */
#define ENTRIES_MAX (1u << 26)

enum vmdk_field { /* of the header, little-endian ("Hosted Sparse Extent Header") */
                  VMDK_MAGIC = 0,
                  VMDK_VERSION = 4,
                  VMDK_FLAGS = 8,
                  VMDK_CAPACITY = 12,
                  VMDK_GRAIN = 20,
                  VMDK_DESCRIPTOR = 28,
                  VMDK_DESCRIPTOR_SIZE = 36,
                  VMDK_ENTRIES = 44,
                  VMDK_SPARE_DIRECTORY = 48,
                  VMDK_DIRECTORY = 56,
                  VMDK_OVERHEAD = 64,
                  VMDK_UNCLEAN = 72,
                  VMDK_NEWLINES = 73,
                  VMDK_COMPRESSION = 77,
};

enum vmdk_flag {
    FLAG_NEWLINES = 1,
    FLAG_SPARE = 2,
    FLAG_ZEROS = 4,
    FLAG_COMPRESSED = 0x10000,
    FLAG_MARKERS = 0x20000,
};

enum vmdk_marker { MARKER_END, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER };

struct vmdk {
    u32 version, flags, entries; /* entries of one grain table */
    u64 tables;                  /* in the directory */
    u32 *directory, *spare;      /* sector numbers; spare: NULL if there is none */
    u64 directory_at, spare_at;
    u64 descriptor_at, descriptor_size;
    u32 cid;
    u8 *unpacked;
    u64 unpacked_at;
};

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
        u64 table = (*out)[i] * SECTOR;

        if ((*out)[i] && (table >= img->file->size || table < HEADER ||
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

    status = image_read(img, 0, h, MIN(HEADER, img->file->size));
    if (status == HV_OK && (h[0] == '#' || !memcmp(h, "version", 7)))
        return image_fail(img, HV_ENOSYS,
                          "it is the descriptor of a flat image: attach that as raw");
    if (status == HV_OK && img->file->size < HEADER)
        return image_fail(img, HV_ECORRUPT, "a file of %llu bytes", (ull)img->file->size);
    if (status != HV_OK || memcmp(h, "KDMV", 4) || le64(h + VMDK_DIRECTORY) != AT_END)
        return status;
    if (img->file->size < 3 * HEADER)
        return image_fail(img, HV_ECORRUPT, "it has no footer");
    return image_read(img, ROUND_DOWN(img->file->size, SECTOR) - 2 * HEADER, h, HEADER);
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
    if ((v->flags & FLAG_NEWLINES) && memcmp(h + VMDK_NEWLINES, newlines, 4))
        return image_fail(img, HV_ECORRUPT, "it was changed by a transfer as text, at 73");
    if (!capacity || capacity > IMAGE_SIZE_MAX / SECTOR)
        return image_fail(img, HV_ECORRUPT, "a disk of %llu sectors, at 12", (ull)capacity);
    if (grain < 8 || grain > 4096 || grain & (grain - 1))
        return image_fail(img, HV_ECORRUPT, "grains of %llu sectors, at 20", (ull)grain);
    if (!v->entries || v->entries > 4096)
        return image_fail(img, HV_ECORRUPT, "tables of %u entries, at 44", v->entries);
    if ((v->flags & FLAG_COMPRESSED) && le16(h + VMDK_COMPRESSION) != 1)
        return image_fail(img, HV_ENOSYS, "compression %u, at 77", le16(h + VMDK_COMPRESSION));
    if (le64(h + VMDK_DESCRIPTOR) > ENTRIES_MAX || le64(h + VMDK_DESCRIPTOR_SIZE) > ENTRIES_MAX ||
        le64(h + VMDK_DIRECTORY) > 0xffffffff || le64(h + VMDK_SPARE_DIRECTORY) > 0xffffffff)
        return image_fail(img, HV_ECORRUPT, "its tables are not in the file, at 28 to 56");
    img->size = capacity * SECTOR;
    img->unit = (u32)(grain * SECTOR);
    v->tables = (img->size + (u64)img->unit * v->entries - 1) / ((u64)img->unit * v->entries);
    v->descriptor_at = le64(h + VMDK_DESCRIPTOR) * SECTOR;
    v->descriptor_size = le64(h + VMDK_DESCRIPTOR_SIZE) * SECTOR;
    v->directory_at = le64(h + VMDK_DIRECTORY) * SECTOR;
    v->spare_at = v->flags & FLAG_SPARE ? le64(h + VMDK_SPARE_DIRECTORY) * SECTOR : 0;
    return v->tables > ENTRIES_MAX ? image_fail(img, HV_ECORRUPT, "too many tables") : HV_OK;
}

static enum hv_status vmdk_open(struct image *img)
{
    struct vmdk *v = calloc(1, sizeof(*v));
    u8 h[HEADER] = {0};

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
    img->end = ROUND_UP(img->file->size, SECTOR);
    img->read_only |= (v->flags & (FLAG_COMPRESSED | FLAG_MARKERS)) != 0;
    snprintf(img->note, sizeof(img->note), "%s, grains of %u KiB",
             v->flags & FLAG_COMPRESSED ? "streamOptimized" : "sparse", img->unit >> 10);
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
    const u64 ranges[][2] = {{0, HEADER},
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
    if (entry == GRAIN_ZERO && (v->flags & FLAG_ZEROS))
        return IMAGE_ZERO;
    return v->flags & FLAG_COMPRESSED ? IMAGE_SPECIAL : IMAGE_DATA;
}

static enum hv_status vmdk_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    struct vmdk *v = img->priv;
    u64 span = (u64)img->unit * v->entries, within = offset % img->unit;
    u64 table = v->directory[offset / span] * SECTOR;
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
    if (e->kind == IMAGE_DATA && over_metadata(v, entry * SECTOR, img->unit))
        return image_fail(img, HV_ECORRUPT, "byte %llu of the disk is said to be at %llu: metadata",
                          (ull)offset, (ull)(entry * SECTOR));
    for (; n < count && e->kind != IMAGE_SPECIAL; n++) {
        u32 next = le32(raw + n * 4);
        u64 expected = entry + (u64)n * (img->unit / SECTOR);

        if (kind_of(v, next) != e->kind || (e->kind == IMAGE_DATA && next != expected))
            break;
    }
    e->at = e->kind == IMAGE_DATA ? entry * SECTOR + within : 0;
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
    if (le64(head) * SECTOR != offset || !size || size > 2ull * img->unit + 1024 ||
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
    u64 table = v->directory[offset / span] * SECTOR;
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
            status = unpack_grain(img, offset, le32(raw) * SECTOR, packed);
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
        status = image_read(img, v->directory[i] * SECTOR, table, bytes);
        if (status == HV_OK)
            status = disk_write(img->file, v->spare[i] * SECTOR, table, bytes);
        meta_forget(&img->meta, v->spare[i] * SECTOR, bytes);
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
    if (img->end / SECTOR + length / SECTOR + img->unit / SECTOR > 0xffffffff)
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
    enum hv_status status = image_append(img, v->entries * 4ull, SECTOR, &at);
    if (status == HV_OK && at / SECTOR > 0xffffffff)
        status = HV_ENOSPC;
    if (status == HV_OK)
        status = meta_fill(&img->meta, META_TABLE, at, 0, v->entries * 4ull);
    if (status != HV_OK)
        return status;
    directory[index] = (u32)(at / SECTOR);
    return put32(img, META_ROOT, directory_at + index * 4, directory[index]);
}

static enum hv_status put_entry(struct image *img, u64 offset, u32 value)
{
    struct vmdk *v = img->priv;
    u64 span = (u64)img->unit * v->entries, index = offset / span;
    u64 within = offset % span / img->unit * 4;
    enum hv_status status = make_table(img, v->directory, v->directory_at, index);

    if (status == HV_OK)
        status = put32(img, META_TABLE, v->directory[index] * SECTOR + within, value);
    if (status != HV_OK || !v->spare)
        return status;
    status = make_table(img, v->spare, v->spare_at, index);
    return status == HV_OK ? put32(img, META_TABLE, v->spare[index] * SECTOR + within, value)
                           : status;
}

static enum hv_status vmdk_link(struct image *img, u64 offset, u64 length, u64 at)
{
    enum hv_status status = HV_OK;

    for (u64 n = 0; n < length && status == HV_OK; n += img->unit)
        status = put_entry(img, offset + n, (u32)((at + n) / SECTOR));
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
                meta_read(&img->meta, v->directory[t] * SECTOR + i * 4ull, a, 4);

            memcpy(b, a, 4);
            if (status == HV_OK && v->spare && v->spare[t])
                status = meta_read(&img->meta, v->spare[t] * SECTOR + i * 4ull, b, 4);
            if (status != HV_OK)
                return status;
            bool data = kind_of(v, le32(a)) > IMAGE_ZERO;
            if (memcmp(a, b, 4) || (data && (le32(a) * SECTOR >= img->file->size ||
                                             over_metadata(v, le32(a) * SECTOR, SECTOR))))
                if (!(*problems)++)
                    image_fail(img, HV_ECORRUPT, "grain %u of table %llu: %u and %u", i, (ull)t,
                               le32(a), le32(b));
        }
    }
    return HV_OK;
}

/* ---- create ------------------------------------------------------------------------------------
 */

struct layout {                                    /* in sectors */
    u64 capacity, grain, tables, table, directory; /* table, directory: the size of one */
    u64 spare_at, directory_at, end;
};

static struct layout lay_out(u64 size, u32 unit)
{
    struct layout l = {.capacity = size / SECTOR, .grain = unit / SECTOR, .table = 4};

    l.tables = (l.capacity + l.grain * 512 - 1) / (l.grain * 512);
    l.directory = (l.tables * 4 + 511) / 512;
    l.spare_at = 21; /* header, 20 sectors of descriptor */
    l.directory_at = l.spare_at + l.directory + l.tables * l.table;
    l.end = ROUND_UP(l.directory_at + l.directory + l.tables * l.table, l.grain);
    return l;
}

static void make_header(u8 *h, const struct layout *l, u32 version, u32 flags)
{
    memcpy(h, "KDMV", 4);
    put_le32(h + VMDK_VERSION, version);
    put_le32(h + VMDK_FLAGS, flags);
    put_le64(h + VMDK_CAPACITY, l->capacity);
    put_le64(h + VMDK_GRAIN, l->grain);
    put_le64(h + VMDK_DESCRIPTOR, 1);
    put_le64(h + VMDK_DESCRIPTOR_SIZE, 20);
    put_le32(h + VMDK_ENTRIES, 512);
    put_le64(h + VMDK_SPARE_DIRECTORY, flags & FLAG_SPARE ? l->spare_at : 0);
    put_le64(h + VMDK_DIRECTORY, l->directory_at);
    put_le64(h + VMDK_OVERHEAD, l->end);
    memcpy(h + VMDK_NEWLINES, "\n \r\n", 4);
    put_le16(h + VMDK_COMPRESSION, flags & FLAG_COMPRESSED ? 1 : 0);
}

static struct vmdk_descriptor describe(const struct image_options *o, const char *type,
                                       const char *data_type)
{
    struct vmdk_descriptor d = {.parent_cid = 0xffffffff, .sectors = o->size / SECTOR};

    memcpy(&d.cid, o->id, 4);
    d.cid ^= 0x5bd1e995; /* not 0 or all ones for usual ids */
    snprintf(d.type, sizeof(d.type), "%s", type);
    snprintf(d.data_type, sizeof(d.data_type), "%s", data_type);
    snprintf(d.data, sizeof(d.data), "%s", o->data_name ? o->data_name : "disk.vmdk");
    if (o->parent) {
        memcpy(&d.parent_cid, o->parent->id, 4);
        snprintf(d.parent, sizeof(d.parent), "%s", o->parent_name ? o->parent_name : "");
    }
    return d;
}

static enum hv_status create_flat(struct disk *file, const struct image_options *o)
{
    char text[2048] = {0};
    struct vmdk_descriptor d = describe(o, "monolithicFlat", "FLAT");

    return disk_write(file, 0, text, ROUND_UP(vmdk_descriptor_write(text, sizeof(text), &d), 512u));
}

static enum hv_status vmdk_create(struct disk *file, const struct image_options *o,
                                  char error[IMAGE_ERROR_MAX])
{
    u32 unit = o->unit ? o->unit : (u32)(64 * KIB);
    struct layout l = lay_out(o->size, unit);
    struct vmdk_descriptor d = describe(o, "monolithicSparse", "SPARSE");

    if (o->kind && !strcmp(o->kind, "flat"))
        return create_flat(file, o);
    if (!o->size || o->size % SECTOR || l.end > 0xffffffff || unit < 4096 || unit > 2 * MIB ||
        unit & (unit - 1)) {
        snprintf(error, IMAGE_ERROR_MAX, "no VMDK image can be of this size and grain size");
        return HV_EINVAL;
    }
    u8 *all = calloc(l.end, SECTOR);
    if (!all)
        return HV_ENOMEM;
    make_header(all, &l, 1, FLAG_NEWLINES | FLAG_SPARE);
    vmdk_descriptor_write((char *)all + SECTOR, 20 * SECTOR, &d);
    for (u64 i = 0; i < l.tables; i++) {
        put_le32(all + l.spare_at * SECTOR + i * 4, (u32)(l.spare_at + l.directory + i * l.table));
        put_le32(all + l.directory_at * SECTOR + i * 4,
                 (u32)(l.directory_at + l.directory + i * l.table));
    }
    enum hv_status status = disk_write(file, 0, all, l.end * SECTOR);
    free(all);
    return status;
}

/* ---- export: streamOptimized -------------------------------------------------------------------
 */

struct stream {
    struct disk *from, *file;
    u64 at; /* file offset, a multiple of 512 */
    u32 *directory;
    u32 table[512];
    u8 *grain, *packed;
    struct layout layout;
};

static enum hv_status put(struct stream *s, const void *data, u64 len)
{
    enum hv_status status = disk_write(s->file, s->at, data, len);

    s->at += len;
    return status;
}

static enum hv_status put_marker(struct stream *s, enum vmdk_marker type, u64 sectors)
{
    u8 m[512] = {0};

    put_le64(m, sectors);
    put_le32(m + 12, type);
    return put(s, m, sizeof(m));
}

static enum hv_status put_grain(struct stream *s, u64 offset, u32 index)
{
    u64 unit = s->layout.grain * SECTOR, n = MIN(unit, s->from->size - offset), len = 2 * unit;
    enum hv_status status = disk_read(s->from, offset, s->grain, n);

    memset(s->grain + n, 0, unit - n);
    if (status != HV_OK || (!s->grain[0] && !memcmp(s->grain, s->grain + 1, unit - 1)))
        return status;
    status = unpack_deflate(s->grain, unit, s->packed + 12, &len);
    if (status != HV_OK)
        return status;
    put_le64(s->packed, offset / SECTOR);
    put_le32(s->packed + 8, (u32)len);
    u64 total = ROUND_UP(12 + len, SECTOR);
    memset(s->packed + 12 + len, 0, total - 12 - len);
    put_le32(&s->table[index], (u32)(s->at / SECTOR));
    return put(s, s->packed, total);
}

static enum hv_status put_table(struct stream *s, u64 table)
{
    bool any = false;
    enum hv_status status;

    for (u32 i = 0; i < 512; i++)
        any |= s->table[i] != 0;
    if (!any)
        return HV_OK;
    status = put_marker(s, MARKER_TABLE, 4);
    put_le32(&s->directory[table], (u32)(s->at / SECTOR));
    return status == HV_OK ? put(s, s->table, sizeof(s->table)) : status;
}

static enum hv_status put_tail(struct stream *s)
{
    enum hv_status status = put_marker(s, MARKER_DIRECTORY, s->layout.directory);
    u8 footer[HEADER] = {0};

    s->layout.directory_at = s->at / SECTOR;
    if (status == HV_OK)
        status = put(s, s->directory, s->layout.directory * SECTOR);
    if (status == HV_OK)
        status = put_marker(s, MARKER_FOOTER, 1);
    make_header(footer, &s->layout, 3, FLAG_NEWLINES | FLAG_COMPRESSED | FLAG_MARKERS);
    if (status == HV_OK)
        status = put(s, footer, HEADER);
    return status == HV_OK ? put_marker(s, MARKER_END, 0) : status;
}

static enum hv_status put_head(struct stream *s, const char *name)
{
    struct image_options o = {.size = s->from->size, .id = {0x42}, .data_name = name};
    struct vmdk_descriptor d = describe(&o, "streamOptimized", "SPARSE");
    u64 bytes = s->layout.end * SECTOR;
    u8 *head = calloc(1, bytes);

    if (!head)
        return HV_ENOMEM;
    s->layout.directory_at = AT_END;
    make_header(head, &s->layout, 3, FLAG_NEWLINES | FLAG_COMPRESSED | FLAG_MARKERS);
    vmdk_descriptor_write((char *)head + SECTOR, 20 * SECTOR, &d);
    enum hv_status status = put(s, head, bytes);
    free(head);
    return status;
}

enum hv_status vmdk_export(struct disk *from, struct disk *file, const char *name,
                           bool (*progress)(void *arg, u64 done), void *arg)
{
    struct stream *s = calloc(1, sizeof(*s));
    u64 unit = 64 * KIB, span = unit * 512;
    enum hv_status status = HV_ENOMEM;

    if (!s)
        return status;
    s->from = from;
    s->file = file;
    s->layout = lay_out(from->size, (u32)unit);
    s->layout.end = 128; /* header and descriptor, to a whole grain */
    s->directory = calloc(s->layout.directory, SECTOR);
    s->grain = malloc(unit);
    s->packed = malloc(2 * unit + 1024);
    if (s->directory && s->grain && s->packed)
        status = put_head(s, name);
    for (u64 at = 0; at < from->size && status == HV_OK; at += unit) {
        status = put_grain(s, at, (u32)(at % span / unit));
        if (status == HV_OK && (at % span == span - unit || at + unit >= from->size)) {
            status = put_table(s, at / span);
            memset(s->table, 0, sizeof(s->table));
        }
        if (progress && !progress(arg, at))
            status = HV_ETIMEDOUT;
    }
    if (status == HV_OK)
        status = put_tail(s);
    free(s->directory);
    free(s->grain);
    free(s->packed);
    free(s);
    return status;
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
    .check = vmdk_check,
    .release = vmdk_release,
};
