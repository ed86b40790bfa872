/* The log of VHDX images ([MS-VHDX] 2.3): replay at open, and entries of our own. */
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/vhdx.h"

typedef unsigned long long ull;

#define SECTOR 4096u
#define PIECE (64 * KIB)       /* of the log, read at once */
#define GROWTH_MAX (64 * GIB)  /* by which a log may say that the file was longer */
#define DESCRIPTORS_FIRST 126u /* in the sector of the header; 128 in each further one */

enum entry_field {
    ENTRY_CHECKSUM = 4,
    ENTRY_LENGTH = 8,
    ENTRY_TAIL = 12,
    ENTRY_SEQUENCE = 16,
    ENTRY_COUNT = 24,
    ENTRY_GUID = 32,
    ENTRY_FLUSHED = 48,
    ENTRY_LAST = 56,
    ENTRY_HEADER = 64,
};

struct log {
    struct image *img;
    u64 at; /* of the file */
    u32 length;
    const u8 *guid;
    u64 budget; /* bytes that may still be summed: entries of a hostile log overlap at will */
};

static u32 descriptor_sectors(u32 count)
{
    return (count * 32 + ENTRY_HEADER + SECTOR - 1) / SECTOR;
}

/* The data sectors of an entry must be there, with its number in them. */
static bool descriptors_valid(const u8 *e, u32 length)
{
    u32 count = le32(e + ENTRY_COUNT), data = 0;
    u64 sequence = le64(e + ENTRY_SEQUENCE);

    if (count > length / 32 || descriptor_sectors(count) * SECTOR > length)
        return false;
    for (u32 i = 0; i < count; i++) {
        const u8 *d = e + ENTRY_HEADER + i * 32;
        const u8 *s = e + (descriptor_sectors(count) + data) * SECTOR;

        if (le64(d + 24) != sequence || le64(d + 16) % SECTOR)
            return false;
        if (!memcmp(d, "zero", 4)) {
            if (le64(d + 8) % SECTOR)
                return false;
            continue;
        }
        if (memcmp(d, "desc", 4) || (descriptor_sectors(count) + ++data) * SECTOR > length)
            return false;
        if (memcmp(s, "data", 4) || le32(s + 4) != sequence >> 32 ||
            le32(s + SECTOR - 4) != (u32)sequence)
            return false;
    }
    return true;
}

/* What tells the first sector of an entry from data. */
static bool looks_like_entry(const struct log *log, const u8 *e)
{
    u32 length = le32(e + ENTRY_LENGTH);

    return !memcmp(e, "loge", 4) && length % SECTOR == 0 && length && length <= log->length &&
           !memcmp(e + ENTRY_GUID, log->guid, 16) && le64(e + ENTRY_SEQUENCE) &&
           le32(e + ENTRY_TAIL) % SECTOR == 0 && le32(e + ENTRY_TAIL) < log->length;
}

/* Bytes of the log, which goes on at its beginning. */
static enum hv_status log_read(const struct log *log, u32 at, u8 *buf, u32 length)
{
    u32 first = MIN(length, log->length - at);
    enum hv_status status = image_read(log->img, log->at + at, buf, first);

    if (status == HV_OK && length > first)
        status = image_read(log->img, log->at, buf + first, length - first);
    return status;
}

/* The valid entry at a place of the log, to be freed.  *out NULL: there is none. */
static enum hv_status load_entry(struct log *log, u32 at, u8 **out)
{
    u8 head[DISK_SECTOR];
    enum hv_status status = log_read(log, at, head, sizeof(head));
    u32 length = le32(head + ENTRY_LENGTH);

    *out = NULL;
    if (status != HV_OK || !looks_like_entry(log, head) || length > log->budget)
        return status;
    log->budget -= length;
    u8 *e = malloc(length);
    if (!e)
        return HV_ENOMEM;
    status = log_read(log, at, e, length);
    if (status == HV_OK && le32(e + ENTRY_LENGTH) == length && descriptors_valid(e, length) &&
        le32(e + ENTRY_CHECKSUM) == vhdx_checksum(e, length))
        *out = e;
    else
        free(e);
    return status;
}

/* The entries from `first` on, each with the next number; *head: the last one.  *best: its number,
 * unless it does not need `first` or there is none. */
static enum hv_status follow(struct log *log, u32 first, u32 *head, u64 *best)
{
    u64 sequence = 0, total = 0;
    u32 at = first, tail = ~0u;
    enum hv_status status;
    u8 *e;

    *best = 0;
    while ((status = load_entry(log, at, &e)) == HV_OK && e) {
        u32 length = le32(e + ENTRY_LENGTH);
        bool next = !sequence || le64(e + ENTRY_SEQUENCE) == sequence + 1;

        if (next) {
            *head = at;
            sequence = le64(e + ENTRY_SEQUENCE);
            tail = le32(e + ENTRY_TAIL);
            total += length;
            at = (at + length) % log->length;
        }
        free(e);
        if (!next || total >= log->length)
            break;
    }
    if (tail == first)
        *best = sequence;
    return status;
}

/* One 4 KiB block to where it belongs: the file, or the cache of a read-only image. */
static enum hv_status put_block(struct image *img, u64 at, const u8 *block)
{
    if (at > (1ull << 46))
        return image_fail(img, HV_ECORRUPT, "its log writes at %llu", (ull)at);
    if (img->read_only)
        return meta_write(&img->meta, META_TABLE, at, block, SECTOR);
    return disk_write(img->file, at, block, SECTOR);
}

static enum hv_status replay_entry(struct image *img, const u8 *e)
{
    static const u8 zeros[SECTOR];
    u32 count = le32(e + ENTRY_COUNT), data = 0;
    enum hv_status status = HV_OK;
    u8 block[SECTOR];

    if (le64(e + ENTRY_FLUSHED) > img->file->size)
        return image_fail(img, HV_ECORRUPT, "the file was shortened after its log was written");
    for (u32 i = 0; i < count && status == HV_OK; i++) {
        const u8 *d = e + ENTRY_HEADER + i * 32;

        if (!memcmp(d, "zero", 4)) {
            u64 at = le64(d + 16), length = le64(d + 8);

            if (length > VHDX_LOG_MAX || at + length > img->file->size + VHDX_LOG_MAX)
                return image_fail(img, HV_ECORRUPT, "its log zeroes %llu bytes", (ull)length);
            for (; length && status == HV_OK; length -= SECTOR, at += SECTOR)
                status = put_block(img, at, zeros);
            continue;
        }
        memcpy(block, e + (descriptor_sectors(count) + data++) * SECTOR, SECTOR);
        memcpy(block, d + 8, 8);
        memcpy(block + SECTOR - 4, d + 4, 4);
        status = put_block(img, le64(d + 16), block);
    }
    return status;
}

static enum hv_status replay_sequence(struct log *log, u32 first, u32 head)
{
    struct image *img = log->img;
    struct vhdx *v = img->priv;
    enum hv_status status = HV_OK;
    u64 last = 0;

    log->budget = log->length * 2ull;
    for (u32 at = first, length = 0;; at = (at + length) % log->length) {
        u8 *e;

        status = load_entry(log, at, &e);
        if (status == HV_OK && !e) /* a read-only image's log stays as it is; so does a file's */
            status = image_fail(img, HV_ECORRUPT, "its log overwrites itself");
        if (status != HV_OK)
            return status;
        length = le32(e + ENTRY_LENGTH);
        last = le64(e + ENTRY_LAST);
        status = replay_entry(img, e);
        free(e);
        if (status != HV_OK)
            return status;
        if (at == head)
            break;
    }
    if (img->read_only)
        return HV_OK;
    if (last > img->file->size && last - img->file->size > GROWTH_MAX)
        return image_fail(img, HV_ECORRUPT, "its log says that the file has %llu bytes",
                          (unsigned long long)last);
    if (last > img->file->size)
        status = disk_resize(img->file, last);
    if (status == HV_OK)
        status = disk_flush(img->file);
    memset(v->header + VHDX_LOG_GUID, 0, 16);
    if (status == HV_OK)
        status = vhdx_put_header(img);
    return status == HV_OK ? vhdx_put_header(img) : status;
}

/* The sequence of entries with the highest number counts (section 2.3.3). */
static enum hv_status find_sequence(struct log *log, u8 *piece, u32 *first, u32 *head, u64 *best)
{
    enum hv_status status = HV_OK;

    for (u32 at = 0; at < log->length && status == HV_OK; at += PIECE) {
        status = image_read(log->img, log->at + at, piece, PIECE);
        for (u32 n = 0; n < PIECE && status == HV_OK; n += SECTOR) {
            u32 last = 0;
            u64 sequence;

            if (!looks_like_entry(log, piece + n))
                continue;
            status = follow(log, at + n, &last, &sequence);
            if (sequence > *best) {
                *best = sequence;
                *first = at + n;
                *head = last;
            }
        }
    }
    return status;
}

enum hv_status vhdx_replay(struct image *img)
{
    static const u8 none[16];
    struct vhdx *v = img->priv;
    u8 guid[16];
    struct log log = {img, v->log_at, v->log_length, guid, v->log_length * 8ull};
    u32 first = 0, head = 0;
    u64 best = 0;

    memcpy(guid, v->header + VHDX_LOG_GUID, 16);
    if (!memcmp(guid, none, 16))
        return HV_OK;
    u8 *piece = malloc(PIECE);
    enum hv_status status = piece ? find_sequence(&log, piece, &first, &head, &best) : HV_ENOMEM;
    free(piece);
    return status == HV_OK && best ? replay_sequence(&log, first, head) : status;
}

/* ---- writing -----------------------------------------------------------------------------------
 */

struct entry { /* being put together */
    u8 *at;
    u32 count, room;
    u64 sequence;
};

static enum hv_status add_block(void *arg, u64 offset, const u8 *block)
{
    struct entry *e = arg;
    u8 *d = e->at + ENTRY_HEADER + e->count * 32;
    u8 *s = e->at + (1 + e->count) * SECTOR;

    if (e->count == e->room)
        return HV_E2BIG;
    memcpy(d, "desc", 4);
    memcpy(d + 4, block + SECTOR - 4, 4);
    memcpy(d + 8, block, 8);
    put_le64(d + 16, offset);
    put_le64(d + 24, e->sequence);
    memcpy(s, block, SECTOR);
    memcpy(s, "data", 4);
    put_le32(s + 4, (u32)(e->sequence >> 32));
    put_le32(s + SECTOR - 4, (u32)e->sequence);
    e->count++;
    return HV_OK;
}

/* Each entry stands at the log's start and is its own tail: what an earlier one said is in place.
 */
static enum hv_status write_entry(struct image *img, struct entry *e)
{
    struct vhdx *v = img->priv;
    u32 length = (1 + e->count) * SECTOR;

    memcpy(e->at, "loge", 4);
    put_le32(e->at + ENTRY_LENGTH, length);
    put_le64(e->at + ENTRY_SEQUENCE, e->sequence);
    put_le32(e->at + ENTRY_COUNT, e->count);
    memcpy(e->at + ENTRY_GUID, v->header + VHDX_LOG_GUID, 16);
    put_le64(e->at + ENTRY_FLUSHED, ROUND_DOWN(img->file->size, MIB));
    put_le64(e->at + ENTRY_LAST, ROUND_DOWN(img->file->size, MIB));
    put_le32(e->at + ENTRY_CHECKSUM, vhdx_checksum(e->at, length));
    enum hv_status status = disk_write(img->file, v->log_at, e->at, length);
    return status == HV_OK ? disk_flush(img->file) : status;
}

enum hv_status vhdx_commit(struct image *img)
{
    struct vhdx *v = img->priv;
    u32 dirty = meta_dirty(&img->meta);
    struct entry e = {.room = MIN(dirty, DESCRIPTORS_FIRST), .sequence = ++v->sequence};
    enum hv_status status;

    if (!dirty)
        return HV_OK;
    e.at = calloc(1 + e.room, SECTOR);
    status = e.at ? meta_each_dirty(&img->meta, add_block, &e) : HV_ENOMEM;
    if (status == HV_OK)
        status = write_entry(img, &e);
    free(e.at);
    return status == HV_OK ? image_commit_meta(img) : status;
}
