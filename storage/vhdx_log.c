/* The log of VHDX images ([MS-VHDX] 2.3): replay at open, and entries of our own. */
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/vhdx.h"

typedef unsigned long long ull;

#define SECTOR 4096u
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

struct log { /* all of it in memory, twice, so that an entry that wraps is in one piece */
    u8 *at;
    u32 length;
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

static bool entry_valid(struct log *log, const u8 *guid, u32 at)
{
    const u8 *e = log->at + at;
    u32 length = le32(e + ENTRY_LENGTH);

    if (memcmp(e, "loge", 4) || length % SECTOR || !length || length > log->length ||
        memcmp(e + ENTRY_GUID, guid, 16) || !le64(e + ENTRY_SEQUENCE) ||
        le32(e + ENTRY_TAIL) % SECTOR || le32(e + ENTRY_TAIL) >= log->length)
        return false;
    if (!descriptors_valid(e, length) || length > log->budget)
        return false;
    log->budget -= length;
    return le32(e + ENTRY_CHECKSUM) == vhdx_checksum(e, length);
}

/* The entries from `first` on, each with the next number; *head: the last one. */
static u64 follow(struct log *log, const u8 *guid, u32 first, u32 *head)
{
    u64 sequence = le64(log->at + first + ENTRY_SEQUENCE), total = 0;
    u32 at = first;
    bool holds_tail = false;

    do {
        const u8 *e = log->at + at;

        *head = at;
        total += le32(e + ENTRY_LENGTH);
        at = (at + le32(e + ENTRY_LENGTH)) % log->length;
        sequence++;
    } while (total < log->length && entry_valid(log, guid, at) &&
             le64(log->at + at + ENTRY_SEQUENCE) == sequence);
    holds_tail = le32(log->at + *head + ENTRY_TAIL) == first;
    return holds_tail ? le64(log->at + *head + ENTRY_SEQUENCE) : 0;
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

static enum hv_status replay_sequence(struct image *img, struct log *log, u32 first, u32 head)
{
    struct vhdx *v = img->priv;
    enum hv_status status = HV_OK;

    for (u32 at = first; status == HV_OK;
         at = (at + le32(log->at + at + ENTRY_LENGTH)) % log->length) {
        status = replay_entry(img, log->at + at);
        if (at == head)
            break;
    }
    u64 last = le64(log->at + head + ENTRY_LAST);
    if (status != HV_OK || img->read_only)
        return status;
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

enum hv_status vhdx_replay(struct image *img)
{
    static const u8 none[16];
    struct vhdx *v = img->priv;
    struct log log = {malloc(v->log_length * 2ull), v->log_length, v->log_length * 8ull};
    u32 best_first = 0, best_head = 0;
    u64 best = 0;
    const u8 *guid = v->header + VHDX_LOG_GUID;
    enum hv_status status = HV_OK;

    if (!memcmp(guid, none, 16)) {
        free(log.at);
        return HV_OK;
    }
    status = log.at ? image_read(img, v->log_at, log.at, v->log_length) : HV_ENOMEM;
    if (status == HV_OK) {
        memcpy(log.at + log.length, log.at, log.length);
        for (u32 at = 0; at < log.length; at += SECTOR) {
            u32 head;
            u64 sequence;

            if (!entry_valid(&log, guid, at))
                continue;
            sequence = follow(&log, guid, at, &head);
            if (sequence > best) {
                best = sequence;
                best_first = at;
                best_head = head;
            }
        }
        if (best)
            status = replay_sequence(img, &log, best_first, best_head);
    }
    free(log.at);
    return status;
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
    struct entry e = {.room = DESCRIPTORS_FIRST, .sequence = ++v->sequence};
    enum hv_status status;

    if (!meta_dirty(&img->meta))
        return HV_OK;
    e.at = calloc(1 + DESCRIPTORS_FIRST, SECTOR);
    status = e.at ? meta_each_dirty(&img->meta, add_block, &e) : HV_ENOMEM;
    if (status == HV_OK)
        status = write_entry(img, &e);
    free(e.at);
    return status == HV_OK ? image_commit_meta(img) : status;
}
