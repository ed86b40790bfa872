/* links: drivers/ide_channel.c drivers/ide_packet.c drivers/ata_packet.c drivers/scsi.c drivers/scsi_media.c drivers/ata.c drivers/block.c control/rt/dma.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* An IDE channel in front of two fake disks that know ACS-3's protocols for data ports and bus
 * master: both ways of data, 28 and 48 bits, errors, a bus master that fails, turns, resets.
 * The second disk may be a drive of CDs.  One file: all cases stand on that one channel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "control/rt/port.h"
#include "drivers/ata_packet.h"
#include "drivers/ide_channel.h"
#include "drivers/scsi.h"

enum { BASE = 0x1f0, CONTROL = 0x3f6, MASTER = 0xc000 };
#define SECTORS 2048u

static struct {
    u8 media[2][SECTORS * 512];
    u16 id[2][256];
    u8 registers[8], previous[8], control, status;
    u8 master_command, master_status;
    u32 master_table;
    u8 buffer[512];
    u32 at, left; /* of the buffer; sectors */
    u64 sector;
    bool line, reading, dma, master_breaks;
    u64 bad_sector;
    u32 flushes, resets, commands;
} fake;

#define CD_SECTOR 2048u
#define PORTION 1000u /* bytes that the drive gives at once, by port */

static struct {               /* the second device, where it is a drive of CDs */
    bool there, empty, fresh; /* fresh: no command since the reset */
    bool active;              /* a packet is under way */
    u8 cdb[12], data[128 * 1024];
    u32 cdb_at, at, portion, end;
    u8 key, code; /* sense data */
    u32 packets, by_dma;
} cd;

static struct ide_channel channels[16], *channel; /* kept: the block layer knows their disks */
static u32 channel_count;
static struct loop_timer tick; /* so that no step of the loop sleeps for ever */

static void on_tick(void *owner)
{
    (void)owner;
    loop_timer_set(&tick, clock_after(CLOCK_MS));
}

static bool present(void)
{
    return fake.id[fake.registers[6] >> 4 & 1][0] != 0;
}

static u8 *sector_memory(void)
{
    return fake.media[fake.registers[6] >> 4 & 1] + fake.sector * 512;
}

static void raise_line(u8 status)
{
    fake.status = status;
    fake.line = true;
    fake.master_status |= 4;
}

/* The next sector of a transfer by port, or its end. */
static void next_by_port(void)
{
    fake.at = 0;
    if (fake.sector == fake.bad_sector && fake.left) {
        raise_line(0x51);
        fake.left = 0;
    } else if (fake.reading && fake.left) {
        memcpy(fake.buffer, sector_memory(), 512);
        raise_line(0x58);
    } else {
        raise_line(fake.left ? 0x58 : 0x50);
    }
}

static void run_master(void)
{
    const struct ide_prd *prd = dma_pointer(fake.master_table);
    u8 *media = sector_memory();

    if (fake.master_breaks) {
        fake.master_status |= 6;
        raise_line(0x50);
        return;
    }
    for (;; prd++) {
        u32 len = prd->count ? prd->count : 65536;
        memcpy(fake.reading ? dma_pointer(prd->address) : media,
               fake.reading ? media : dma_pointer(prd->address), len);
        media += len;
        if (prd->flags & 0x8000)
            break;
    }
    raise_line(fake.bad_sector != ~0ull ? 0x51 : 0x50);
}

static void locate(bool wide)
{
    const u8 *r = fake.registers, *p = fake.previous;
    u32 count = wide ? r[2] | (u32)p[2] << 8 : r[2];

    fake.left = count ? count : wide ? 65536 : 256;
    fake.sector = r[3] | (u64)r[4] << 8 | (u64)r[5] << 16;
    fake.sector |= wide ? (u64)p[3] << 24 : (u64)(r[6] & 15) << 24;
    assert_true(fake.sector + fake.left <= SECTORS);
}

/* The next bytes that a packet moves, or its end. */
static void next_portion(void)
{
    u32 n = MIN(cd.end - cd.at, PORTION);

    cd.portion = cd.at + n;
    fake.registers[4] = (u8)n;
    fake.registers[5] = (u8)(n >> 8);
    cd.active = n != 0;
    raise_line(n ? 0x58 : 0x50);
}

static void give(u32 len)
{
    const struct ide_prd *prd = dma_pointer(fake.master_table);

    cd.at = 0;
    cd.end = len;
    if (!(fake.registers[1] & ATA_PACKET_DMA)) {
        next_portion();
        return;
    }
    cd.by_dma++;
    for (u32 at = 0; at < len; prd++) {
        u32 n = prd->count ? prd->count : 65536;
        memcpy(dma_pointer(prd->address), cd.data + at, n);
        at += n;
        assert_int_equal(!!(prd->flags & 0x8000), at == len);
    }
    cd.active = false; /* its interrupt comes when the bus master runs */
}

static void refuse(u8 key, u8 code)
{
    cd.key = key;
    cd.code = code;
    cd.active = false;
    raise_line(0x51);
}

static void run_packet(void)
{
    u32 count = (u32)cd.cdb[7] << 8 | cd.cdb[8], first = (u32)cd.cdb[4] << 8 | cd.cdb[5];

    cd.packets++;
    memset(cd.data, 0, sizeof(cd.data));
    switch (cd.cdb[0]) {
    case SCSI_REQUEST_SENSE:
        cd.data[0] = 0x70;
        cd.data[2] = cd.key;
        cd.data[12] = cd.code;
        give(18);
        break;
    case SCSI_INQUIRY:
        cd.data[0] = 5;
        cd.data[1] = 0x80;
        memcpy(cd.data + 8, "FAKE    CD", 10);
        give(36);
        break;
    case SCSI_TEST_READY:
        if (cd.empty)
            refuse(2, 0x3a);
        else
            give(0);
        break;
    case SCSI_CAPACITY:
        cd.data[2] = (u8)((SECTORS / 4 - 1) >> 8);
        cd.data[3] = (u8)(SECTORS / 4 - 1);
        cd.data[6] = CD_SECTOR >> 8;
        give(8);
        break;
    case SCSI_READ:
        if (cd.empty) {
            refuse(2, 0x3a);
            break;
        }
        memcpy(cd.data, fake.media[1] + first * CD_SECTOR, count * CD_SECTOR);
        give(count * CD_SECTOR);
        break;
    default:
        refuse(5, 0x20);
        break;
    }
}

static bool on_cd(void)
{
    return cd.there && (fake.registers[6] & 0x10);
}

static void command(u8 code)
{
    fake.commands++;
    if (!present())
        return;
    if (on_cd() && code == ATA_PACKET) {
        assert_false(cd.active);
        cd.active = true;
        cd.fresh = false;
        cd.cdb_at = 0;
        fake.status = 0x58;
        return;
    }
    assert_true(on_cd() == (code == ATA_IDENTIFY_PACKET));
    assert_false(fake.status & 0x88);
    fake.dma = false;
    switch (code) {
    case ATA_IDENTIFY:
    case ATA_IDENTIFY_PACKET:
        memcpy(fake.buffer, fake.id[fake.registers[6] >> 4 & 1], 512);
        fake.at = 0;
        fake.left = 1;
        fake.reading = true;
        raise_line(0x58);
        break;
    case ATA_FLUSH:
    case ATA_FLUSH_EXT:
        fake.flushes++;
        raise_line(0x50);
        break;
    case ATA_READ:
    case ATA_READ_EXT:
        fake.reading = true;
        locate(code == ATA_READ_EXT);
        next_by_port();
        break;
    case ATA_WRITE:
    case ATA_WRITE_EXT:
        fake.reading = false;
        fake.at = 0;
        locate(code == ATA_WRITE_EXT);
        fake.status = 0x58; /* the first needs no interrupt */
        break;
    default:
        assert_true(code == ATA_READ_DMA || code == ATA_WRITE_DMA || code == ATA_READ_DMA_EXT ||
                    code == ATA_WRITE_DMA_EXT);
        fake.reading = code == ATA_READ_DMA || code == ATA_READ_DMA_EXT;
        fake.dma = true;
        locate(code == ATA_READ_DMA_EXT || code == ATA_WRITE_DMA_EXT);
        fake.status = 0xd0;
        break;
    }
}

u8 port_in8(u16 port)
{
    if (port == CONTROL)
        return present() ? fake.status : 0;
    if (port == MASTER + 2)
        return fake.master_status;
    if (port == BASE + 4 || port == BASE + 5)
        return on_cd() && cd.fresh ? (port == BASE + 4 ? 0x14 : 0xeb) : fake.registers[port - BASE];
    assert_int_equal(port, BASE + 7);
    fake.line = false;
    return present() ? fake.status : 0;
}

void port_out8(u16 port, u8 value)
{
    if (port == CONTROL) {
        if (value & 4) {
            fake.resets++;
            cd.fresh = true;
            cd.active = false;
            fake.status = 0x50;
            fake.line = false;
        }
        fake.control = value;
    } else if (port == MASTER) {
        bool start = (value & 1) && !(fake.master_command & 1);
        fake.master_command = value;
        if (start && on_cd()) {
            raise_line(fake.status == 0x51 ? 0x51 : 0x50);
        } else if (start) {
            assert_true(fake.dma);
            assert_int_equal(!!(value & 8), fake.reading);
            run_master();
        }
    } else if (port == MASTER + 2) {
        fake.master_status &= (u8) ~(value & 6);
    } else if (port == BASE + 7) {
        command(value);
    } else {
        fake.previous[port - BASE] = fake.registers[port - BASE];
        fake.registers[port - BASE] = value;
    }
}

static void moved(void)
{
    fake.at += 2;
    if (fake.at < 512)
        return;
    if (!fake.reading)
        memcpy(sector_memory(), fake.buffer, 512);
    fake.sector++;
    fake.left--;
    if (fake.reading && !fake.left)
        fake.status = 0x50;
    else
        next_by_port();
}

u16 port_in16(u16 port)
{
    u16 value;

    assert_int_equal(port, BASE);
    if (on_cd() && cd.active) {
        assert_true(cd.at < cd.portion);
        memcpy(&value, cd.data + cd.at, 2);
        cd.at += 2;
        if (cd.at >= cd.portion)
            next_portion();
        return value;
    }
    assert_true(fake.reading && (fake.status & 8));
    memcpy(&value, fake.buffer + fake.at, 2);
    moved();
    return value;
}

void port_out16(u16 port, u16 value)
{
    assert_int_equal(port, BASE);
    if (on_cd() && cd.active && cd.cdb_at < 12) {
        memcpy(cd.cdb + cd.cdb_at, &value, 2);
        cd.cdb_at += 2;
        if (cd.cdb_at == 12)
            run_packet();
        return;
    }
    assert_true(!fake.reading && (fake.status & 8));
    memcpy(fake.buffer + fake.at, &value, 2);
    moved();
}

void port_out32(u16 port, u32 value)
{
    assert_int_equal(port, MASTER + 4);
    fake.master_table = value;
}

/* ---- the test's side --------------------------------------------------------------------------
 */
static void probe(void *done)
{
    ide_channel_probe(channel);
    *(bool *)done = true;
}

static void interrupt(void)
{
    while (fake.line && !(fake.control & 2)) {
        fake.line = false;
        ide_channel_serve(channel);
    }
}

static void start(bool first, bool second, bool dma, bool wide)
{
    bool done = false;

    memset(&fake, 0, sizeof(fake));
    fake.status = 0x50;
    fake.bad_sector = ~0ull;
    for (u32 i = 0; i < 2; i++) {
        u16 *id = fake.id[i];
        if (!(i ? second : first))
            continue;
        id[0] = 0x40;
        id[49] = (u16)(0x200 | (dma ? 0x100 : 0));
        id[60] = id[100] = SECTORS;
        id[83] = wide ? 0x4400 : 0x4000;
    }
    channel = &channels[channel_count++];
    *channel = (struct ide_channel){.command = BASE, .control = CONTROL, .master = MASTER};
    channel->prds = dma_alloc(PAGE_SIZE);
    channel->scratch = dma_alloc(512);
    assert_non_null(fiber_spawn("probe", probe, &done));
    while (!done)
        loop_step();
    for (u32 i = 0; i < 2; i++)
        if (channel->units[i] && !channel->units[i]->packet)
            block_register(&channel->units[i]->block, "hd");
}

struct wait {
    bool done;
    enum hv_status status;
};

static void ended(struct block_request *r)
{
    *(struct wait *)r->owner = (struct wait){true, r->status};
}

static enum hv_status transfer(struct ide_unit *u, enum block_op op, u64 sector, void *data,
                               u64 len)
{
    struct wait w = {0};
    struct block_iov iov[3] = {
        {data, 1024}, {(u8 *)data + 1024, 2}, {(u8 *)data + 1026, len - 1026}};
    struct block_request r = {.op = op,
                              .offset = sector * 512,
                              .length = len,
                              .iov = iov,
                              .iov_count = 3,
                              .done = ended,
                              .owner = &w};

    if (op == BLOCK_FLUSH)
        r.iov_count = 0;
    block_submit(&u->block, &r);
    for (u32 i = 0; i < 10000 && !w.done; i++) {
        interrupt();
        if (!w.done)
            loop_step();
    }
    assert_true(w.done);
    return w.status;
}

static void round_trip(struct ide_unit *u, u64 sector, u64 len)
{
    u8 *data = dma_alloc(len), *media = fake.media[u->number] + sector * 512;

    for (u64 i = 0; i < len; i++)
        data[i] = (u8)(i * 7 + sector + (i >> 9));
    assert_int_equal(transfer(u, BLOCK_WRITE, sector, data, len), HV_OK);
    assert_memory_equal(media, data, len);
    memset(data, 0, len);
    assert_int_equal(transfer(u, BLOCK_READ, sector, data, len), HV_OK);
    assert_memory_equal(media, data, len);
    dma_free(data, len);
}

static void attach(void *done)
{
    assert_true(ata_packet_attach(channel->units[1]->device));
    *(bool *)done = true;
}

static void start_with_cd(bool dma, bool empty)
{
    bool done = false;

    memset(&cd, 0, sizeof(cd));
    cd.there = true;
    cd.empty = empty;
    start(true, true, dma, true);
    assert_true(channel->units[1]->packet);
    assert_non_null(fiber_spawn("attach", attach, &done));
    while (!done) {
        interrupt();
        if (!done)
            loop_step();
    }
}

static enum hv_status read_cd(u32 sector, void *data, u32 len)
{
    struct wait w = {0};
    struct block_iov iov = {data, len};
    struct block_request r = {.op = BLOCK_READ,
                              .offset = sector * CD_SECTOR,
                              .length = len,
                              .iov = &iov,
                              .iov_count = 1,
                              .done = ended,
                              .owner = &w};

    block_submit(channel->units[1]->device, &r);
    for (u32 i = 0; i < 10000 && !w.done; i++) {
        interrupt();
        if (!w.done)
            loop_step();
    }
    assert_true(w.done);
    return w.status;
}

static void wait_for_medium(bool there)
{
    while (channel->units[1]->device->no_medium == there) {
        interrupt();
        loop_step();
    }
}

static void a_cd_is_read_by_port_and_by_bus_master(void **state)
{
    u8 *data = dma_alloc(32 * KIB);

    (void)state;
    for (u32 dma = 0; dma < 2; dma++) {
        start_with_cd(dma, false);
        assert_int_equal(channel->units[1]->device->size, SECTORS * 512);
        assert_string_equal(channel->units[1]->device->model, "FAKE CD");
        for (u32 i = 0; i < SECTORS * 512; i++)
            fake.media[1][i] = (u8)(i * 7 + (i >> 11));
        assert_int_equal(read_cd(3, data, 16 * CD_SECTOR), HV_OK);
        assert_memory_equal(data, fake.media[1] + 3 * CD_SECTOR, 16 * CD_SECTOR);
        assert_int_equal(cd.by_dma, dma);
        round_trip(channel->units[0], 5, 4096); /* the disk beside it */
        assert_int_equal(read_cd(SECTORS / 4 - 1, data, CD_SECTOR), HV_OK);
        assert_memory_equal(data, fake.media[1] + (SECTORS / 4 - 1) * CD_SECTOR, CD_SECTOR);
    }
    dma_free(data, 32 * KIB);
    cd.there = false;
}

static void a_drive_may_be_empty(void **state)
{
    u8 *data = dma_alloc(CD_SECTOR);

    (void)state;
    start_with_cd(true, true);
    assert_true(channel->units[1]->device->no_medium);
    assert_int_equal(read_cd(0, data, CD_SECTOR), HV_ENOENT);
    cd.empty = false;
    wait_for_medium(true);
    assert_int_equal(channel->units[1]->device->size, SECTORS * 512);
    assert_int_equal(read_cd(0, data, CD_SECTOR), HV_OK);
    cd.empty = true;
    assert_int_not_equal(read_cd(0, data, CD_SECTOR), HV_OK);
    wait_for_medium(false);
    round_trip(channel->units[0], 5, 4096);
    dma_free(data, CD_SECTOR);
    cd.there = false;
}

static void both_ways(void **state)
{
    (void)state;
    for (u32 i = 0; i < 4; i++) {
        start(true, true, i & 1, i & 2);
        for (u32 n = 0; n < 2; n++) {
            struct ide_unit *u = channel->units[n];
            assert_non_null(u);
            assert_int_equal(u->identity.lba48, !!(i & 2));
            round_trip(u, 0, 4096);
            round_trip(u, SECTORS - 256, 128 * KIB);
            round_trip(u, 77, 1536);
            assert_int_equal(fake.dma, i & 1);
            assert_int_equal(transfer(u, BLOCK_FLUSH, 0, NULL, 0), HV_OK);
            assert_int_equal(fake.flushes, n + 1);
        }
    }
}

static void one_disk_where_it_is(void **state)
{
    (void)state;
    start(false, true, true, true);
    assert_null(channel->units[0]);
    round_trip(channel->units[1], 5, 4096);
    start(false, false, true, true);
    assert_null(channel->units[0]);
    assert_null(channel->units[1]);
}

static void errors_are_told(void **state)
{
    u8 *data = dma_alloc(4096);

    (void)state;
    for (u32 dma = 0; dma < 2; dma++) {
        start(true, false, dma, true);
        fake.bad_sector = 12;
        assert_int_equal(transfer(channel->units[0], BLOCK_READ, 10, data, 4096), HV_EIO);
        assert_int_equal(transfer(channel->units[0], BLOCK_WRITE, 10, data, 4096), HV_EIO);
        fake.bad_sector = ~0ull;
        round_trip(channel->units[0], 10, 4096);
    }
    dma_free(data, 4096);
}

static void without_a_bus_master_the_port_does(void **state)
{
    (void)state;
    start(true, false, true, true);
    fake.master_breaks = true;
    round_trip(channel->units[0], 3, 8192);
    assert_false(channel->units[0]->identity.dma);
}

static void disks_take_turns(void **state)
{
    struct wait w[8] = {0};
    struct block_request r[8];
    struct block_iov iov[8];
    u32 first = 0;

    (void)state;
    start(true, true, true, true);
    for (u32 i = 0; i < 8; i++) {
        iov[i] = (struct block_iov){dma_alloc(512), 512};
        memset(iov[i].base, (int)i + 1, 512);
        r[i] = (struct block_request){.op = BLOCK_WRITE,
                                      .offset = i * 512,
                                      .length = 512,
                                      .iov = &iov[i],
                                      .iov_count = 1,
                                      .done = ended,
                                      .owner = &w[i]};
        block_submit(&channel->units[i / 4]->block, &r[i]);
    }
    while (!w[7].done) {
        assert_true(fake.line);
        fake.line = false;
        ide_channel_serve(channel);
        first += w[3].done && !w[4].done;
    }
    assert_int_equal(first, 0);
    for (u32 i = 0; i < 8; i++) {
        assert_int_equal(fake.media[i / 4][i * 512], i + 1);
        dma_free(iov[i].base, 512);
    }
}

static void a_reset_leaves_the_other_disk_its_requests(void **state)
{
    struct wait w[2] = {0};
    struct block_request r[2];
    struct block_iov iov[2];

    (void)state;
    start(true, true, true, true);
    for (u32 i = 0; i < 2; i++) {
        iov[i] = (struct block_iov){dma_alloc(512), 512};
        r[i] = (struct block_request){.op = BLOCK_WRITE,
                                      .length = 512,
                                      .iov = &iov[i],
                                      .iov_count = 1,
                                      .done = ended,
                                      .owner = &w[i]};
        memset(iov[i].base, 9, 512);
        block_submit(&channel->units[i]->block, &r[i]);
    }
    fake.line = false; /* the disk forgets it */
    u32 resets = fake.resets;
    block_stuck(&channel->units[0]->block, "test");
    while (!w[0].done || !w[1].done) {
        loop_step();
        interrupt();
    }
    assert_int_equal(fake.resets, resets + 1);
    for (u32 i = 0; i < 2; i++) {
        assert_int_equal(w[i].status, HV_OK);
        assert_int_equal(fake.media[i][0], 9);
        dma_free(iov[i].base, 512);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(one_disk_where_it_is),
        cmocka_unit_test(errors_are_told),
        cmocka_unit_test(without_a_bus_master_the_port_does),
        cmocka_unit_test(disks_take_turns),
        cmocka_unit_test(a_reset_leaves_the_other_disk_its_requests),
        cmocka_unit_test(a_cd_is_read_by_port_and_by_bus_master),
        cmocka_unit_test(a_drive_may_be_empty),
    };
    clock_init();
    tick.fn = on_tick;
    on_tick(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
