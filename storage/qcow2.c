/* Reading qcow2: header, L1 and L2 tables, compressed clusters.  Called by the engine. */
#include "storage/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/unpack.h"

typedef unsigned long long ull;

u64 qcow2_l2_span(const struct qcow2 *q)
{
    return q->cluster * (q->cluster / (q->extended ? 16 : 8));
}

bool qcow2_is_metadata(const struct qcow2 *q, u64 at)
{
    u64 n = at >> q->cluster_bits;

    return n < q->metadata_clusters && (q->metadata[n / 8] >> n % 8 & 1);
}

enum hv_status qcow2_note_metadata(struct qcow2 *q, u64 at, u64 length)
{
    u64 end = (at + length + q->cluster - 1) >> q->cluster_bits;

    if (end > q->metadata_clusters) {
        u64 clusters = ROUND_UP(end + end / 2, 4096ull);
        u8 *more = realloc(q->metadata, clusters / 8);

        if (!more)
            return HV_ENOMEM;
        memset(more + q->metadata_clusters / 8, 0, (clusters - q->metadata_clusters) / 8);
        q->metadata = more;
        q->metadata_clusters = clusters;
    }
    for (u64 n = at >> q->cluster_bits; n < end; n++)
        q->metadata[n / 8] |= (u8)(1 << n % 8);
    return HV_OK;
}

/* ---- header ---------------------------------------------------------------------------------- */

/* A table of `entries` 8-byte entries, read whole and noted as metadata. */
static enum hv_status load_table(struct image *img, const char *what, u64 at, u64 entries,
                                 u64 **out)
{
    struct qcow2 *q = img->priv;
    u64 bytes = entries * 8;

    if (at % q->cluster || at > img->file->size || bytes > img->file->size - at)
        return image_fail(img, HV_ECORRUPT, "its %s at %llu, %llu bytes, is not in the file", what,
                          (ull)at, (ull)bytes);
    *out = calloc(entries + 1, 8);
    if (!*out)
        return HV_ENOMEM;
    enum hv_status status = image_read(img, at, *out, bytes);
    for (u64 i = 0; i < entries; i++)
        (*out)[i] = be64(&(*out)[i]);
    if (status == HV_OK && entries)
        status = qcow2_note_metadata(q, at, bytes);
    return status;
}

/* What the tables point to: L2 tables, refcount blocks. */
static enum hv_status note_targets(struct image *img, const char *what, const u64 *table,
                                   u64 entries)
{
    struct qcow2 *q = img->priv;

    for (u64 i = 0; i < entries; i++) {
        u64 at = table[i] & QCOW2_OFFSET;

        if (!at)
            continue;
        if (at % q->cluster || at >= img->file->size)
            return image_fail(img, HV_ECORRUPT, "%s %llu at %llu is not in the file", what, (ull)i,
                              (ull)at);
        if (qcow2_is_metadata(q, at))
            return image_fail(img, HV_ECORRUPT, "%s %llu at %llu overlaps other metadata", what,
                              (ull)i, (ull)at);
        if (qcow2_note_metadata(q, at, q->cluster) != HV_OK)
            return HV_ENOMEM;
    }
    return HV_OK;
}

static enum hv_status read_v3(struct image *img, const u8 *h)
{
    struct qcow2 *q = img->priv;

    q->refcount_bits = 16;
    q->header_length = 72;
    if (q->version == 2)
        return HV_OK;
    q->incompatible = be64(h + 72);
    q->compatible = be64(h + 80);
    q->autoclear = be64(h + 88);
    q->header_length = be32(h + 100);
    if (be32(h + 96) > 6)
        return image_fail(img, HV_ECORRUPT, "refcounts of 2^%u bits, at 96", be32(h + 96));
    q->refcount_bits = 1u << be32(h + 96);
    if (q->header_length < 104 || q->header_length > q->cluster)
        return image_fail(img, HV_ECORRUPT, "a header of %u bytes, at 100", q->header_length);
    if (q->incompatible & QCOW2_EXTERNAL)
        return image_fail(img, HV_EPERM, "its data is in another file, which is not supported");
    if (q->incompatible &
        ~(u64)(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2))
        return image_fail(img, HV_ENOSYS, "unknown incompatible features %llx, at 72",
                          (ull)q->incompatible);
    q->was_dirty = q->incompatible & QCOW2_DIRTY;
    q->extended = q->incompatible & QCOW2_EXTENDED_L2;
    if (q->incompatible & QCOW2_COMPRESSION) {
        if (q->header_length < 105 || h[104] > 1)
            return image_fail(img, HV_ENOSYS, "unknown compression %u, at 104", h[104]);
        q->zstd = h[104] == 1;
    }
    return HV_OK;
}

static enum hv_status read_header(struct image *img, const u8 *h)
{
    struct qcow2 *q = img->priv;

    q->version = be32(h + 4);
    q->cluster_bits = be32(h + 20);
    img->size = be64(h + 24);
    q->l1_size = be32(h + 36);
    q->l1_offset = be64(h + 40);
    q->table_offset = be64(h + 48);
    q->snapshots = be32(h + 60);
    if (be32(h) != QCOW2_MAGIC)
        return image_fail(img, HV_ECORRUPT, "it does not begin as a qcow2 image does");
    if (q->version != 2 && q->version != 3)
        return image_fail(img, HV_ENOSYS, "version %u, at 4", q->version);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return image_fail(img, HV_ECORRUPT, "clusters of 2^%u bytes, at 20", q->cluster_bits);
    q->cluster = 1ull << q->cluster_bits;
    if (be32(h + 32))
        return image_fail(img, HV_ENOSYS, "it is encrypted, which is not supported");
    if (img->size > IMAGE_SIZE_MAX)
        return image_fail(img, HV_ECORRUPT, "a disk of %llu bytes, at 24", (ull)img->size);
    enum hv_status status = read_v3(img, h);
    if (status != HV_OK)
        return status;
    if (q->extended && q->cluster_bits < 14)
        return image_fail(img, HV_ECORRUPT, "extended entries of too small clusters, at 20");
    u64 tables = (img->size + qcow2_l2_span(q) - 1) / qcow2_l2_span(q);
    if (q->l1_size > QCOW2_L1_MAX || q->l1_size < tables)
        return image_fail(img, HV_ECORRUPT, "an L1 table of %u entries, at 36", q->l1_size);
    if ((u64)be32(h + 56) * q->cluster / 8 > QCOW2_TABLE_MAX)
        return image_fail(img, HV_ECORRUPT, "a refcount table of %u clusters, at 56", be32(h + 56));
    q->table_size = (u32)(be32(h + 56) * q->cluster / 8);
    return HV_OK;
}

static enum hv_status read_parent(struct image *img, const u8 *h)
{
    struct qcow2 *q = img->priv;
    u64 at = be64(h + 8);
    u32 len = be32(h + 16);

    if (!at)
        return HV_OK;
    if (len >= IMAGE_HINT_MAX || at > q->cluster || len > q->cluster - at ||
        at + len > img->file->size)
        return image_fail(img, HV_ECORRUPT, "the name of its backing file, at %llu", (ull)at);
    img->wants_parent = true;
    return image_read(img, at, img->parent_hint, len);
}

static enum hv_status qcow2_open(struct image *img)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    u8 h[112] = {0};
    enum hv_status status;

    img->priv = q;
    if (!q)
        return HV_ENOMEM;
    q->unpacked_at = ~0ull;
    if (img->file->size < 72)
        return image_fail(img, HV_ECORRUPT, "a file of %llu bytes", (ull)img->file->size);
    status = image_read(img, 0, h, MIN(sizeof(h), img->file->size));
    if (status == HV_OK)
        status = read_header(img, h);
    if (status == HV_OK)
        status = read_parent(img, h);
    if (status == HV_OK)
        status = qcow2_note_metadata(q, 0, 1);
    if (status == HV_OK)
        status = load_table(img, "refcount table", q->table_offset, q->table_size, &q->table);
    if (status == HV_OK)
        status = load_table(img, "L1 table", q->l1_offset, q->l1_size, &q->l1);
    if (status == HV_OK && !q->was_dirty) /* of a dirty image the refcounts count for nothing */
        status = note_targets(img, "refcount block", q->table, q->table_size);
    if (status == HV_OK)
        status = note_targets(img, "L2 table", q->l1, q->l1_size);
    if (status != HV_OK)
        return status;
    img->unit = (u32)(q->extended ? q->cluster / 32 : q->cluster);
    img->end = ROUND_UP(img->file->size, q->cluster);
    if (q->extended || q->snapshots || q->refcount_bits != 16 || q->version != 3 ||
        (q->incompatible & QCOW2_CORRUPT))
        img->read_only = true;
    snprintf(img->note, sizeof(img->note), "version %u, clusters of %llu KiB%s%s%s", q->version,
             (ull)q->cluster >> 10, q->zstd ? ", zstd" : "", q->extended ? ", extended L2" : "",
             q->was_dirty ? ", dirty" : "");
    return HV_OK;
}

static void qcow2_release(struct image *img)
{
    struct qcow2 *q = img->priv;

    if (!q)
        return;
    free(q->l1);
    free(q->table);
    free(q->metadata);
    free(q->deltas);
    free(q->freed.at);
    free(q->free.at);
    free(q->unpacked);
    free(q);
}

/* ---- mapping --------------------------------------------------------------------------------- */

enum hv_status qcow2_l2_read(struct image *img, u64 offset, u32 count, u64 *entries)
{
    struct qcow2 *q = img->priv;
    u64 table = q->l1[offset / qcow2_l2_span(q)] & QCOW2_OFFSET;
    u32 size = q->extended ? 16 : 8;
    enum hv_status status =
        meta_read(&img->meta, table + offset % qcow2_l2_span(q) / q->cluster * size, entries,
                  (u64)count * size);

    for (u32 i = 0; i < count * size / 8; i++)
        entries[i] = be64(&entries[i]);
    return status;
}

void qcow2_compressed(const struct qcow2 *q, u64 entry, u64 *at, u64 *bytes)
{
    u32 bits = 62 - (q->cluster_bits - 8); /* of the offset; above it a count of sectors */

    *at = entry & BITS(bits - 1, 0);
    *bytes = (((entry & BITS(61, 0)) >> bits) + 1) * 512 - *at % 512;
}

static struct image_extent decode(const struct qcow2 *q, u64 entry)
{
    u64 at = entry & QCOW2_OFFSET;

    if (entry & QCOW2_COMPRESSED)
        return (struct image_extent){IMAGE_SPECIAL, 0, q->cluster};
    if ((entry & QCOW2_ZERO) && q->version >= 3)
        return (struct image_extent){IMAGE_ZERO, 0, q->cluster};
    return (struct image_extent){at ? IMAGE_DATA : IMAGE_HOLE, at, q->cluster};
}

/* One subcluster of an extended entry: a bit in the lower half says allocated, one in the upper
 * half reads as zeros. */
static struct image_extent decode_sub(const struct qcow2 *q, const u64 *entry, u64 within)
{
    u64 sub = q->cluster / 32, n = within / sub, at = entry[0] & QCOW2_OFFSET;

    if (entry[0] & QCOW2_COMPRESSED)
        return (struct image_extent){IMAGE_SPECIAL, 0, sub};
    if (entry[1] >> (32 + n) & 1)
        return (struct image_extent){IMAGE_ZERO, 0, sub};
    if (entry[1] >> n & 1)
        return (struct image_extent){IMAGE_DATA, at + n * sub, sub};
    return (struct image_extent){IMAGE_HOLE, 0, sub};
}

static enum hv_status check_data(struct image *img, u64 offset, const struct image_extent *e)
{
    struct qcow2 *q = img->priv;

    if (e->kind != IMAGE_DATA)
        return HV_OK;
    if (e->at % img->unit || qcow2_is_metadata(q, e->at))
        return image_fail(img, HV_ECORRUPT,
                          "byte %llu of the disk is said to be at %llu, which is %s", (ull)offset,
                          (ull)e->at, e->at % img->unit ? "no cluster" : "metadata");
    return HV_OK;
}

static enum hv_status map_extended(struct image *img, u64 offset, u64 length,
                                   struct image_extent *e)
{
    struct qcow2 *q = img->priv;
    u64 entry[2], sub = q->cluster / 32;
    enum hv_status status = qcow2_l2_read(img, offset, 1, entry);

    *e = decode_sub(q, entry, offset % q->cluster);
    e->at += e->kind == IMAGE_DATA ? offset % sub : 0;
    e->length = MIN(length, sub - offset % sub);
    if (status == HV_OK && e->kind == IMAGE_DATA && !(entry[0] & QCOW2_OFFSET))
        return image_fail(img, HV_ECORRUPT, "byte %llu of the disk is allocated nowhere",
                          (ull)offset);
    struct image_extent whole = {e->kind, ROUND_DOWN(e->at, sub), sub};
    return status == HV_OK ? check_data(img, offset, &whole) : status;
}

static enum hv_status qcow2_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    struct qcow2 *q = img->priv;
    u64 entries[64], within = offset % q->cluster;
    u64 span = qcow2_l2_span(q), left = span - offset % span;

    length = MIN(length, left);
    if (!(q->l1[offset / span] & QCOW2_OFFSET)) {
        *e = (struct image_extent){IMAGE_HOLE, 0, length};
        return HV_OK;
    }
    if (q->extended)
        return map_extended(img, offset, length, e);
    u64 count = (within + length + q->cluster - 1) >> q->cluster_bits;
    count = MIN(count, ARRAY_LEN(entries));
    enum hv_status status = qcow2_l2_read(img, offset, (u32)count, entries);
    if (status != HV_OK)
        return status;
    *e = decode(q, entries[0]);
    status = check_data(img, offset, e);
    for (u64 i = 1; i < count && status == HV_OK && e->kind != IMAGE_SPECIAL; i++) {
        struct image_extent next = decode(q, entries[i]);

        if (next.kind != e->kind || (e->kind == IMAGE_DATA && next.at != e->at + e->length) ||
            check_data(img, offset, &next) != HV_OK)
            break;
        e->length += q->cluster;
    }
    e->length = MIN(e->length - within, length);
    e->at += e->kind == IMAGE_DATA ? within : 0;
    return status;
}

static enum hv_status qcow2_read_special(struct image *img, u64 offset, u8 *buf)
{
    struct qcow2 *q = img->priv;
    u64 entry[2], at, bytes, cluster_at = ROUND_DOWN(offset, q->cluster);
    enum hv_status status = HV_OK;
    u8 *packed;

    if (!q->unpacked && !(q->unpacked = malloc(q->cluster)))
        return HV_ENOMEM;
    if (q->unpacked_at != cluster_at) {
        q->unpacked_at = ~0ull;
        status = qcow2_l2_read(img, cluster_at, 1, entry);
        if (status != HV_OK)
            return status;
        qcow2_compressed(q, entry[0], &at, &bytes);
        if (!(entry[0] & QCOW2_COMPRESSED) || at >= img->file->size || bytes > 2 * q->cluster)
            return image_fail(img, HV_ECORRUPT, "a compressed cluster for %llu, at %llu",
                              (ull)offset, (ull)at);
        bytes = MIN(bytes, img->file->size - at);
        if (!(packed = malloc(bytes)))
            return HV_ENOMEM;
        status = image_read(img, at, packed, bytes);
        if (status == HV_OK)
            status = unpack(q->zstd ? UNPACK_ZSTD : UNPACK_DEFLATE, packed, bytes, q->unpacked,
                            q->cluster);
        free(packed);
        if (status == HV_ECORRUPT)
            return image_fail(img, status, "the compressed cluster at %llu does not unpack",
                              (ull)at);
        if (status != HV_OK)
            return status;
        q->unpacked_at = cluster_at;
    }
    memcpy(buf, q->unpacked + (offset - cluster_at), img->unit);
    return HV_OK;
}

const struct image_format qcow2_format = {
    .name = "qcow2",
    .can_create = true,
    .can_write = true,
    .can_parent = true,
    .kinds = "dynamic",
    .create = qcow2_create,
    .open = qcow2_open,
    .map = qcow2_map,
    .read_special = qcow2_read_special,
    .begin = qcow2_begin,
    .alloc = qcow2_alloc,
    .link = qcow2_link,
    .unlink = qcow2_unlink,
    .commit = qcow2_commit,
    .finish = qcow2_finish,
    .resize = qcow2_resize,
    .check = qcow2_check,
    .release = qcow2_release,
};
