/* USB disks: Mass Storage Class, Bulk-Only Transport 1.0, all units of each.  Called by
 * usb_device.c and scsi.c, by the events of its pipes on the loop. */
#include "drivers/usb_storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "drivers/scsi.h"
#include "drivers/usb_device.h"

struct command_block { /* 5.1 */
    u32 signature, tag, length;
    u8 flags, unit, cdb_len, cdb[16];
} __attribute__((packed));
struct status_block { /* 5.2 */
    u32 signature, tag, left;
    u8 status;
} __attribute__((packed));
#define COMMAND_SIGNATURE 0x43425355u
#define STATUS_SIGNATURE 0x53425355u
#define COMMAND_LEN 31
#define STATUS_LEN 13
enum { STATUS_PASSED, STATUS_FAILED, STATUS_PHASE };
#define RESET_RECOVERY 0xffu /* 3.1 */
#define GET_MAX_LUN 0xfeu    /* 3.2 */
#define UNITS 16
#define KIND_BULK 2

#define PIECE (64 * KIB)
#define BYTES_MOST (128 * KIB)
#define SEGMENTS 64

struct memory { /* DMA memory, 256 bytes */
    struct command_block command;
    u8 gap[33];
    struct status_block status;
    u8 gap2[51];
    u8 sense[SCSI_SENSE];
};

/* What the pipes work on, one after the other: some devices choke on being asked ahead.  Data
 * towards the disk goes with the command. */
enum stage { IDLE, COMMAND, DATA, STATUS };

struct unit {
    struct scsi_disk disk;
    struct storage *storage;
    u8 number;
    bool away; /* until its controller was reset; what is asked of it waits */
    bool found;
    struct event back; /* one or the other */
};

/* Of a device whose controller is reset: what must be the same when it is found again. */
struct place {
    struct xhci *x; /* NULL: it does not wait */
    u32 port, route;
    u16 vendor, product;
};

struct storage {
    struct storage *next; /* of those that wait */
    struct place place;
    struct unit *units[UNITS]; /* NULL: not used */
    struct unit *asked;        /* whose command is out, or was last */
    struct usb_device *device; /* NULL: pulled out */
    struct usb_pipe *in, *out;
    u32 interface;
    struct memory *memory;
    struct scsi_command *current; /* NULL: none is out */
    struct scsi_command sense;    /* asks why current failed */
    bool sensing, recovering, stalled;
    enum stage stage;
    u32 tag;
    u64 last_trb; /* its event ends the stage */
};

static struct storage *away;

static struct scsi_command *active(struct storage *s)
{
    return s->sensing ? &s->sense : s->current;
}

static void forget(struct storage *s)
{
    s->current = NULL;
    s->sensing = false;
    s->stage = IDLE;
}

/* ---- one command ------------------------------------------------------------------------------
 */
static u64 put_data(struct usb_pipe *p, const struct scsi_command *c, bool event)
{
    u64 left = c->length, at, len, trb = 0;
    struct block_walk w;

    scsi_walk(&w, c);
    while (left && block_walk_next(&w, &at, &len)) {
        left -= len;
        trb = usb_pipe_put(p, at, (u32)len, left, event && !left);
    }
    return trb;
}

static void send(struct storage *s)
{
    struct scsi_command *c = active(s);
    struct command_block *b = &s->memory->command;
    bool data_out = c->length && !c->in;

    *b = (struct command_block){.signature = COMMAND_SIGNATURE,
                                .tag = ++s->tag,
                                .length = c->length,
                                .flags = c->in ? 0x80 : 0,
                                .unit = s->asked->number,
                                .cdb_len = (u8)c->cdb_len};
    memcpy(b->cdb, c->cdb, sizeof(b->cdb));
    s->stage = COMMAND;
    s->stalled = false;
    s->last_trb = usb_pipe_put(s->out, dma_address(b), COMMAND_LEN, 0, !data_out);
    if (data_out)
        s->last_trb = put_data(s->out, c, true);
    usb_pipe_start(s->out);
}

static void ask_data(struct storage *s)
{
    s->stage = DATA;
    s->last_trb = put_data(s->in, active(s), true);
    usb_pipe_start(s->in);
}

static void ask_status(struct storage *s)
{
    s->stage = STATUS;
    memset(&s->memory->status, 0, STATUS_LEN);
    s->last_trb = usb_pipe_put(s->in, dma_address(&s->memory->status), STATUS_LEN, 0, true);
    usb_pipe_start(s->in);
}

static void end(struct storage *s, enum hv_status delivered)
{
    struct scsi_command *c = s->current;

    forget(s);
    c->delivered = delivered;
    for (u32 i = 1; i < UNITS && !s->current; i++) { /* by turns */
        struct unit *u = s->units[(s->asked->number + i) % UNITS];
        if (u && u->disk.block.waiting)
            block_room(&u->disk.block);
    }
    c->done(c);
    for (u32 i = 0; i < UNITS && !s->current; i++)
        if (s->units[i])
            block_room(&s->units[i]->disk.block);
}

/* ---- what goes wrong: in a fiber ---------------------------------------------------------------
 */
static enum hv_status reset_recovery(struct storage *s) /* 5.3.4 */
{
    struct usb_device *d = s->device;

    if (!d)
        return HV_EIO;
    enum hv_status status =
        usb_control(d, USB_CLASS | USB_TO_INTERFACE, RESET_RECOVERY, 0, s->interface, 0);

    if (status == HV_OK && s->device)
        status = usb_pipe_clear(s->in);
    if (status == HV_OK && s->device)
        status = usb_pipe_clear(s->out);
    return s->device ? status : HV_EIO;
}

/* A stalled pipe is how a device cuts data short: 6.7.  The status is still to come then. */
static void recover(void *arg)
{
    struct storage *s = arg;
    struct usb_device *d = s->device;
    bool again = false;

    if (!d) { /* it went since */
        s->recovering = false;
        return;
    }
    d->users++;
    if (s->stalled) {
        enum hv_status status = usb_pipe_clear(s->stage == COMMAND ? s->out : s->in);
        again = status == HV_OK && s->device && s->current;
    }
    enum hv_status status = again ? HV_OK : s->device ? reset_recovery(s) : HV_EIO;
    s->recovering = false;
    if (s->device && s->current) {
        if (again)
            ask_status(s);
        else
            end(s, status == HV_OK ? HV_EBUSY : HV_EIO);
    }
    d->users--;
}

static void trouble(struct storage *s, bool stalled)
{
    if (s->recovering || s->asked->disk.block.resetting)
        return;
    s->stalled = stalled && !s->stalled; /* the second time it is reset */
    s->recovering = true;
    if (!fiber_spawn("usb", recover, s)) {
        log_error("%s: no memory to recover", s->asked->disk.block.name);
        s->recovering = false; /* the block layer's watchdog comes */
    }
}

/* ---- events ------------------------------------------------------------------------------------
 */
/* True: what came ends the stage. */
static bool ends_stage(struct storage *s, u64 trb, u32 code)
{
    if (s->recovering || code == CODE_STOPPED)
        return false;
    if (code == CODE_SHORT && s->stage == DATA) /* at any TRB of it */
        return true;
    if (code == CODE_SUCCESS || code == CODE_SHORT)
        return trb == s->last_trb;
    trouble(s, code == CODE_STALL);
    return false;
}

static void on_out(struct usb_pipe *p, u64 trb, u32 code, u32 left)
{
    struct storage *s = p->owner;

    (void)left;
    if (s->stage != COMMAND || !ends_stage(s, trb, code))
        return;
    if (active(s)->in && active(s)->length)
        ask_data(s);
    else
        ask_status(s);
}

static void on_status(struct storage *s)
{
    const struct status_block b = s->memory->status;
    struct scsi_command *c = active(s);

    if (b.signature != STATUS_SIGNATURE || b.tag != s->tag || b.status > STATUS_FAILED ||
        b.left > c->length) {
        s->stalled = true; /* no use in asking for it again */
        trouble(s, false);
        return;
    }
    c->moved = c->length - b.left;
    if (s->sensing) {
        s->current->sense_len = b.status == STATUS_PASSED ? c->moved : 0;
        memcpy(s->current->sense, s->memory->sense, SCSI_SENSE);
        end(s, HV_OK);
    } else if (b.status == STATUS_PASSED) {
        c->status = SCSI_GOOD;
        end(s, HV_OK);
    } else {
        c->status = SCSI_CHECK;
        s->sensing = true;
        s->sense = (struct scsi_command){.cdb = {SCSI_REQUEST_SENSE, [4] = SCSI_SENSE},
                                         .cdb_len = 6,
                                         .in = true,
                                         .length = SCSI_SENSE,
                                         .piece = {s->memory->sense, SCSI_SENSE}};
        send(s);
    }
}

static void on_in(struct usb_pipe *p, u64 trb, u32 code, u32 left)
{
    struct storage *s = p->owner;

    (void)left;
    if ((s->stage != DATA && s->stage != STATUS) || !ends_stage(s, trb, code))
        return;
    if (s->stage == DATA)
        ask_status(s);
    else
        on_status(s);
}

/* ---- what scsi.c sees --------------------------------------------------------------------------
 */
static bool start(void *lun, struct scsi_command *c)
{
    struct unit *u = lun;
    struct storage *s = u->storage;

    if (s->current || s->recovering || !s->device || u->away)
        return false;
    s->current = c;
    s->asked = u;
    send(s);
    return true;
}

static void poll(void *lun)
{
    const struct unit *u = lun;

    if (u->storage->device)
        xhci_poll(u->storage->device->x);
}

static enum hv_status wait_back(struct unit *u)
{
    while (u->away)
        fiber_wait(&u->back, LOOP_NEVER);
    return u->found && u->storage->device ? HV_OK : HV_EIO;
}

/* All units: what another one waits for is forgotten, too, so it is reset after this one. */
static enum hv_status reset(void *lun)
{
    struct unit *u = lun;
    struct storage *s = u->storage;
    struct usb_device *d = s->device;

    if (!d || u->away)
        return wait_back(u);
    d->users++;
    while (s->recovering)
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
    enum hv_status status = s->device ? reset_recovery(s) : HV_EIO;
    bool others = s->current && s->asked != u && s->device;
    forget(s);
    if (others && s->asked->disk.block.name[0])
        block_stuck(&s->asked->disk.block, "another unit was reset");
    d->users--;
    if (status == HV_OK)
        return status;
    while (u->disk.block.name[0] && s->device == d && d->x->dead) /* on_gone() is to come */
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
    return u->away ? wait_back(u) : status;
}

static const struct scsi_transport transport = {.start = start, .poll = poll, .reset = reset};

static void on_gone(struct usb_device *d)
{
    struct storage *s = d->owner;

    s->device = NULL;
    forget(s);
    if (d->returns) {
        s->place = (struct place){d->x, d->port, d->route, d->identity.vendor, d->identity.product};
        s->next = away;
        away = s;
    }
    for (u32 i = 0; i < UNITS; i++) {
        if (!s->units[i])
            continue;
        if (d->returns) {
            s->units[i]->away = true;
            s->units[i]->found = false;
            event_clear(&s->units[i]->back);
            block_stuck(&s->units[i]->disk.block, "its controller has failed");
        } else {
            scsi_gone(&s->units[i]->disk);
        }
    }
}

/* ---- a controller that was reset ---------------------------------------------------------------
 */
static void settle(struct unit *u)
{
    u->away = false;
    event_signal(&u->back);
    if (u->found)
        block_room(&u->disk.block);
    else
        scsi_gone(&u->disk);
}

static void take_off(struct storage *s)
{
    struct storage **link = &away;

    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    s->place.x = NULL;
}

void usb_storage_miss(struct xhci *x)
{
    for (struct storage *s = away, *next; s; s = next) {
        next = s->next;
        if (s->place.x != x)
            continue;
        take_off(s);
        for (u32 i = 0; i < UNITS; i++)
            if (s->units[i])
                settle(s->units[i]);
    }
}

static struct storage *find_away(const struct usb_device *d)
{
    struct storage *s = away;

    while (s && (s->place.x != d->x || s->place.port != d->port || s->place.route != d->route ||
                 s->place.vendor != d->identity.vendor || s->place.product != d->identity.product))
        s = s->next;
    return s;
}

static void read_serial(struct storage *s, char *serial)
{
    struct usb_device *d = s->device;

    if (d->identity.serial_string &&
        usb_control(d, USB_IN, USB_GET_DESCRIPTOR, USB_STRING << 8 | d->identity.serial_string,
                    0x0409, 255) == HV_OK)
        usb_text(serial, BLOCK_TEXT_MAX, d->scratch, 255);
}

/* How many units; a device that does not say has one. */
static u32 count_units(struct storage *s)
{
    struct usb_device *d = s->device;

    if (usb_control(d, USB_IN | USB_CLASS | USB_TO_INTERFACE, GET_MAX_LUN, 0, s->interface, 1) !=
        HV_OK)
        return 1;
    return MIN(d->scratch[0] + 1u, (u32)UNITS);
}

static struct unit *new_unit(struct storage *s, u32 number, const char *serial)
{
    struct unit *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->storage = s;
    u->number = (u8)number;
    memcpy(u->disk.block.serial, serial, BLOCK_TEXT_MAX);
    u->disk.transport = &transport;
    u->disk.lun = u;
    u->disk.depth = 1;
    u->disk.prefix = "usb";
    u->disk.block.kind = "USB";
    u->disk.block.limits = (struct block_limits){
        .bytes = BYTES_MOST, .segments = SEGMENTS, .segment_bytes = PIECE, .boundary = PIECE};
    s->asked = u;
    return u;
}

static void wait_recovered(const struct storage *s)
{
    while (s->recovering)
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
}

/* True: it is used. */
static bool attach_unit(struct storage *s, u32 number, const char *serial)
{
    struct unit *u = new_unit(s, number, serial);

    if (!u)
        return false;
    if (scsi_attach(&u->disk) == HV_OK) {
        s->units[number] = u;
        return true;
    }
    wait_recovered(s);
    return false; /* u stays: s->asked may be it */
}

/* A unit that waits is found again, and goes on when all of them are, or another one is in its
 * place. */
static bool attach_again(struct storage *s, u32 number, const char *serial)
{
    struct unit *old = s->units[number], *now = new_unit(s, number, serial);

    if (!now)
        return false;
    old->found = scsi_same(&old->disk, &now->disk);
    wait_recovered(s);
    s->asked = old;
    free(now);
    if (old->found || s->device->x->dead)
        return old->found;
    s->units[number] = NULL;
    settle(old);
    return attach_unit(s, number, serial);
}

static enum hv_status bring_up(struct storage *s, const struct usb_interface *i)
{
    enum hv_status status = usb_configure(s->device, i);
    char serial[BLOCK_TEXT_MAX] = "";

    if (status != HV_OK)
        return status;
    s->in = usb_pipe_find(s->device, i, KIND_BULK, true);
    s->out = usb_pipe_find(s->device, i, KIND_BULK, false);
    if (!s->in || !s->out)
        return HV_ENOENT;
    s->in->on_event = on_in;
    s->out->on_event = on_out;
    s->in->owner = s->out->owner = s;
    read_serial(s, serial);
    u32 units = count_units(s), used = 0;
    for (u32 n = 0; n < units && s->device && !s->device->gone; n++)
        used += s->units[n] ? attach_again(s, n, serial) : attach_unit(s, n, serial);
    return used ? HV_OK : HV_ENOENT;
}

/* The disk of a device that was there before its controller was reset.  True: it has the device. */
static bool return_to(struct storage *s, struct usb_device *d, const struct usb_interface *i)
{
    wait_recovered(s);
    s->device = d;
    s->interface = i->number;
    d->owner = s;
    d->users++;
    enum hv_status status = bring_up(s, i);
    d->users--;
    if (d->x->dead) { /* once more: on_gone() comes with s still waiting */
        s->device = NULL;
        forget(s);
        for (u32 n = 0; n < UNITS; n++)
            if (s->units[n])
                s->units[n]->found = false;
        return false;
    }
    take_off(s);
    for (u32 n = 0; n < UNITS; n++)
        if (s->units[n] && s->units[n]->away)
            settle(s->units[n]);
    d->on_gone = on_gone;
    if (d->gone)
        on_gone(d);
    return status == HV_OK;
}

bool usb_storage_attach(struct usb_device *d, const struct usb_interface *i)
{
    struct storage *before = find_away(d), *s;

    if (before)
        return return_to(before, d, i);
    s = calloc(1, sizeof(*s));
    struct memory *memory = dma_alloc(sizeof(struct memory));

    if (!s || !memory) {
        dma_free(memory, sizeof(struct memory));
        free(s);
        return false;
    }
    s->device = d;
    s->memory = memory;
    s->interface = i->number;
    d->users++;
    enum hv_status status = bring_up(s, i);
    d->users--;
    if (status == HV_OK) {
        d->owner = s;
        d->on_gone = on_gone;
        if (d->gone) /* meanwhile */
            on_gone(d);
        return true;
    }
    while (s->recovering)
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
    if (s->in)
        s->in->on_event = NULL;
    if (s->out)
        s->out->on_event = NULL;
    free(s); /* the memory stays: a controller that failed may write to it */
    return false;
}
