/* Packets by an IDE channel: the command by the data port, data by bus master where whole sectors
 * come, else by the data port in the portions that the drive asks for (ACS-3 7.18, ATA8-APT 9.12
 * and 9.13). Called by ide_channel.c and ata_packet.c, on the loop or in a fiber. */
#include "drivers/ide_packet.h"

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/mmio.h"
#include "control/rt/port.h"
#include "drivers/ata_packet.h"

#define PORTION 0xfffeu /* most bytes between two interrupts */
#define CDB_LEN 12u
#define CDB_NS (5 * CLOCK_MS) /* until a drive takes a command: most of them, 3 ms */
#define SECTOR 2048u

static u64 length_of(const struct ata_packet *k)
{
    struct block_walk w = k->walk;
    u64 at, len, all = 0;

    while (block_walk_next(&w, &at, &len))
        all += len;
    return all;
}

static void finish(struct ide_channel *c, enum hv_status status)
{
    const struct ata_packet *k = c->packet;
    const struct ide_unit *other = c->units[!c->packet_unit->number];

    c->packet = NULL;
    if (status == HV_OK && other && other->device->waiting) /* by turns */
        block_room(other->device);
    k->done(k->owner, status, (u32)c->packet_moved);
    if (other)
        block_room(other->device);
}

/* False: the drive does not want it. */
static bool send_command(struct ide_channel *c, const struct ata_packet *k)
{
    u64 end = clock_after(CDB_NS);
    u8 status;

    ide_channel_settle(c);
    while (((status = ide_channel_status(c)) & ATA_BUSY) ||
           !(status & (ATA_DATA | ATA_ERROR | ATA_FAULT)))
        if (clock_tsc() > end)
            return false;
    if (!(status & ATA_DATA))
        return false;
    for (u32 i = 0; i < CDB_LEN; i += 2)
        port_out16(c->command + IDE_DATA, (u16)(k->cdb[i] | k->cdb[i + 1] << 8));
    ide_channel_settle(c);
    return true;
}

static bool start(void *unit, const struct ata_packet *k)
{
    struct ide_unit *u = unit;
    struct ide_channel *c = u->channel;

    if (c->request || c->packet || c->held)
        return false;
    u64 length = length_of(k);
    c->packet = k;
    c->packet_unit = u;
    c->packet_moved = 0;
    c->walk = k->walk;
    c->piece_left = 0;
    c->by_dma = c->master && u->identity.dma && k->in && length && length % SECTOR == 0;
    ide_channel_select(c, u->number);
    if (!(ide_channel_status(c) & (ATA_BUSY | ATA_DATA))) {
        if (c->by_dma)
            ide_channel_master(c, &c->walk, true);
        port_out8(c->command + IDE_FEATURES, c->by_dma ? ATA_PACKET_DMA : 0);
        port_out8(c->command + IDE_COUNT, 0);
        port_out8(c->command + IDE_LOW, 0);
        port_out8(c->command + IDE_MID, PORTION & 0xff);
        port_out8(c->command + IDE_HIGH, PORTION >> 8);
        mmio_barrier();
        port_out8(c->command + IDE_COMMAND, ATA_PACKET);
        if (send_command(c, k)) {
            if (c->by_dma)
                ide_channel_run_master(c, true);
            return true;
        }
    }
    if (u->device->name[0]) /* else who asks gives up */
        block_stuck(u->device, "the drive does not take a command");
    return true;
}

/* What the drive offers or wants now; more than there is room for is thrown away. */
static void move(struct ide_channel *c)
{
    u32 count = port_in8(c->command + IDE_MID) | (u32)port_in8(c->command + IDE_HIGH) << 8;
    u16 data = c->command + IDE_DATA, word = 0;
    u64 at;

    for (u32 i = 0; i < count; i += 2) {
        bool room = c->piece_left >= 2;
        if (!room && block_walk_next(&c->walk, &at, &c->piece_left)) {
            c->piece = dma_pointer(at);
            room = c->piece_left >= 2;
        }
        if (!c->packet->in)
            port_out16(data, room ? *(const u16 *)c->piece : 0);
        else if ((word = port_in16(data), room))
            *(u16 *)c->piece = word;
        if (!room)
            continue;
        c->piece += 2;
        c->piece_left -= 2;
        c->packet_moved += 2;
    }
}

void ide_packet_serve(struct ide_channel *c)
{
    if (c->held || (c->by_dma && !ide_channel_master_over(c)))
        return;
    if (ide_channel_status(c) & ATA_BUSY)
        return;
    bool failed = c->by_dma && ide_channel_stop_master(c);
    u8 status = port_in8(c->command + IDE_COMMAND);
    if (!c->by_dma && (status & ATA_DATA)) {
        move(c);
        return;
    }
    failed |= (status & (ATA_ERROR | ATA_FAULT)) != 0;
    if (c->by_dma && !failed)
        c->packet_moved = length_of(c->packet);
    finish(c, failed ? HV_EIO : HV_OK);
}

static void poll(void *unit)
{
    ide_channel_serve(((struct ide_unit *)unit)->channel);
}

static enum hv_status reset(void *unit)
{
    return ide_channel_reset(unit);
}

bool ide_packet_new(struct ide_unit *u)
{
    static const struct ata_packet_ops ops = {.start = start, .poll = poll, .reset = reset};
    const struct block_limits limits = {.bytes = 128 * KIB,
                                        .segments = IDE_PRDS,
                                        .segment_bytes = IDE_PIECE,
                                        .boundary = IDE_PIECE,
                                        .align = 2,
                                        .reach = 4 * GIB};

    u->device = ata_packet_new(&ops, u, "IDE", u->block.serial, &limits);
    return u->device;
}
