/* Makes VMDK images: empty ones, for the engine, and streamed copies of a whole disk
 * (vmdk_export()), front to back. */
#include "storage/vmdk_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/unpack.h"

/* ---- create ------------------------------------------------------------------------------------
 */

struct layout {                                    /* in sectors */
    u64 capacity, grain, tables, table, directory; /* table, directory: the size of one */
    u64 spare_at, directory_at, end;
};

static struct layout lay_out(u64 size, u32 unit)
{
    struct layout l = {.capacity = size / VMDK_SECTOR, .grain = unit / VMDK_SECTOR, .table = 4};

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
    put_le64(h + VMDK_SPARE_DIRECTORY, flags & VMDK_FLAG_SPARE ? l->spare_at : 0);
    put_le64(h + VMDK_DIRECTORY, l->directory_at);
    put_le64(h + VMDK_OVERHEAD, l->end);
    memcpy(h + VMDK_NEWLINES, "\n \r\n", 4);
    put_le16(h + VMDK_COMPRESSION, flags & VMDK_FLAG_COMPRESSED ? 1 : 0);
}

static struct vmdk_descriptor describe(const struct image_options *o, const char *type,
                                       const char *data_type)
{
    struct vmdk_descriptor d = {.parent_cid = 0xffffffff, .sectors = o->size / VMDK_SECTOR};

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

enum hv_status vmdk_create(struct disk *file, const struct image_options *o,
                           char error[IMAGE_ERROR_MAX])
{
    u32 unit = o->unit ? o->unit : (u32)(64 * KIB);
    struct layout l = lay_out(o->size, unit);
    struct vmdk_descriptor d = describe(o, "monolithicSparse", "SPARSE");

    if (o->kind && !strcmp(o->kind, "flat"))
        return create_flat(file, o);
    if (!o->size || o->size % VMDK_SECTOR || l.end > 0xffffffff || unit < 4096 || unit > 2 * MIB ||
        unit & (unit - 1)) {
        snprintf(error, IMAGE_ERROR_MAX, "no VMDK image can be of this size and grain size");
        return HV_EINVAL;
    }
    u8 *all = calloc(l.end, VMDK_SECTOR);
    if (!all)
        return HV_ENOMEM;
    make_header(all, &l, 1, VMDK_FLAG_NEWLINES | VMDK_FLAG_SPARE);
    vmdk_descriptor_write((char *)all + VMDK_SECTOR, 20 * VMDK_SECTOR, &d);
    for (u64 i = 0; i < l.tables; i++) {
        put_le32(all + l.spare_at * VMDK_SECTOR + i * 4,
                 (u32)(l.spare_at + l.directory + i * l.table));
        put_le32(all + l.directory_at * VMDK_SECTOR + i * 4,
                 (u32)(l.directory_at + l.directory + i * l.table));
    }
    enum hv_status status = disk_write(file, 0, all, l.end * VMDK_SECTOR);
    free(all);
    return status;
}

/* ---- grow --------------------------------------------------------------------------------------
 */

/* A longer copy of a directory with tables for what is new, at the end of the file. */
static enum hv_status longer_directory(struct image *img, u64 tables, u32 **directory, u64 *at)
{
    struct vmdk *v = img->priv;
    u64 bytes = ROUND_UP(tables * 4, VMDK_SECTOR), table = v->entries * 4ull, place;
    u64 more = (tables - v->tables) * ROUND_UP(table, VMDK_SECTOR);
    u32 *new = calloc(1, bytes);
    enum hv_status status = new ? image_append(img, bytes + more, VMDK_SECTOR, &place) : HV_ENOMEM;

    if (status == HV_OK && (place + bytes + more) / VMDK_SECTOR > 0xffffffff)
        status = image_fail(img, HV_ENOSYS, "its file would be too large");
    if (status == HV_OK) {
        memcpy(new, *directory, v->tables * 4);
        for (u64 i = v->tables; i < tables; i++)
            put_le32(&new[i], (u32)((place + bytes) / VMDK_SECTOR +
                                    (i - v->tables) * ROUND_UP(table, VMDK_SECTOR) / VMDK_SECTOR));
        status = disk_zero(img->file, place + bytes, more);
    }
    if (status == HV_OK)
        status = disk_write(img->file, place, new, bytes);
    if (status != HV_OK) {
        free(new);
        return status;
    }
    free(*directory);
    *directory = new;
    *at = place;
    return HV_OK;
}

static enum hv_status put64(struct image *img, u64 at, u64 value)
{
    u8 raw[8];

    put_le64(raw, value);
    return meta_write(&img->meta, META_ROOT, at, raw, 8);
}

/* The number in the descriptor's line of the extent. */
static enum hv_status describe_size(struct image *img, u64 sectors)
{
    struct vmdk *v = img->priv;
    u64 size = v->descriptor_size;
    char *text = calloc(1, size + 1), *out = calloc(1, size + 32), *line, *rest;
    enum hv_status status =
        text && out ? meta_read(&img->meta, v->descriptor_at, text, size) : HV_ENOMEM;

    if (status == HV_OK && (line = strstr(text, "\nRW ")) && (rest = strchr(line + 4, ' '))) {
        u64 n = (u64)snprintf(out, size + 32, "%.*s\nRW %llu%s", (int)(line - text), text,
                              (unsigned long long)sectors, rest);
        if (n < size)
            status = meta_write(&img->meta, META_ROOT, v->descriptor_at, out, size);
    }
    free(text);
    free(out);
    return status;
}

/* New directories first, then the sector of the header that names them and the size. */
enum hv_status vmdk_resize(struct image *img, u64 size)
{
    struct vmdk *v = img->priv;
    u64 span = (u64)img->unit * v->entries, tables = (size + span - 1) / span;
    enum hv_status status = HV_OK;

    if (size < img->size || tables > VMDK_ENTRIES_MAX)
        return image_fail(img, HV_ENOSYS, "no VMDK image can be of that size");
    if (tables > v->tables) {
        status = longer_directory(img, tables, &v->directory, &v->directory_at);
        if (status == HV_OK && v->spare)
            status = longer_directory(img, tables, &v->spare, &v->spare_at);
        if (status == HV_OK)
            status = disk_flush(img->file);
        if (status != HV_OK)
            return status;
        v->tables = tables;
    }
    status = put64(img, VMDK_DIRECTORY, v->directory_at / VMDK_SECTOR);
    if (status == HV_OK && v->spare)
        status = put64(img, VMDK_SPARE_DIRECTORY, v->spare_at / VMDK_SECTOR);
    if (status == HV_OK)
        status = put64(img, VMDK_CAPACITY, size / VMDK_SECTOR);
    return status == HV_OK && v->descriptor_at ? describe_size(img, size / VMDK_SECTOR) : status;
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
    u64 unit = s->layout.grain * VMDK_SECTOR, n = MIN(unit, s->from->size - offset), len = 2 * unit;
    enum hv_status status = disk_read(s->from, offset, s->grain, n);

    memset(s->grain + n, 0, unit - n);
    if (status != HV_OK || (!s->grain[0] && !memcmp(s->grain, s->grain + 1, unit - 1)))
        return status;
    status = unpack_deflate(s->grain, unit, s->packed + 12, &len);
    if (status != HV_OK)
        return status;
    put_le64(s->packed, offset / VMDK_SECTOR);
    put_le32(s->packed + 8, (u32)len);
    u64 total = ROUND_UP(12 + len, VMDK_SECTOR);
    memset(s->packed + 12 + len, 0, total - 12 - len);
    put_le32(&s->table[index], (u32)(s->at / VMDK_SECTOR));
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
    status = put_marker(s, VMDK_MARKER_TABLE, 4);
    put_le32(&s->directory[table], (u32)(s->at / VMDK_SECTOR));
    return status == HV_OK ? put(s, s->table, sizeof(s->table)) : status;
}

static enum hv_status put_tail(struct stream *s)
{
    enum hv_status status = put_marker(s, VMDK_MARKER_DIRECTORY, s->layout.directory);
    u8 footer[VMDK_HEADER] = {0};

    s->layout.directory_at = s->at / VMDK_SECTOR;
    if (status == HV_OK)
        status = put(s, s->directory, s->layout.directory * VMDK_SECTOR);
    if (status == HV_OK)
        status = put_marker(s, VMDK_MARKER_FOOTER, 1);
    make_header(footer, &s->layout, 3,
                VMDK_FLAG_NEWLINES | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS);
    if (status == HV_OK)
        status = put(s, footer, VMDK_HEADER);
    return status == HV_OK ? put_marker(s, VMDK_MARKER_END, 0) : status;
}

static enum hv_status put_head(struct stream *s, const char *name)
{
    struct image_options o = {.size = s->from->size, .id = {0x42}, .data_name = name};
    struct vmdk_descriptor d = describe(&o, "streamOptimized", "SPARSE");
    u64 bytes = s->layout.end * VMDK_SECTOR;
    u8 *head = calloc(1, bytes);

    if (!head)
        return HV_ENOMEM;
    s->layout.directory_at = VMDK_AT_END;
    make_header(head, &s->layout, 3, VMDK_FLAG_NEWLINES | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS);
    vmdk_descriptor_write((char *)head + VMDK_SECTOR, 20 * VMDK_SECTOR, &d);
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
    s->directory = calloc(s->layout.directory, VMDK_SECTOR);
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
