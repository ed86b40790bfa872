/* Refcounts of qcow2 images: kept as a list of changes while open, written at the end; counted
 * anew for an image that was not closed.  Refcounts here are of 16 bits. */
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/qcow2.h"

typedef unsigned long long ull;

enum hv_status qcow2_change(struct qcow2 *q, u64 cluster, i32 by)
{
    struct qcow2_delta *last = q->delta_count ? &q->deltas[q->delta_count - 1] : NULL;

    if (last && last->by == by && cluster == last->first + last->count) {
        last->count++;
        return HV_OK;
    }
    if (q->delta_count == q->delta_room) {
        u32 room = MAX(q->delta_room * 2, 64u);
        struct qcow2_delta *more = realloc(q->deltas, room * sizeof(*more));

        if (!more)
            return HV_ENOMEM;
        q->deltas = more;
        q->delta_room = room;
    }
    q->deltas[q->delta_count++] = (struct qcow2_delta){cluster, 1, by};
    return HV_OK;
}

/* A new place, double the size, for the refcount table. */
static enum hv_status grow_table(struct image *img, u64 needed)
{
    struct qcow2 *q = img->priv;
    u64 bytes = ROUND_UP(MAX(needed, (u64)q->table_size * 2) * 8, q->cluster), at;
    u64 *table = bytes / 8 <= QCOW2_TABLE_MAX ? calloc(bytes / 8, 8) : NULL;
    enum hv_status status = table ? image_append(img, bytes, q->cluster, &at) : HV_ENOMEM;

    if (status != HV_OK) {
        free(table);
        return status;
    }
    memcpy(table, q->table, q->table_size * 8ull);
    for (u64 i = 0; i < ROUND_UP(q->table_size * 8ull, q->cluster) / q->cluster; i++)
        if (status == HV_OK)
            status = qcow2_change(q, q->table_offset / q->cluster + i, -1);
    for (u64 i = 0; i < bytes / q->cluster && status == HV_OK; i++)
        status = qcow2_change(q, at / q->cluster + i, 1);
    if (status == HV_OK)
        status = qcow2_note_metadata(q, at, bytes);
    free(q->table);
    q->table = table;
    q->table_size = (u32)(bytes / 8);
    q->table_offset = at;
    for (u64 i = 0; i < q->table_size && status == HV_OK; i++) {
        u8 entry[8];

        put_be64(entry, table[i]);
        status = meta_write(&img->meta, META_TABLE, at + i * 8, entry, 8);
    }
    if (status == HV_OK)
        status = qcow2_put64(img, 48, at);
    return status == HV_OK ? qcow2_put32(img, 56, (u32)(bytes / q->cluster)) : status;
}

/* The refcount block for a cluster, made if it is missing. */
static enum hv_status block_for(struct image *img, u64 cluster, u64 *at)
{
    struct qcow2 *q = img->priv;
    u64 index = cluster / (q->cluster / 2);
    enum hv_status status = HV_OK;
    u8 entry[8];

    if (index >= q->table_size)
        status = grow_table(img, index + 1);
    if (status != HV_OK)
        return status;
    *at = q->table[index] & QCOW2_OFFSET;
    if (*at)
        return HV_OK;
    status = image_append(img, q->cluster, q->cluster, at);
    if (status == HV_OK)
        status = qcow2_note_metadata(q, *at, q->cluster);
    if (status == HV_OK)
        status = meta_fill(&img->meta, META_TABLE, *at, 0, q->cluster);
    if (status == HV_OK)
        status = qcow2_change(q, *at / q->cluster, 1);
    if (status != HV_OK)
        return status;
    q->table[index] = *at;
    put_be64(entry, *at);
    return meta_write(&img->meta, META_ROOT, q->table_offset + index * 8, entry, 8);
}

static enum hv_status apply_one(struct image *img, u64 cluster, i32 by)
{
    struct qcow2 *q = img->priv;
    u64 block, per_block = q->cluster / 2;
    u8 raw[2];
    enum hv_status status = block_for(img, cluster, &block);

    if (status == HV_OK)
        status = meta_read(&img->meta, block + cluster % per_block * 2, raw, 2);
    if (status != HV_OK)
        return status;
    i32 count = be16(raw) + by;
    if (count < 0 || count > 0xffff) /* the image was wrong before: `disk check` tells */
        return HV_OK;
    put_be16(raw, (u16)count);
    return meta_write(&img->meta, META_TABLE, block + cluster % per_block * 2, raw, 2);
}

enum hv_status qcow2_apply(struct image *img)
{
    struct qcow2 *q = img->priv;
    enum hv_status status = HV_OK;

    /* The list may grow while blocks are made for it. */
    for (u32 i = 0; i < q->delta_count && status == HV_OK; i++)
        for (u64 n = 0; n < q->deltas[i].count && status == HV_OK; n++)
            status = apply_one(img, q->deltas[i].first + n, q->deltas[i].by);
    if (status == HV_OK)
        q->delta_count = 0;
    return status;
}

/* ---- counting -------------------------------------------------------------------------------- */

struct counts {
    u16 *at;
    u64 clusters;
    u64 problems;
};

static void count_range(struct image *img, struct counts *c, u64 at, u64 bytes, const char *what)
{
    struct qcow2 *q = img->priv;

    for (u64 n = at / q->cluster; bytes && n <= (at + bytes - 1) / q->cluster; n++) {
        if (n >= c->clusters) {
            if (!c->problems++)
                image_fail(img, HV_ECORRUPT, "%s at %llu is not in the file", what, (ull)at);
            return;
        }
        c->at[n] += c->at[n] != 0xffff;
    }
}

static enum hv_status count_l2(struct image *img, struct counts *c, u64 first, u64 guest)
{
    struct qcow2 *q = img->priv;
    u64 entries[128], per_table = q->cluster / 8;

    if (q->extended)
        per_table /= 2;
    for (u64 i = 0; i < per_table; i += 32) {
        enum hv_status status = qcow2_l2_read(img, guest + i * q->cluster, 32, entries);

        if (status != HV_OK)
            return status;
        for (u32 j = 0; j < 32; j++) {
            u64 e = entries[j * (q->extended ? 2 : 1)], at = e & QCOW2_OFFSET, bytes = q->cluster;

            if (e & QCOW2_COMPRESSED)
                qcow2_compressed(q, e, &at, &bytes);
            if (at)
                count_range(img, c, at, bytes, "data");
        }
    }
    count_range(img, c, first, q->cluster, "an L2 table");
    return HV_OK;
}

/* How often each cluster is used, but for refcount table and blocks. */
static enum hv_status count_all(struct image *img, struct counts *c)
{
    struct qcow2 *q = img->priv;

    c->clusters = img->end / q->cluster;
    c->at = calloc(c->clusters + 1, sizeof(*c->at));
    if (!c->at)
        return HV_ENOMEM;
    count_range(img, c, 0, q->cluster, "the header");
    count_range(img, c, q->l1_offset, q->l1_size * 8ull, "the L1 table");
    for (u32 i = 0; i < q->l1_size; i++) {
        u64 at = q->l1[i] & QCOW2_OFFSET;

        if (!at)
            continue;
        enum hv_status status = count_l2(img, c, at, i * qcow2_l2_span(q));
        if (status != HV_OK)
            return status;
    }
    return HV_OK;
}

enum hv_status qcow2_rebuild(struct image *img)
{
    struct qcow2 *q = img->priv;
    struct counts c = {0};
    enum hv_status status = count_all(img, &c);

    /* A new table and new blocks at the end of the file; the old ones are no longer named. */
    q->delta_count = 0;
    free(q->table);
    q->table_offset = 0;
    q->table_size = 0;
    q->table = calloc(1, 8);
    for (u64 n = 0; n < c.clusters && status == HV_OK; n++)
        for (u32 times = c.at[n]; times && status == HV_OK; times--)
            status = qcow2_change(q, n, 1);
    free(c.at);
    if (!q->table)
        return HV_ENOMEM;
    return status == HV_OK ? qcow2_apply(img) : status;
}

/* The refcount of a cluster as the image has it, of any width: 1 to 64 bits (section "Host cluster
 * management" of the specification: narrow ones begin at the least significant bit of a byte). */
static enum hv_status read_refcount(struct image *img, u64 cluster, u64 *count)
{
    struct qcow2 *q = img->priv;
    u64 per_block = q->cluster * 8 / q->refcount_bits, n = cluster % per_block;
    u64 block =
        cluster / per_block < q->table_size ? q->table[cluster / per_block] & QCOW2_OFFSET : 0;
    u32 bytes = MAX(q->refcount_bits / 8, 1u);
    u8 raw[8] = {0};
    enum hv_status status = HV_OK;

    if (block)
        status = meta_read(&img->meta, block + n * q->refcount_bits / 8, raw, bytes);
    *count = 0;
    for (u32 i = 0; i < bytes; i++)
        *count = *count << 8 | raw[i];
    if (q->refcount_bits < 8)
        *count = *count >> n * q->refcount_bits % 8 & BITS(q->refcount_bits - 1, 0);
    return status;
}

enum hv_status qcow2_check(struct image *img, u64 *problems)
{
    struct qcow2 *q = img->priv;
    struct counts c = {0};
    enum hv_status status;

    if (q->snapshots)
        return image_fail(img, HV_ENOSYS, "images with internal snapshots are not checked");
    status = count_all(img, &c);
    count_range(img, &c, q->table_offset, q->table_size * 8ull, "the refcount table");
    for (u32 i = 0; i < q->table_size; i++)
        if (q->table[i] & QCOW2_OFFSET)
            count_range(img, &c, q->table[i] & QCOW2_OFFSET, q->cluster, "a refcount block");
    for (u64 n = 0, has; n < c.clusters && status == HV_OK; n++) {
        status = read_refcount(img, n, &has);
        if (has != c.at[n] && !c.problems++)
            image_fail(img, HV_ECORRUPT, "cluster at %llu is used %u times, its refcount is %llu",
                       (ull)(n * q->cluster), c.at[n], (ull)has);
    }
    free(c.at);
    *problems += c.problems;
    return status;
}
