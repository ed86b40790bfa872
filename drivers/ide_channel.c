/* Commands of ATA disks by ports, with data by bus master or through the data port: ACS-3, ATA8-APT
 * and the Programming Interface for Bus Master IDE Controller 1.0.  Called by ide.c and block.c. */
#include "drivers/ide_channel.h"

#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/mmio.h"
#include "control/rt/port.h"
#include "drivers/ide_packet.h"

#define CONTROL_QUIET 0x02u /* no interrupts */
#define CONTROL_RESET 0x04u
#define DEVICE_FIXED 0xa0u
#define FLOATING 0x7fu /* status, less bit 7, where nothing is attached */

enum { MASTER_COMMAND = 0, MASTER_STATUS = 2, MASTER_TABLE = 4 };
#define MASTER_START 0x01u
#define MASTER_TO_MEMORY 0x08u
#define MASTER_ERROR 0x02u
#define MASTER_INTERRUPT 0x04u
#define MASTER_KEEP 0x60u
#define PRD_LAST 0x8000u

#define SIGNATURE_MID 0x14 /* of packet devices: ACS-3 7.12.6 */
#define SIGNATURE_HIGH 0xeb
#define RESET_NS (31 * CLOCK_SECOND) /* a disk may have to spin up: ATA8-APT */
#define IDENTIFY_NS (5 * CLOCK_SECOND)
#define DATA_NS (2 * CLOCK_MS) /* until a disk takes the first block of a write */

u8 ide_channel_status(const struct ide_channel *c)
{
    return port_in8(c->control);
}

/* 400 ns, until the status is that of the selected disk: four reads of a register. */
void ide_channel_settle(const struct ide_channel *c)
{
    for (u32 i = 0; i < 4; i++)
        (void)ide_channel_status(c);
}

void ide_channel_select(const struct ide_channel *c, u32 number)
{
    port_out8(c->command + IDE_DEVICE, (u8)(DEVICE_FIXED | number << 4));
    ide_channel_settle(c);
}

/* ---- starting a command -----------------------------------------------------------------------
 */
static void put_registers(const struct ide_unit *u, u8 features, u64 sector, u32 count)
{
    u16 at = u->channel->command;
    u8 device = (u8)(DEVICE_FIXED | ATA_DEVICE_LBA | u->number << 4);

    if (u->identity.lba48) { /* the high bytes first */
        port_out8(at + IDE_FEATURES, 0);
        port_out8(at + IDE_COUNT, (u8)(count >> 8));
        port_out8(at + IDE_LOW, (u8)(sector >> 24));
        port_out8(at + IDE_MID, (u8)(sector >> 32));
        port_out8(at + IDE_HIGH, (u8)(sector >> 40));
    } else {
        device |= (u8)(sector >> 24 & 15);
    }
    port_out8(at + IDE_FEATURES, features);
    port_out8(at + IDE_COUNT, (u8)count);
    port_out8(at + IDE_LOW, (u8)sector);
    port_out8(at + IDE_MID, (u8)(sector >> 8));
    port_out8(at + IDE_HIGH, (u8)(sector >> 16));
    port_out8(at + IDE_DEVICE, device);
}

static u8 command_of(const struct ide_unit *u, const struct block_request *r, bool dma)
{
    static const u8 commands[2][2][2] = {
        /* write, DMA, 48 bits */
        {{ATA_READ, ATA_READ_EXT}, {ATA_READ_DMA, ATA_READ_DMA_EXT}},
        {{ATA_WRITE, ATA_WRITE_EXT}, {ATA_WRITE_DMA, ATA_WRITE_DMA_EXT}}};

    if (r->op == BLOCK_FLUSH)
        return u->identity.lba48 ? ATA_FLUSH_EXT : ATA_FLUSH;
    if (r->op == BLOCK_DISCARD)
        return ATA_DATA_SET;
    return commands[r->op == BLOCK_WRITE][dma][u->identity.lba48];
}

static void put_prd(struct ide_channel *c, u32 n, u64 at, u64 len)
{
    c->prds[n] = (struct ide_prd){.address = (u32)at, .count = (u16)len}; /* 64 KiB is 0 */
}

void ide_channel_master(struct ide_channel *c, const struct block_walk *data, bool in)
{
    u8 status = port_in8(c->master + MASTER_STATUS);
    struct block_walk w = *data;
    u64 at, len;
    u32 n = 0;

    while (n < IDE_PRDS && block_walk_next(&w, &at, &len))
        put_prd(c, n++, at, len);
    c->prds[n - 1].flags = PRD_LAST;
    port_out32(c->master + MASTER_TABLE, (u32)dma_address(c->prds));
    port_out8(c->master + MASTER_COMMAND, in ? MASTER_TO_MEMORY : 0);
    port_out8(c->master + MASTER_STATUS,
              (u8)((status & MASTER_KEEP) | MASTER_ERROR | MASTER_INTERRUPT));
}

void ide_channel_run_master(struct ide_channel *c, bool in)
{
    port_out8(c->master + MASTER_COMMAND, (u8)(MASTER_START | (in ? MASTER_TO_MEMORY : 0)));
}

bool ide_channel_master_over(const struct ide_channel *c)
{
    return port_in8(c->master + MASTER_STATUS) & MASTER_INTERRUPT;
}

static void prepare_master(struct ide_channel *c, const struct block_request *r)
{
    const struct block_iov ranges = {c->scratch, 512};
    struct block_walk w = {.iov = &ranges, .left = 1};

    if (r->op != BLOCK_DISCARD)
        block_walk_start(&w, r);
    ide_channel_master(c, &w, r->op == BLOCK_READ);
}

/* ---- the data port ----------------------------------------------------------------------------
 */
/* One sector, which is what the disk moves between two interrupts. */
static void move_sector(struct ide_channel *c, const struct ide_unit *u)
{
    u16 data = c->command + IDE_DATA;
    u64 at;

    for (u32 left = u->block.sector_size; left; left -= 2) {
        if (!c->piece_left) {
            if (!block_walk_next(&c->walk, &at, &c->piece_left))
                return;
            c->piece = dma_pointer(at);
        }
        if (c->request->op == BLOCK_READ)
            *(u16 *)c->piece = port_in16(data);
        else
            port_out16(data, *(const u16 *)c->piece);
        c->piece += 2;
        c->piece_left -= 2;
    }
    c->data_left -= u->block.sector_size;
}

/* The first sector of a write, which no interrupt asks for: ACS-3's PIO data-out protocol. */
static bool first_sector(struct ide_channel *c, const struct ide_unit *u)
{
    u64 end = clock_after(DATA_NS);
    u8 status;

    ide_channel_settle(c);
    while ((status = ide_channel_status(c)) & ATA_BUSY)
        if (clock_tsc() > end)
            return false;
    if (status & ATA_DATA)
        move_sector(c, u);
    return status & (ATA_DATA | ATA_ERROR | ATA_FAULT);
}

static struct ide_unit *unit_of(const struct block_request *r)
{
    return r->device->driver;
}

/* False: the disk does not take it. */
static bool begin(struct ide_channel *c, struct block_request *r, bool dma)
{
    struct ide_unit *u = unit_of(r);
    u64 sector = r->offset / u->block.sector_size;
    u32 count = (u32)(r->length / u->block.sector_size);
    bool data = r->op == BLOCK_READ || r->op == BLOCK_WRITE;

    ide_channel_select(c, u->number);
    if (ide_channel_status(c) & (ATA_BUSY | ATA_DATA))
        return false;
    c->request = r;
    c->by_dma = dma && r->op != BLOCK_FLUSH;
    c->piece_left = 0;
    c->data_left = data && !c->by_dma ? r->length : 0;
    block_walk_start(&c->walk, r);
    if (r->op == BLOCK_DISCARD)
        ata_trim(c->scratch, sector, count);
    if (c->by_dma)
        prepare_master(c, r);
    put_registers(u, r->op == BLOCK_DISCARD, data ? sector : 0,
                  r->op == BLOCK_DISCARD ? 1
                  : data                 ? count
                                         : 0);
    mmio_barrier();
    port_out8(c->command + IDE_COMMAND, command_of(u, r, c->by_dma));
    if (c->by_dma)
        ide_channel_run_master(c, r->op == BLOCK_READ);
    else if (r->op == BLOCK_WRITE)
        return first_sector(c, u);
    return true;
}

static bool submit(struct block_device *b, struct block_request *r)
{
    struct ide_unit *u = b->driver;
    struct ide_channel *c = u->channel;

    if (c->request || c->packet || c->held)
        return false;
    if (!begin(c, r, c->master && u->identity.dma))
        block_stuck(b, "the disk does not take a command");
    return true;
}

/* ---- the end of a command ---------------------------------------------------------------------
 */
static void end(struct ide_channel *c, enum hv_status status)
{
    struct block_request *r = c->request;
    struct ide_unit *other = c->units[!unit_of(r)->number];

    c->request = NULL;
    if (other && other->device->waiting) { /* by turns */
        block_room(other->device);
        block_done(r, status);
        return;
    }
    block_done(r, status);
    if (other)
        block_room(other->device);
}

/* True: the bus master failed though the disk did not, so the data port has to do. */
bool ide_channel_stop_master(struct ide_channel *c)
{
    u8 status = port_in8(c->master + MASTER_STATUS);

    port_out8(c->master + MASTER_COMMAND, 0);
    port_out8(c->master + MASTER_STATUS,
              (u8)((status & MASTER_KEEP) | MASTER_ERROR | MASTER_INTERRUPT));
    return status & MASTER_ERROR;
}

void ide_channel_serve(void *channel)
{
    struct ide_channel *c = channel;
    struct block_request *r = c->request;

    if (c->packet) {
        ide_packet_serve(c);
        return;
    }
    if (!r || r->device->resetting) {
        if (!c->held)
            (void)port_in8(c->command + IDE_COMMAND);
        return;
    }
    if (c->by_dma && !ide_channel_master_over(c))
        return;
    if (ide_channel_status(c) & ATA_BUSY)
        return;
    bool master_failed = c->master && ide_channel_stop_master(c) && c->by_dma;
    u8 status = port_in8(c->command + IDE_COMMAND);
    if (status & (ATA_ERROR | ATA_FAULT)) {
        end(c, HV_EIO);
    } else if (master_failed) {
        log_warn("%s: DMA fails, the data port is used", r->device->name);
        unit_of(r)->identity.dma = false;
        unit_of(r)->block.can_discard = false;
        if (r->op == BLOCK_DISCARD)
            end(c, HV_OK); /* a hint */
        else if (!begin(c, r, false))
            block_stuck(r->device, "the disk does not take a command");
    } else if (c->data_left) {
        if (!(status & ATA_DATA))
            return;
        move_sector(c, unit_of(r));
        if (!c->data_left && r->op == BLOCK_READ)
            end(c, HV_OK);
    } else {
        end(c, HV_OK);
    }
}

static void poll(struct block_device *b)
{
    struct ide_unit *u = b->driver;

    ide_channel_serve(u->channel);
}

/* ---- reset and identification -----------------------------------------------------------------
 */
static enum hv_status wait_ready(const struct ide_channel *c, u64 ns)
{
    u64 end_tsc = clock_after(ns);

    for (u32 i = 0; ide_channel_status(c) & ATA_BUSY; i++) {
        if (ide_channel_status(c) == 0xff)
            return HV_EIO;
        if (clock_tsc() > end_tsc)
            return HV_ETIMEDOUT;
        if (i > 16)
            fiber_sleep_until(clock_after(CLOCK_MS));
    }
    return HV_OK;
}

/* Both disks of the channel; interrupts are off afterwards. */
static enum hv_status reset_channel(struct ide_channel *c)
{
    if (c->master)
        (void)ide_channel_stop_master(c);
    port_out8(c->control, CONTROL_QUIET | CONTROL_RESET);
    fiber_sleep_until(clock_after(20 * CLOCK_US));
    port_out8(c->control, CONTROL_QUIET);
    fiber_sleep_until(clock_after(2 * CLOCK_MS));
    return wait_ready(c, RESET_NS);
}

enum hv_status ide_channel_reset(struct ide_unit *u)
{
    struct ide_channel *c = u->channel;
    struct ide_unit *other = c->units[!u->number];

    c->held = true;
    enum hv_status status = reset_channel(c);
    if (status == HV_OK) {
        ide_channel_select(c, u->number);
        status = wait_ready(c, RESET_NS);
    }
    if (c->request && c->request->device == u->device)
        c->request = NULL;
    if (c->packet && c->packet_unit == u)
        c->packet = NULL;
    c->held = false;
    port_out8(c->control, 0);
    if (other)
        block_room(other->device);
    return status;
}

static enum hv_status reset(struct block_device *b)
{
    return ide_channel_reset(b->driver);
}

/* 512 bytes of IDENTIFY DEVICE or, for a drive of CDs, of IDENTIFY PACKET DEVICE; polled, as long
 * as interrupts are off. */
static enum hv_status identify(struct ide_channel *c, u32 number, u16 *id, bool *packet)
{
    ide_channel_select(c, number);
    if ((ide_channel_status(c) & FLOATING) == FLOATING || (!*packet && !ide_channel_status(c)))
        return HV_ENOENT;
    enum hv_status status = wait_ready(c, IDENTIFY_NS);
    if (status != HV_OK)
        return status;
    port_out8(c->command + IDE_COMMAND, *packet ? ATA_IDENTIFY_PACKET : ATA_IDENTIFY);
    ide_channel_settle(c);
    status = ide_channel_status(c) == 0 ? HV_ENOENT : wait_ready(c, IDENTIFY_NS);
    if (status == HV_OK &&
        (port_in8(c->command + IDE_COMMAND) & (ATA_ERROR | ATA_DATA)) != ATA_DATA)
        status = HV_ENOENT; /* a packet device, or the echo of the other disk */
    for (u32 i = 0; i < ATA_IDENTIFY_LEN / 2 && status == HV_OK; i++)
        id[i] = port_in16(c->command + IDE_DATA);
    return status;
}

/* What answers, by its signature after the reset. */
static enum hv_status find(struct ide_channel *c, u32 number, u16 *id, bool *packet)
{
    ide_channel_select(c, number);
    *packet = port_in8(c->command + IDE_MID) == SIGNATURE_MID &&
              port_in8(c->command + IDE_HIGH) == SIGNATURE_HIGH;
    return identify(c, number, id, packet);
}

/* One command of SMART, polled, with interrupts off; data: 512 bytes, or NULL for the status. */
static enum hv_status smart_command(const struct ide_unit *u, u8 what, u16 *data)
{
    const struct ide_channel *c = u->channel;

    ide_channel_select(c, u->number);
    put_registers(u, what, ATA_SMART_KEY, 1);
    port_out8(c->command + IDE_COMMAND, ATA_SMART);
    ide_channel_settle(c);
    enum hv_status status = wait_ready(c, IDENTIFY_NS);
    u8 state = port_in8(c->command + IDE_COMMAND);
    if (status == HV_OK && ((state & (ATA_ERROR | ATA_FAULT)) || (data && !(state & ATA_DATA))))
        status = HV_EIO;
    for (u32 i = 0; data && i < ATA_IDENTIFY_LEN / 2 && status == HV_OK; i++)
        data[i] = port_in16(c->command + IDE_DATA);
    return status;
}

static enum hv_status health(struct block_device *b, struct block_health *h)
{
    struct ide_unit *u = b->driver, *other = u->channel->units[!u->number];
    struct ide_channel *c = u->channel;
    u64 end_tsc = clock_after(IDENTIFY_NS);
    u16 data[ATA_IDENTIFY_LEN / 2];

    if (!u->identity.smart)
        return HV_ENOSYS;
    if (c->held)
        return HV_EBUSY;
    c->held = true;
    while ((c->request || c->packet) && clock_tsc() < end_tsc)
        fiber_sleep_until(clock_after(CLOCK_MS));
    enum hv_status status = HV_EBUSY;
    if (!c->request && !c->packet) {
        port_out8(c->control, CONTROL_QUIET);
        status = smart_command(u, ATA_SMART_DATA, data);
        h->known = status == HV_OK && ata_smart(h, (const u8 *)data);
        if (h->known && smart_command(u, ATA_SMART_STATUS, NULL) == HV_OK)
            h->failing = ((u32)port_in8(c->command + IDE_MID) << 8 |
                          (u32)port_in8(c->command + IDE_HIGH) << 16) == ATA_SMART_FAILING;
        port_out8(c->control, 0);
    }
    c->held = false;
    block_room(b);
    if (other)
        block_room(other->device);
    return status;
}

static const struct block_ops ops = {
    .submit = submit, .poll = poll, .reset = reset, .health = health};

static void describe(struct ide_unit *u)
{
    struct block_device *b = &u->block;

    b->kind = "IDE";
    b->ops = &ops;
    b->driver = u;
    b->limits = (struct block_limits){.bytes = u->identity.lba48 ? MIB : 256 * b->sector_size,
                                      .segments = IDE_PRDS,
                                      .queue_depth = 1,
                                      .segment_bytes = IDE_PIECE,
                                      .boundary = IDE_PIECE,
                                      .align = 2,
                                      .reach = 4 * GIB};
    b->limits.bytes = MIN(b->limits.bytes, MIB);
    b->limits.range[0] = ATA_TRIM_SECTORS * b->sector_size;
    b->can_discard = u->identity.trim && u->identity.dma && u->channel->master;
}

/* NULL: nothing that can be used. */
static struct ide_unit *new_unit(struct ide_channel *c, u32 n, const u16 *id, bool packet)
{
    struct ide_unit *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->channel = c;
    u->number = n;
    u->packet = packet;
    u->device = &u->block;
    enum hv_status status = ata_identify(&u->block, &u->identity, id);
    if (packet) /* what it says of a disk does not count */
        status = ide_packet_new(u) ? HV_OK : HV_ENOMEM;
    else if (status == HV_OK)
        describe(u);
    if (status == HV_OK)
        return u;
    log_warn("IDE: a disk that cannot be used (status %d)", status);
    free(u);
    return NULL;
}

void ide_channel_probe(struct ide_channel *c)
{
    u16 id[ATA_IDENTIFY_LEN / 2];
    bool packet;

    if ((ide_channel_status(c) & FLOATING) == FLOATING || reset_channel(c) != HV_OK)
        return;
    for (u32 n = 0; n < 2; n++)
        if (find(c, n, id, &packet) == HV_OK)
            c->units[n] = new_unit(c, n, id, packet);
    port_out8(c->control, 0);
    (void)port_in8(c->command + IDE_COMMAND);
}
