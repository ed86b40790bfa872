/* Commands and answers of SCSI disks: SPC-4 (sense data, INQUIRY), SBC-3 (the others).  Called by
 * block.c and by the drivers that carry commands; on the loop or in a fiber. */
#include "drivers/scsi.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "drivers/scsi_media.h"

#define TYPE_DISK 0u
#define TYPE_CD 5u
#define TRIES 8
#define RETRY_AFTER (20 * CLOCK_MS)
#define READY_WITHIN (10 * CLOCK_SECOND)
#define ANSWER_WITHIN (10 * CLOCK_SECOND)
#define START_TRIES 100u
#define START_EVERY (5 * CLOCK_MS)
#define UNMAP_BYTES 24u
#define UNMAPS 2048u /* in scratch, where those of the commands begin */

enum sense_key { NO_SENSE, RECOVERED, NOT_READY, ILLEGAL = 5, ATTENTION, PROTECTED, ABORTED = 11 };
enum additional_code { MEDIUM_CHANGED = 0x28, NO_MEDIUM = 0x3a };

static u32 get_be(const u8 *p, u32 bytes)
{
    u32 value = 0;

    for (u32 i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

static void put_be(u8 *p, u64 value, u32 bytes)
{
    while (bytes--) {
        p[bytes] = (u8)value;
        value >>= 8;
    }
}

/* ---- pure ------------------------------------------------------------------------------------ */
u32 scsi_build(const struct scsi_disk *d, const struct block_request *r, u8 cdb[SCSI_CDB],
               u8 *unmap)
{
    u64 first = r->offset / d->block.sector_size, count = r->length / d->block.sector_size;
    bool write = r->op == BLOCK_WRITE;

    memset(cdb, 0, SCSI_CDB);
    if (r->op == BLOCK_FLUSH) {
        cdb[0] = SCSI_SYNCHRONIZE;
        return 10;
    }
    if (r->op == BLOCK_DISCARD) { /* SBC-3 5.28: one range */
        memset(unmap, 0, UNMAP_BYTES);
        put_be(unmap, UNMAP_BYTES - 2, 2);
        put_be(unmap + 2, 16, 2);
        put_be(unmap + 8, first, 8);
        put_be(unmap + 16, count, 4);
        cdb[0] = SCSI_UNMAP;
        put_be(cdb + 7, UNMAP_BYTES, 2);
        return 10;
    }
    if (d->wide) {
        cdb[0] = write ? SCSI_WRITE_16 : SCSI_READ_16;
        put_be(cdb + 2, first, 8);
        put_be(cdb + 10, count, 4);
        return 16;
    }
    cdb[0] = write ? SCSI_WRITE : SCSI_READ;
    put_be(cdb + 2, first, 4);
    put_be(cdb + 7, count, 2);
    return 10;
}

/* Key, then the additional code and its qualifier, of fixed and descriptor format: SPC-4 4.5. */
static u32 sense_of(const struct scsi_command *c)
{
    const u8 *s = c->sense;
    u32 format = c->sense_len ? s[0] & 0x7fu : 0;

    if ((format == 0x70 || format == 0x71) && c->sense_len >= 14)
        return (s[2] & 15u) << 16 | (u32)s[12] << 8 | s[13];
    if ((format == 0x72 || format == 0x73) && c->sense_len >= 4)
        return (s[1] & 15u) << 16 | (u32)s[2] << 8 | s[3];
    return ABORTED << 16;
}

enum hv_status scsi_verdict(const struct scsi_command *c)
{
    if (c->delivered != HV_OK)
        return c->delivered;
    if (c->status == SCSI_BUSY || c->status == SCSI_FULL)
        return HV_EBUSY;
    if (c->status == SCSI_GOOD)
        return HV_OK;
    if (c->status != SCSI_CHECK)
        return HV_EIO;
    u32 sense = sense_of(c);
    switch (sense >> 16) {
    case NO_SENSE:
    case RECOVERED:
        return HV_OK;
    case ATTENTION:
    case ABORTED:
        return HV_EBUSY;
    case NOT_READY: /* 04H 01H: it becomes ready */
        return (sense & 0xffff) == 0x0401 ? HV_EBUSY : HV_EIO;
    case ILLEGAL:
        return (sense & 0xff00) == 0x2000 ? HV_ENOSYS : HV_EIO;
    case PROTECTED:
        return HV_EPERM;
    default:
        return HV_EIO;
    }
}

enum hv_status scsi_capacity(struct block_device *b, const u8 *answer, u32 len)
{
    bool wide = len >= 16;
    u64 last = get_be(answer, 4);
    u32 sector = get_be(answer + (wide ? 8 : 4), 4);

    if (wide)
        last = last << 32 | get_be(answer + 4, 4);
    else if (last == 0xffffffff)
        return HV_E2BIG;
    if (sector < 512 || sector > 64 * KIB || (sector & (sector - 1)) || last >= 1ull << 46)
        return HV_ENOENT;
    b->sector_size = b->physical_sector_size = sector;
    if (wide && (answer[13] & 15) <= 8)
        b->physical_sector_size = sector << (answer[13] & 15);
    b->size = (last + 1) * sector;
    return HV_OK;
}

/* ---- requests ---------------------------------------------------------------------------------
 */
void scsi_walk(struct block_walk *w, const struct scsi_command *c)
{
    if (c->piece.base)
        *w = (struct block_walk){.iov = &c->piece, .left = 1};
    else
        block_walk_start(w, c->request);
}

static void free_command(struct scsi_disk *d, struct scsi_command *c)
{
    d->busy &= ~(1u << c->slot);
    d->again &= ~(1u << c->slot);
}

/* Without a medium, or with another one, nothing that was meant for the old one may go on. */
static void note_medium(struct scsi_disk *d, const struct scsi_command *c)
{
    if (c->delivered != HV_OK || c->status != SCSI_CHECK || !d->block.removable ||
        !d->block.name[0] || d->block.no_medium)
        return;
    u32 sense = sense_of(c);
    if ((sense >> 8) == (NOT_READY << 8 | NO_MEDIUM) ||
        (sense >> 8) == (ATTENTION << 8 | MEDIUM_CHANGED)) {
        block_medium(&d->block, 0, d->block.sector_size);
        scsi_media_look();
    }
}

static void on_done(struct scsi_command *c)
{
    struct scsi_disk *d = c->owner;
    struct block_request *r = c->request;
    enum hv_status status = scsi_verdict(c);

    note_medium(d, c);
    if (status == HV_EBUSY && ++c->tries < TRIES && !d->block.no_medium) {
        d->again |= 1u << c->slot;
        loop_timer_set(&d->retry, clock_after(RETRY_AFTER));
        return;
    }
    if (status == HV_ENOSYS && r->op == BLOCK_FLUSH) { /* it has no cache to write back */
        d->block.can_flush = false;
        status = HV_OK;
    }
    if (status == HV_OK && c->moved < c->length)
        status = HV_EIO;
    free_command(d, c);
    block_done(r, status == HV_EBUSY ? HV_EIO : status);
}

static void on_retry(void *owner)
{
    struct scsi_disk *d = owner;

    for (u32 left = d->again; left && !d->block.resetting && !d->block.gone; left &= left - 1) {
        u32 slot = (u32)__builtin_ctz(left);
        struct block_request *r = d->commands[slot].request;
        if (d->block.no_medium) {
            free_command(d, &d->commands[slot]);
            block_done(r, HV_ENOENT);
            continue;
        }
        if (!d->transport->start(d->lun, &d->commands[slot])) {
            loop_timer_set(&d->retry, clock_after(RETRY_AFTER));
            return;
        }
        d->again &= ~(1u << slot);
    }
}

/* NULL: all are out. */
static struct scsi_command *new_command(struct scsi_disk *d)
{
    u32 usable = d->depth >= 32 ? ~0u : (1u << d->depth) - 1;

    if (!(usable & ~d->busy))
        return NULL;
    u32 slot = (u32)__builtin_ctz(usable & ~d->busy);
    d->busy |= 1u << slot;
    d->commands[slot] = (struct scsi_command){.slot = slot, .owner = d};
    return &d->commands[slot];
}

static bool submit(struct block_device *b, struct block_request *r)
{
    struct scsi_disk *d = b->driver;
    struct scsi_command *c = new_command(d);

    if (!c)
        return false;
    u8 *unmap = d->scratch + UNMAPS + c->slot * 64;
    c->cdb_len = scsi_build(d, r, c->cdb, unmap);
    c->done = on_done;
    c->request = r;
    c->in = r->op == BLOCK_READ;
    if (r->op == BLOCK_READ || r->op == BLOCK_WRITE) {
        c->length = (u32)r->length;
    } else if (r->op == BLOCK_DISCARD) {
        c->piece = (struct block_iov){unmap, UNMAP_BYTES};
        c->length = UNMAP_BYTES;
    }
    if (d->transport->start(d->lun, c))
        return true;
    free_command(d, c);
    return false;
}

static void poll(struct block_device *b)
{
    struct scsi_disk *d = b->driver;

    d->transport->poll(d->lun);
}

static enum hv_status reset(struct block_device *b)
{
    struct scsi_disk *d = b->driver;
    enum hv_status status = d->transport->reset(d->lun);

    loop_timer_cancel(&d->retry);
    d->busy = d->again = 0;
    d->resets++;
    return status;
}

static const struct block_ops ops = {.submit = submit, .poll = poll, .reset = reset};

void scsi_gone(struct scsi_disk *d)
{
    loop_timer_cancel(&d->retry);
    d->busy = d->again = 0;
    d->resets++;
    block_gone(&d->block, "it was pulled out");
}

/* ---- finding out what it is -------------------------------------------------------------------
 */
static void on_run(struct scsi_command *c)
{
    event_signal(&c->over);
}

/* HV_EBUSY: the transport has no room for long, or forgot it at a reset. */
static enum hv_status run_once(struct scsi_disk *d, struct scsi_command *c)
{
    u32 resets = d->resets, tries = 0;

    event_clear(&c->over);
    c->moved = c->sense_len = 0;
    d->sense = 0;
    while (!d->transport->start(d->lun, c)) {
        if (d->resets != resets || ++tries == START_TRIES)
            return HV_EBUSY;
        fiber_sleep_until(clock_after(START_EVERY));
    }
    if (fiber_wait(&c->over, clock_after(ANSWER_WITHIN)) == HV_OK) {
        if (c->delivered == HV_OK && c->status == SCSI_CHECK)
            d->sense = sense_of(c);
        note_medium(d, c);
        return scsi_verdict(c);
    }
    if (d->resets != resets)
        return HV_EBUSY;
    if (!d->block.name[0]) { /* this target is not used */
        d->depth = 0;
        (void)d->transport->reset(d->lun);
        return HV_ETIMEDOUT;
    }
    block_stuck(&d->block, "it does not say whether it has a medium");
    while (d->block.resetting)
        fiber_sleep_until(clock_after(START_EVERY));
    return HV_ETIMEDOUT;
}

enum hv_status scsi_run(struct scsi_disk *d, const u8 *cdb, u32 cdb_len, void *data, u32 length,
                        bool in)
{
    struct scsi_command *c = new_command(d);
    enum hv_status status = HV_EBUSY;
    u32 resets = d->resets;

    if (!c)
        return HV_EBUSY;
    memcpy(c->cdb, cdb, cdb_len);
    c->cdb_len = cdb_len;
    c->done = on_run;
    c->in = in;
    c->length = length;
    c->piece = (struct block_iov){data, length};
    for (u32 i = 0; i < TRIES && status == HV_EBUSY && d->resets == resets; i++)
        status = run_once(d, c);
    if (d->resets == resets && status != HV_ETIMEDOUT) /* else it is not ours any more */
        free_command(d, c);
    return status;
}

static enum hv_status ask(struct scsi_disk *d, const u8 *cdb, u32 cdb_len, u32 length)
{
    memset(d->scratch, 0, length);
    return scsi_run(d, cdb, cdb_len, d->scratch, length, true);
}

static enum hv_status inquire(struct scsi_disk *d, u32 *type)
{
    static const u8 cdb[6] = {SCSI_INQUIRY, [4] = 36};
    enum hv_status status = ask(d, cdb, sizeof(cdb), 36);
    char product[BLOCK_TEXT_MAX];

    if (status != HV_OK)
        return status;
    *type = d->scratch[0]; /* with the qualifier: something is connected */
    d->block.removable = d->scratch[1] & 0x80;
    block_text(d->block.model, 10, d->scratch + 8, 8, false);
    block_text(product, sizeof(product), d->scratch + 16, 16, false);
    block_text(d->block.firmware, sizeof(d->block.firmware), d->scratch + 32, 4, false);
    u64 n = strlen(d->block.model);
    if (n)
        d->block.model[n++] = ' ';
    strcpy(d->block.model + n, product);
    return HV_OK;
}

static enum hv_status wait_ready(struct scsi_disk *d)
{
    static const u8 test[6] = {SCSI_TEST_READY}, start[6] = {SCSI_START_STOP, [4] = 1};
    u64 end = clock_after(READY_WITHIN);
    bool started = false;

    for (;;) {
        enum hv_status status = scsi_run(d, test, sizeof(test), NULL, 0, false);
        if (status != HV_EBUSY && status != HV_EIO)
            return status;
        u32 sense = d->sense;
        if ((sense & 0xff00) == NO_MEDIUM << 8)
            return HV_ENOENT; /* no medium */
        if (clock_tsc() > end)
            return HV_ETIMEDOUT;
        if (sense == (NOT_READY << 16 | 0x0402) && !started) {
            started = scsi_run(d, start, sizeof(start), NULL, 0, false) != HV_EBUSY;
        }
        fiber_sleep_until(clock_after(100 * CLOCK_MS));
    }
}

/* VPD pages 80H (serial number) and B0H (limits): SPC-4 7.8, SBC-3 6.5. */
static void read_pages(struct scsi_disk *d, bool provisioned)
{
    static const u8 serial[6] = {SCSI_INQUIRY, 1, 0x80, 0, 255},
                    limits[6] = {SCSI_INQUIRY, 1, 0xb0, 0, 64};

    if (!d->block.serial[0] && ask(d, serial, sizeof(serial), 255) == HV_OK)
        block_text(d->block.serial, sizeof(d->block.serial), d->scratch + 4,
                   MIN(d->scratch[3], (u8)251), false);
    if (!provisioned || ask(d, limits, sizeof(limits), 64) != HV_OK)
        return;
    u64 most = get_be(d->scratch + 20, 4);
    d->block.can_discard = most && get_be(d->scratch + 24, 4);
    d->block.limits.range[0] = most * d->block.sector_size;
}

static enum hv_status read_capacity(struct scsi_disk *d, bool *provisioned)
{
    static const u8 narrow[10] = {SCSI_CAPACITY}, wide[16] = {SCSI_SERVICE_IN, 0x10, [13] = 32};
    enum hv_status status = ask(d, narrow, sizeof(narrow), 8);

    *provisioned = false;
    if (status == HV_OK)
        status = scsi_capacity(&d->block, d->scratch, 8);
    if (status == HV_E2BIG || (status == HV_OK && d->transport->modern)) {
        bool must = status == HV_E2BIG;
        status = ask(d, wide, sizeof(wide), 32);
        if (status != HV_OK)
            return must ? status : HV_OK;
        status = scsi_capacity(&d->block, d->scratch, 32);
        *provisioned = d->scratch[14] & 0x80;
    }
    d->wide = d->block.size / MAX(d->block.sector_size, 1u) > 0xffffffff;
    return status;
}

/* What depends on the medium. */
static enum hv_status read_medium(struct scsi_disk *d)
{
    static const u8 mode[6] = {SCSI_MODE_SENSE, 0, 0x3f, 0, 192};
    bool provisioned;
    enum hv_status status = read_capacity(d, &provisioned);

    if (status != HV_OK)
        return status;
    if (d->transport->modern)
        read_pages(d, provisioned && d->type == TYPE_DISK);
    d->block.can_flush = d->type == TYPE_DISK;
    d->block.read_only = d->type == TYPE_CD;
    if (d->type == TYPE_DISK && ask(d, mode, sizeof(mode), 192) == HV_OK)
        d->block.read_only = d->scratch[2] & 0x80;
    return HV_OK;
}

static enum hv_status find_out(struct scsi_disk *d)
{
    enum hv_status status = inquire(d, &d->type);

    if (status != HV_OK || (d->type != TYPE_DISK && d->type != TYPE_CD))
        return status != HV_OK ? status : HV_ENOENT;
    d->block.removable |= d->type == TYPE_CD;
    status = wait_ready(d);
    if (status == HV_OK)
        status = read_medium(d);
    if (status == HV_ENOENT && d->block.removable) {
        d->block.no_medium = d->block.read_only = true;
        d->block.size = 0;
        d->block.sector_size = d->block.physical_sector_size = d->type == TYPE_CD ? 2048 : 512;
        status = HV_OK;
    }
    if (status != HV_OK)
        return status;
    return d->depth ? HV_OK : HV_ETIMEDOUT;
}

void scsi_refresh(struct scsi_disk *d)
{
    static const u8 test[6] = {SCSI_TEST_READY};
    struct block_device *b = &d->block;

    if (b->gone || b->resetting || d->busy || (d->type != TYPE_CD && !b->no_medium))
        return;
    enum hv_status status = scsi_run(d, test, sizeof(test), NULL, 0, false);
    if (status == HV_OK && b->no_medium && !b->gone) {
        status = read_medium(d);
        if (status == HV_OK && b->no_medium && !b->gone)
            block_medium(b, b->size, b->sector_size);
        else
            b->size = 0;
    }
    block_room(b); /* a slot was taken */
}

/* With an error nothing is left but what the target may still write to. */
static enum hv_status ask_all(struct scsi_disk *d)
{
    d->scratch = dma_alloc(PAGE_SIZE);
    if (!d->scratch)
        return HV_ENOMEM;
    d->block.ops = &ops;
    d->block.driver = d;
    d->retry.fn = on_retry;
    d->retry.owner = d;
    enum hv_status status = find_out(d);
    if (status != HV_OK && status != HV_ETIMEDOUT)
        dma_free(d->scratch, PAGE_SIZE);
    return status;
}

bool scsi_same(const struct scsi_disk *old, struct scsi_disk *now)
{
    const struct block_device *a = &old->block, *b = &now->block;

    if (ask_all(now) != HV_OK)
        return false;
    dma_free(now->scratch, PAGE_SIZE);
    return old->type == now->type && a->size == b->size && a->sector_size == b->sector_size &&
           !strcmp(a->model, b->model) && !strcmp(a->serial, b->serial);
}

enum hv_status scsi_attach(struct scsi_disk *d)
{
    struct block_device *b = &d->block;
    enum hv_status status = ask_all(d);

    if (status != HV_OK) {
        if (d->type != 0x7f) /* nothing is there */
            log_info("%s: device of type %u is not used (status %d)", b->kind, d->type & 31,
                     status);
        return HV_ENOENT;
    }
    b->limits.bytes = MIN(b->limits.bytes, (u64)b->sector_size << 15); /* 16 bits of sectors */
    b->limits.queue_depth = d->depth;
    block_register(b, d->type == TYPE_CD ? "cd" : d->prefix);
    if (b->removable)
        scsi_media_watch(d);
    return HV_OK;
}
