/* Changing qcow2 images: allocation, the dirty bit, creating and growing.  Called by the engine
 * under its lock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/qcow2.h"

#define DELTAS_MAX 16384u /* before they are applied without waiting for the end */

enum hv_status qcow2_put64(struct image *img, u64 header_field, u64 value)
{
    u8 raw[8];

    put_be64(raw, value);
    return meta_write(&img->meta, META_ROOT, header_field, raw, 8);
}

enum hv_status qcow2_put32(struct image *img, u64 header_field, u32 value)
{
    u8 raw[4];

    put_be32(raw, value);
    return meta_write(&img->meta, META_ROOT, header_field, raw, 4);
}

/* The dirty bit on or off, durable before anything else happens. */
static enum hv_status set_dirty(struct image *img, bool dirty)
{
    struct qcow2 *q = img->priv;
    u64 bits = dirty ? q->incompatible | QCOW2_DIRTY : q->incompatible & ~QCOW2_DIRTY;
    enum hv_status status = qcow2_put64(img, 72, bits);

    /* Autoclear features are of a kind that a writer who does not know them has to switch off. */
    if (status == HV_OK)
        status = qcow2_put64(img, 88, 0);
    if (status == HV_OK)
        status = image_commit_meta(img);
    if (status == HV_OK) {
        q->incompatible = bits;
        q->autoclear = 0;
    }
    return status;
}

enum hv_status qcow2_begin(struct image *img)
{
    return set_dirty(img, true);
}

static enum hv_status push(struct qcow2_list *l, u64 cluster)
{
    if (l->count == l->room) {
        u32 room = MAX(l->room * 2, 64u);
        u64 *more = realloc(l->at, room * sizeof(*more));

        if (!more)
            return HV_ENOMEM;
        l->at = more;
        l->room = room;
    }
    l->at[l->count++] = cluster;
    return HV_OK;
}

enum hv_status qcow2_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got)
{
    struct qcow2 *q = img->priv;

    (void)offset;
    if (q->free.count) {
        *at = q->free.at[--q->free.count] * q->cluster;
        *got = q->cluster;
        return HV_OK;
    }
    *got = length;
    return image_append(img, length, q->cluster, at);
}

/* The L2 table for a guest offset, made if it is missing. */
static enum hv_status make_l2(struct image *img, u64 offset)
{
    struct qcow2 *q = img->priv;
    u64 index = offset / qcow2_l2_span(q), at;

    if (q->l1[index] & QCOW2_OFFSET)
        return HV_OK;
    enum hv_status status = image_append(img, q->cluster, q->cluster, &at);
    if (status == HV_OK)
        status = qcow2_note_metadata(q, at, q->cluster);
    if (status == HV_OK)
        status = meta_fill(&img->meta, META_TABLE, at, 0, q->cluster);
    if (status == HV_OK)
        status = qcow2_change(q, at / q->cluster, 1);
    if (status != HV_OK)
        return status;
    img->fresh = MAX(img->fresh, at + q->cluster);
    q->l1[index] = at | QCOW2_COPIED;
    return qcow2_put64(img, q->l1_offset + index * 8, q->l1[index]);
}

/* What an entry named is named no more. */
static enum hv_status let_go(struct image *img, u64 entry)
{
    struct qcow2 *q = img->priv;
    u64 at = entry & QCOW2_OFFSET, bytes = q->cluster;
    enum hv_status status = HV_OK;

    if (entry & QCOW2_COMPRESSED)
        qcow2_compressed(q, entry, &at, &bytes);
    if (!at || at >= img->end || bytes > 2 * q->cluster)
        return HV_OK;
    for (u64 n = at / q->cluster; n <= (at + bytes - 1) / q->cluster && status == HV_OK; n++)
        status = qcow2_change(q, n, -1);
    /* Compressed clusters share host clusters, and after a crash others may be shared as well:
     * only what this image has marked as its only user is used again. */
    if (status == HV_OK && !(entry & QCOW2_COMPRESSED) && (entry & QCOW2_COPIED) &&
        !(at % q->cluster) && !qcow2_is_metadata(q, at) && !q->was_dirty)
        status = push(&q->freed, at / q->cluster);
    return status;
}

static enum hv_status put_entry(struct image *img, u64 offset, u64 entry)
{
    struct qcow2 *q = img->priv;
    u64 table = q->l1[offset / qcow2_l2_span(q)] & QCOW2_OFFSET, old;
    u8 raw[8];
    enum hv_status status = qcow2_l2_read(img, offset, 1, &old);

    if (status == HV_OK && old)
        status = let_go(img, old);
    if (q->unpacked_at == offset)
        q->unpacked_at = ~0ull;
    if (status != HV_OK)
        return status;
    put_be64(raw, entry);
    return meta_write(&img->meta, META_TABLE, table + offset % qcow2_l2_span(q) / q->cluster * 8,
                      raw, 8);
}

enum hv_status qcow2_link(struct image *img, u64 offset, u64 length, u64 at)
{
    struct qcow2 *q = img->priv;
    enum hv_status status = HV_OK;

    for (u64 n = 0; n < length && status == HV_OK; n += q->cluster) {
        status = make_l2(img, offset + n);
        if (status == HV_OK)
            status = put_entry(img, offset + n, (at + n) | QCOW2_COPIED);
        if (status == HV_OK)
            status = qcow2_change(q, (at + n) / q->cluster, 1);
    }
    return status;
}

enum hv_status qcow2_unlink(struct image *img, u64 offset, u64 length, bool zero)
{
    struct qcow2 *q = img->priv;
    enum hv_status status = HV_OK;

    for (u64 n = 0; n < length && status == HV_OK; n += q->cluster) {
        bool table = q->l1[(offset + n) / qcow2_l2_span(q)] & QCOW2_OFFSET;

        if (!table && !zero)
            continue;
        status = make_l2(img, offset + n);
        if (status == HV_OK)
            status = put_entry(img, offset + n, zero ? QCOW2_ZERO : 0);
    }
    return status;
}

enum hv_status qcow2_commit(struct image *img)
{
    struct qcow2 *q = img->priv;
    u32 freed = q->freed.count;
    enum hv_status status = image_commit_meta(img);

    for (u32 i = 0; i < freed && status == HV_OK; i++)
        status = push(&q->free, q->freed.at[i]);
    if (status == HV_OK)
        q->freed.count = 0;
    if (status == HV_OK && q->delta_count > DELTAS_MAX && !q->was_dirty) {
        status = qcow2_apply(img);
        if (status == HV_OK)
            status = image_commit_meta(img);
    }
    return status;
}

enum hv_status qcow2_finish(struct image *img)
{
    struct qcow2 *q = img->priv;
    enum hv_status status = q->was_dirty ? qcow2_rebuild(img) : qcow2_apply(img);

    if (status == HV_OK)
        status = image_commit_meta(img);
    if (status == HV_OK)
        status = set_dirty(img, false);
    q->was_dirty &= status != HV_OK;
    return status;
}

/* A longer L1 table, if this size needs one: at the end of the file, then the header. */
enum hv_status qcow2_resize(struct image *img, u64 size)
{
    struct qcow2 *q = img->priv;
    u64 span = qcow2_l2_span(q), tables = (size + span - 1) / span, at;
    enum hv_status status = HV_OK;

    if (size < img->size)
        return image_fail(img, HV_ENOSYS, "a qcow2 disk cannot shrink");
    if (tables > QCOW2_L1_MAX)
        return HV_E2BIG;
    if (tables > q->l1_size) {
        u64 bytes = ROUND_UP(tables * 8, q->cluster);
        u64 *l1 = calloc(bytes / 8, 8);

        if (!l1)
            return HV_ENOMEM;
        status = image_append(img, bytes, q->cluster, &at);
        if (status == HV_OK)
            status = qcow2_note_metadata(q, at, bytes);
        memcpy(l1, q->l1, q->l1_size * 8ull);
        for (u64 i = 0; i < bytes / 8 && status == HV_OK; i++) {
            u8 raw[8];

            put_be64(raw, l1[i]);
            status = meta_write(&img->meta, META_TABLE, at + i * 8, raw, 8);
        }
        for (u64 i = 0; i < bytes / q->cluster && status == HV_OK; i++)
            status = qcow2_change(q, at / q->cluster + i, 1);
        for (u64 i = 0; i < (q->l1_size * 8ull + q->cluster - 1) / q->cluster; i++)
            if (status == HV_OK)
                status = qcow2_change(q, q->l1_offset / q->cluster + i, -1);
        if (status != HV_OK) {
            free(l1);
            return status;
        }
        free(q->l1);
        q->l1 = l1;
        q->l1_size = (u32)tables;
        q->l1_offset = at;
        img->fresh = MAX(img->fresh, img->end);
        status = qcow2_put32(img, 36, q->l1_size);
        if (status == HV_OK)
            status = qcow2_put64(img, 40, at);
    }
    return status == HV_OK ? qcow2_put64(img, 24, size) : status;
}

/* ---- create ---------------------------------------------------------------------------------- */

static u32 header_extensions(u8 *at, const struct image_options *o)
{
    u32 len = o->parent_format ? (u32)strlen(o->parent_format) : 0;

    if (!len)
        return 8;             /* the end mark: zeros */
    put_be32(at, 0xe2792aca); /* the backing file's format */
    put_be32(at + 4, len);
    memcpy(at + 8, o->parent_format, len);
    return (u32)(8 + ROUND_UP(len, 8u) + 8);
}

enum hv_status qcow2_create(struct disk *file, const struct image_options *o,
                            char error[IMAGE_ERROR_MAX])
{
    u64 cluster = o->unit ? o->unit : 64 * KIB, span = cluster * (cluster / 8);
    u64 tables = (o->size + span - 1) / span;
    u32 name = o->parent_name ? (u32)strlen(o->parent_name) : 0;
    struct image img;
    enum hv_status status;

    if (cluster < 512 || cluster > 2 * MIB || cluster & (cluster - 1) || tables > QCOW2_L1_MAX ||
        name >= IMAGE_HINT_MAX || 112 + 32 + name > cluster) {
        snprintf(error, IMAGE_ERROR_MAX, "no qcow2 image can be of this size and cluster size");
        return HV_EINVAL;
    }
    u8 *h = calloc(1, cluster);
    if (!h)
        return HV_ENOMEM;
    put_be32(h, QCOW2_MAGIC);
    put_be32(h + 4, 3);
    put_be32(h + 20, (u32)__builtin_ctzll(cluster));
    put_be64(h + 24, o->size);
    put_be32(h + 36, (u32)tables);
    put_be64(h + 40, cluster);
    put_be64(h + 48, cluster); /* no refcounts yet: dirty, so they are built below */
    put_be64(h + 72, QCOW2_DIRTY);
    put_be64(h + 80, 1); /* lazy refcounts */
    put_be32(h + 96, 4);
    put_be32(h + 100, 112);
    u32 at = 112 + header_extensions(h + 112, o);
    if (name) {
        put_be64(h + 8, at);
        put_be32(h + 16, name);
        memcpy(h + at, o->parent_name, name);
    }
    status = disk_resize(file, ROUND_UP(cluster + tables * 8, cluster));
    if (status == HV_OK)
        status = disk_write(file, 0, h, cluster);
    free(h);
    if (status != HV_OK)
        return status;
    status = image_layer_open(&img, file, &qcow2_format, NULL, false);
    if (status == HV_OK) {
        status = qcow2_finish(&img);
        if (status == HV_OK && file->growable)
            status = disk_resize(file, img.end);
        image_layer_close(&img);
    }
    if (status != HV_OK)
        snprintf(error, IMAGE_ERROR_MAX, "%s", img.error);
    return status;
}

enum hv_status qcow2_forget_parent(struct disk *file)
{
    u32 block = MAX(file->block_size, DISK_SECTOR);
    u8 *head = malloc(block);
    enum hv_status status = head ? disk_read(file, 0, head, block) : HV_ENOMEM;

    if (status == HV_OK) {
        memset(head + 8, 0, 12); /* where the name is, and its length */
        status = disk_write(file, 0, head, block);
    }
    free(head);
    return status;
}
