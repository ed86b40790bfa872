/* Two copies, written in turn; called by control/saved.c in a fiber. */
#include "storage/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"

/* Offsets in the header. */
#define MAGIC 0
#define VERSION 8
#define CHECKSUM 12
#define SEQUENCE 16
#define LENGTH 24

static const char magic[8] = "BULKCONF";

static u32 checksum(const u8 *whole, u64 len)
{
    return crc32c(crc32c(0, whole, CHECKSUM), whole + SEQUENCE, len - SEQUENCE);
}

enum hv_status slots_open(struct slots *s, struct disk *d, const char *path)
{
    char name[32];

    memset(s, 0, sizeof(*s));
    for (u32 i = 0; i < SLOTS; i++) {
        snprintf(name, sizeof(name), "%s.%c", path, (char)('a' + i));
        enum hv_status status = esp_find(d, name, &s->file[i]);
        if (status != HV_OK)
            return status;
        if (s->file[i].size < 4096)
            return HV_ENOSPC;
    }
    return HV_OK;
}

enum copy_state { COPY_BLANK, COPY_WHOLE, COPY_BAD, COPY_UNREADABLE };

/* *whole: header and text, to be freed. */
static enum hv_status read_copy(const struct esp_file *f, enum copy_state *state, u8 **whole,
                                u64 *sequence, u32 *len)
{
    static const u8 blank[SLOTS_HEADER];
    const u64 first = 4096; /* most of the time all of it */
    u64 size = MIN(f->size, ROUND_UP(SLOTS_HEADER + SLOTS_TEXT_MAX, first));
    u8 *b = malloc(size + 1);
    enum hv_status status = b ? esp_read(f, 0, b, first) : HV_ENOMEM;

    *whole = NULL;
    *state = COPY_UNREADABLE;
    if (status != HV_OK) {
        free(b);
        return status == HV_ENOMEM ? status : HV_OK;
    }
    u64 text = le64(b + LENGTH);
    u64 all = text <= size - SLOTS_HEADER ? ROUND_UP(SLOTS_HEADER + text, (u64)f->disk->block_size)
                                          : first;
    if (all > first)
        status = esp_read(f, first, b + first, all - first);
    if (status != HV_OK) {
        free(b);
        return status == HV_ENOMEM ? status : HV_OK;
    }
    *sequence = le64(b + SEQUENCE);
    *state = COPY_BAD;
    if (!memcmp(b, blank, SLOTS_HEADER))
        *state = COPY_BLANK;
    else if (!memcmp(b + MAGIC, magic, sizeof(magic)) && le32(b + VERSION) == 1 &&
             text <= size - SLOTS_HEADER && *sequence &&
             le32(b + CHECKSUM) == checksum(b, SLOTS_HEADER + text))
        *state = COPY_WHOLE;
    if (*state != COPY_WHOLE) {
        free(b);
        return HV_OK;
    }
    b[SLOTS_HEADER + text] = 0;
    *len = (u32)text;
    *whole = b;
    return HV_OK;
}

enum hv_status slots_read(struct slots *s, enum slots_state *state, char **text, u32 *len)
{
    u8 *best = NULL;
    bool bad = false, unreadable = false;

    *text = NULL;
    *len = 0;
    s->sequence = 0;
    s->newest = 1; /* the first text goes into the first copy */
    for (u32 i = 0; i < SLOTS; i++) {
        enum copy_state copy;
        u64 sequence;
        u32 n = 0;
        u8 *whole;
        enum hv_status status = read_copy(&s->file[i], &copy, &whole, &sequence, &n);

        if (status != HV_OK) {
            free(best);
            return status;
        }
        unreadable |= copy == COPY_UNREADABLE;
        bad |= copy == COPY_BAD || copy == COPY_UNREADABLE;
        if (copy != COPY_WHOLE || sequence <= s->sequence) {
            free(whole);
            continue;
        }
        free(best);
        best = whole;
        *len = n;
        s->sequence = sequence;
        s->newest = i;
    }
    *state = best ? bad ? SLOTS_REPAIRED : SLOTS_GOOD : bad ? SLOTS_LOST : SLOTS_EMPTY;
    s->unreadable = unreadable;
    if (!best && unreadable)
        return HV_EIO;
    if (best) {
        memmove(best, best + SLOTS_HEADER, *len + 1ull);
        *text = (char *)best;
    }
    return HV_OK;
}

enum hv_status slots_write(struct slots *s, const char *text, u32 len)
{
    u32 to = (s->newest + 1) % SLOTS;
    const struct esp_file *f = &s->file[to];
    u64 size = ROUND_UP((u64)SLOTS_HEADER + len, (u64)f->disk->block_size);

    if (len > SLOTS_TEXT_MAX || size > f->size)
        return HV_ENOSPC;
    u8 *b = calloc(1, size);
    if (!b)
        return HV_ENOMEM;
    memcpy(b + MAGIC, magic, sizeof(magic));
    put_le32(b + VERSION, 1);
    put_le64(b + SEQUENCE, s->sequence + 1);
    put_le64(b + LENGTH, len);
    memcpy(b + SLOTS_HEADER, text, len);
    put_le32(b + CHECKSUM, checksum(b, (u64)SLOTS_HEADER + len));
    enum hv_status status = esp_write(f, 0, b, size);
    free(b);
    if (status == HV_OK)
        status = disk_flush(f->disk);
    if (status != HV_OK)
        return status;
    s->sequence++;
    s->newest = to;
    return HV_OK;
}
