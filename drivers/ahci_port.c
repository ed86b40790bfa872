/* One port of an AHCI controller and the disk or, by packets, the CD drive at it: Serial ATA
 * AHCI 1.3.1. Queued commands (NCQ) where disk and controller have them; what failed once is tried
 * again alone, so that an error names its request.  Called by ahci.c and block.c, by its interrupt
 * on the loop. One file: slots, errors and resets of a port are one state. */
#include "drivers/ahci_port.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/mmio.h"
#include "drivers/ata.h"
#include "drivers/ata_packet.h"
#include "drivers/block.h"
#include "drivers/pci.h"

#define SLOTS 32

enum register_of_port { /* 3.3 */
                        P_CLB = 0x00,
                        P_FB = 0x08,
                        P_IS = 0x10,
                        P_IE = 0x14,
                        P_CMD = 0x18,
                        P_TFD = 0x20,
                        P_SIG = 0x24,
                        P_SSTS = 0x28,
                        P_SCTL = 0x2c,
                        P_SERR = 0x30,
                        P_SACT = 0x34,
                        P_CI = 0x38,
};
#define CAP_SLOTS BITS(12, 8) /* less one */
#define CAP_NCQ BIT(30)
#define CAP_64_BIT BIT(31)
#define CMD_START 0x01u
#define CMD_SPIN_UP 0x06u /* and power */
#define CMD_RECEIVE 0x10u
#define CMD_RECEIVING 0x4000u
#define CMD_RUNNING 0x8000u
#define IS_ERRORS 0x7d800000u         /* 3.3.5: bits 30..26, 24, 23 */
#define IS_LINK (BIT(22) | BIT(6))    /* PRCS, PCS; they show: */
#define SERR_LINK (BIT(26) | BIT(16)) /* DIAG.X: a device came; DIAG.N: the link comes or goes */
#define IE_WANTED (IS_ERRORS | IS_LINK | 0x0fu)
#define SSTS_DETECT 0xfu
#define SSTS_PRESENT 3u
#define SIG_DISK 0x00000101u
#define SIG_PACKET 0xeb140101u

struct header { /* 4.2.2 */
    u16 flags, prdt_len;
    volatile u32 transferred;
    u64 table;
    u32 reserved[4];
};
#define HEADER_FIS_LEN 5u
#define HEADER_PACKET 0x20u
#define HEADER_WRITE 0x40u

struct prd { /* 4.2.3.3 */
    u64 address;
    u32 reserved, count; /* bytes less one */
};
#define PRDS 56
#define PACKET_PIECE 0xfffeu /* most bytes of one interrupt of its own, where it has no DMA */
struct table {               /* 1 KiB */
    u8 fis[64], packet[16], reserved[48];
    struct prd prd[PRDS];
};

struct port_memory { /* 1 KiB aligned, as the command list must be */
    struct header headers[SLOTS];
    u8 received[256];
};

struct ahci_port {
    struct block_device *block; /* `disk`, or what scsi.c made of a packet device */
    struct block_device disk;
    struct ata_identity identity;
    struct pci_device *pci;
    u32 cap, number;
    volatile u8 *registers;
    struct port_memory *memory;
    struct table *tables;
    u8 *scratch; /* a block a slot: TRIM ranges */
    struct block_request *requests[SLOTS];
    u32 busy, usable; /* slots */
    bool alone;       /* the one command that is out is not a queued one */
    bool held;        /* no command is started: one of SMART goes on */
    /* The packet command that is out by slot 0; NULL: none. */
    const struct ata_packet *packet;
};

#define STOP_NS (500 * CLOCK_MS)
#define LINK_NS (1 * CLOCK_SECOND)
#define READY_NS (10 * CLOCK_SECOND)
#define IDENTIFY_NS (5 * CLOCK_SECOND)

/* ---- commands ----------------------------------------------------------------------------------
 */
static void fill_fis(u8 *fis, u8 command, u64 sector, u32 count, u32 features)
{
    memset(fis, 0, 20);
    fis[0] = 0x27; /* register, host to device: SATA 10.5.5 */
    fis[1] = 0x80;
    fis[2] = command;
    fis[3] = (u8)features;
    fis[7] = ATA_DEVICE_LBA;
    for (u32 i = 0; i < 3; i++) {
        fis[4 + i] = (u8)(sector >> (8 * i));
        fis[8 + i] = (u8)(sector >> (24 + 8 * i));
    }
    fis[11] = (u8)(features >> 8);
    fis[12] = (u8)count;
    fis[13] = (u8)(count >> 8);
}

static void put_prd(struct table *t, u32 *n, u64 at, u64 len)
{
    t->prd[(*n)++] = (struct prd){.address = at, .count = (u32)len - 1};
}

static void fill_header(struct ahci_port *p, u32 slot, u32 prds, bool write)
{
    p->memory->headers[slot] =
        (struct header){.flags = (u16)(HEADER_FIS_LEN | (write ? HEADER_WRITE : 0)),
                        .prdt_len = (u16)prds,
                        .table = dma_address(&p->tables[slot])};
}

/* True: a queued command. */
static bool build(struct ahci_port *p, u32 slot, const struct block_request *r)
{
    struct table *t = &p->tables[slot];
    u64 sector = r->offset / p->block->sector_size, at, len;
    u32 count = (u32)(r->length / p->block->sector_size), n = 0;
    bool write = r->op == BLOCK_WRITE;
    bool queued = p->identity.queued && r->tries == 0 && (write || r->op == BLOCK_READ);

    if (r->op == BLOCK_FLUSH) {
        fill_fis(t->fis, p->identity.lba48 ? ATA_FLUSH_EXT : ATA_FLUSH, 0, 0, 0);
    } else if (r->op == BLOCK_DISCARD) {
        u64 *ranges = (u64 *)(p->scratch + slot * 512);
        ata_trim(ranges, sector, count);
        put_prd(t, &n, dma_address(ranges), 512);
        fill_fis(t->fis, ATA_DATA_SET, 0, 1, 1);
        write = true;
    } else {
        struct block_walk w;
        block_walk_start(&w, r);
        while (block_walk_next(&w, &at, &len))
            put_prd(t, &n, at, len);
        if (queued)
            fill_fis(t->fis, write ? ATA_WRITE_QUEUED : ATA_READ_QUEUED, sector, slot << 3, count);
        else if (p->identity.lba48)
            fill_fis(t->fis, write ? ATA_WRITE_DMA_EXT : ATA_READ_DMA_EXT, sector, count, 0);
        else {
            fill_fis(t->fis, write ? ATA_WRITE_DMA : ATA_READ_DMA, sector, count, 0);
            t->fis[7] |= (u8)(sector >> 24 & 15);
            t->fis[8] = 0;
        }
    }
    fill_header(p, slot, n, write);
    return queued;
}

static bool submit(struct block_device *b, struct block_request *r)
{
    struct ahci_port *p = b->driver;
    bool may_queue =
        p->identity.queued && r->tries == 0 && (r->op == BLOCK_READ || r->op == BLOCK_WRITE);

    /* 1.6.4 of SATA's NCQ rules: queued commands and others are never out together. */
    if (p->held || p->alone || (p->busy && !may_queue) || !(p->usable & ~p->busy))
        return false;
    u32 slot = (u32)__builtin_ctz(p->usable & ~p->busy);
    p->busy |= 1u << slot;
    p->requests[slot] = r;
    r->slot = slot;
    p->alone = !build(p, slot, r);
    mmio_barrier();
    if (!p->alone)
        mmio_write32(p->registers + P_SACT, 1u << slot);
    mmio_write32(p->registers + P_CI, 1u << slot);
    return true;
}

static void end(struct ahci_port *p, u32 slot, enum hv_status status)
{
    struct block_request *r = p->requests[slot];
    const struct ata_packet *k = p->packet;

    p->busy &= ~(1u << slot);
    p->requests[slot] = NULL;
    p->packet = NULL;
    p->alone = false;
    if (k)
        k->done(k->owner, status, p->memory->headers[slot].transferred);
    else
        block_done(r, status);
}

static bool start_packet(void *port, const struct ata_packet *k)
{
    struct ahci_port *p = port;
    struct table *t = &p->tables[0];
    struct block_walk w = k->walk;
    u64 at, len;
    u32 n = 0;

    if (p->busy)
        return false;
    while (n < PRDS && block_walk_next(&w, &at, &len))
        put_prd(t, &n, at, len);
    fill_fis(t->fis, ATA_PACKET, PACKET_PIECE << 8, 0, n && p->identity.dma ? ATA_PACKET_DMA : 0);
    t->fis[7] = 0;
    memset(t->packet, 0, sizeof(t->packet));
    memcpy(t->packet, k->cdb, k->cdb_len);
    fill_header(p, 0, n, n && !k->in);
    p->memory->headers[0].flags |= HEADER_PACKET;
    p->busy = 1;
    p->alone = true;
    p->packet = k;
    mmio_barrier();
    mmio_write32(p->registers + P_CI, 1);
    return true;
}

/* ---- the port's engine --------------------------------------------------------------------------
 */
static void set_command(struct ahci_port *p, u32 clear, u32 set)
{
    u32 now = mmio_read32(p->registers + P_CMD);

    mmio_write32(p->registers + P_CMD, (now & ~clear) | set);
}

void ahci_port_calm(volatile u8 *registers)
{
    mmio_write32(registers + P_SERR, ~0u);
    mmio_write32(registers + P_IS, ~0u);
}

/* 6.2.2.1: after an error of a command that was out alone.  False: it does not stop. */
static bool restart(struct ahci_port *p)
{
    u64 end_tsc = clock_after(CLOCK_MS);

    set_command(p, CMD_START, 0);
    while (mmio_read32(p->registers + P_CMD) & CMD_RUNNING)
        if (clock_tsc() > end_tsc)
            return false;
    ahci_port_calm(p->registers);
    if (mmio_read32(p->registers + P_TFD) & (ATA_BUSY | ATA_DATA))
        return false;
    set_command(p, 0, CMD_START);
    return true;
}

bool ahci_port_serve(struct ahci_port *p)
{
    u32 is = mmio_read32(p->registers + P_IS);
    bool changed = is != ~0u && (is & IS_LINK);

    if (changed)
        mmio_write32(p->registers + P_SERR, SERR_LINK);
    mmio_write32(p->registers + P_IS, is);
    if (p->block->resetting || p->block->gone)
        return changed;
    if (changed) { /* the reset finds out whether it is there, and the same */
        block_stuck(p->block, "its link has changed");
        return true;
    }
    u32 out = mmio_read32(p->registers + P_SACT) | mmio_read32(p->registers + P_CI);
    u32 over = p->busy & ~out;
    if (is & IS_ERRORS) {
        if (p->alone && p->busy && is != ~0u && restart(p))
            end(p, (u32)__builtin_ctz(p->busy), HV_EIO);
        else
            block_stuck(p->block, "the disk reports an error");
        return false;
    }
    for (; over && !p->block->resetting; over &= over - 1)
        end(p, (u32)__builtin_ctz(over), HV_OK);
    return false;
}

bool ahci_port_linked(const volatile u8 *registers)
{
    return (mmio_read32(registers + P_SSTS) & SSTS_DETECT) == SSTS_PRESENT;
}

static void poll_port(void *port)
{
    struct ahci_port *p = port;

    if (ahci_port_linked(p->registers))
        (void)ahci_port_serve(p);
    else
        block_stuck(p->block, "its link is down");
}

static void poll(struct block_device *b)
{
    poll_port(b->driver);
}

static enum hv_status stop(struct ahci_port *p)
{
    set_command(p, CMD_START, 0);
    enum hv_status status = pci_wait_register(p->registers + P_CMD, CMD_RUNNING, 0, STOP_NS);
    if (status != HV_OK)
        return status;
    set_command(p, CMD_RECEIVE, 0);
    return pci_wait_register(p->registers + P_CMD, CMD_RECEIVING, 0, STOP_NS);
}

/* From a stopped engine to one that takes commands; 10.1.2, 10.4.2: the link is reset. */
static enum hv_status start(struct ahci_port *p)
{
    mmio_write64(p->registers + P_CLB, dma_address(p->memory));
    mmio_write64(p->registers + P_FB, dma_address(p->memory->received));
    set_command(p, 0, CMD_SPIN_UP);
    mmio_write32(p->registers + P_SCTL, 0x301); /* reset, no power saving */
    fiber_sleep_until(clock_after(2 * CLOCK_MS));
    mmio_write32(p->registers + P_SCTL, 0x300);
    enum hv_status status =
        pci_wait_register(p->registers + P_SSTS, SSTS_DETECT, SSTS_PRESENT, LINK_NS);
    if (status != HV_OK)
        return status;
    ahci_port_calm(p->registers);
    set_command(p, 0, CMD_RECEIVE);
    status = pci_wait_register(p->registers + P_TFD, ATA_BUSY | ATA_DATA, 0, READY_NS);
    if (status != HV_OK)
        return status;
    ahci_port_calm(p->registers);
    set_command(p, 0, CMD_START);
    return HV_OK;
}

static enum hv_status identify(struct ahci_port *p, enum ata_command command,
                               struct block_device *b, struct ata_identity *out)
{
    u16 *id = (u16 *)p->scratch;
    u32 n = 0;

    fill_fis(p->tables[0].fis, (u8)command, 0, 0, 0);
    put_prd(&p->tables[0], &n, dma_address(id), ATA_IDENTIFY_LEN);
    fill_header(p, 0, n, false);
    mmio_barrier();
    mmio_write32(p->registers + P_CI, 1);
    enum hv_status status = pci_wait_register(p->registers + P_CI, 1, 0, IDENTIFY_NS);
    if (status == HV_OK && (mmio_read32(p->registers + P_TFD) & (ATA_ERROR | ATA_FAULT)))
        status = HV_EIO;
    if (status == HV_OK)
        status = ata_identify(b, out, id);
    if (status == HV_OK && !out->dma)
        status = HV_ENOSYS;
    ahci_port_calm(p->registers);
    return status;
}

/* After the link was lost another device may be there. */
static bool is_same(struct ahci_port *p)
{
    bool packet = p->block != &p->disk;
    struct block_device now = {.name = ""};
    struct ata_identity identity;
    u32 signature = mmio_read32(p->registers + P_SIG);
    enum hv_status status = HV_ENOENT;

    if (signature == (packet ? SIG_PACKET : SIG_DISK))
        status = identify(p, packet ? ATA_IDENTIFY_PACKET : ATA_IDENTIFY, &now, &identity);
    return (status == HV_OK || packet) && now.size == p->disk.size &&
           !strcmp(now.serial, p->disk.serial) && !strcmp(now.model, p->disk.model);
}

static void lose(struct ahci_port *p, const char *why)
{
    if (p->block->name[0]) /* registered */
        block_gone(p->block, why);
}

static enum hv_status reset_port(void *port)
{
    struct ahci_port *p = port;

    mmio_write32(p->registers + P_IE, 0); /* the reset changes the link, too */
    enum hv_status status = p->pci->gone ? HV_EIO : stop(p);
    if (status == HV_OK)
        status = start(p);
    p->busy = 0;
    p->alone = false;
    p->packet = NULL;
    memset(p->requests, 0, sizeof(p->requests));
    if (status != HV_OK && !p->pci->gone && !ahci_port_linked(p->registers))
        lose(p, "it was pulled out");
    if (status == HV_OK && !is_same(p)) {
        lose(p, "it was pulled out, and another one is there");
        status = HV_EIO;
    }
    if (status == HV_OK)
        mmio_write32(p->registers + P_IE, IE_WANTED);
    return status;
}

static enum hv_status reset(struct block_device *b)
{
    return reset_port(b->driver);
}

/* One command of SMART by slot 0, polled, while nothing else is out.  In a fiber. */
static enum hv_status smart_command(struct ahci_port *p, u32 what, u8 *data)
{
    u64 end_tsc = clock_after(IDENTIFY_NS);
    u32 n = 0;

    fill_fis(p->tables[0].fis, ATA_SMART, ATA_SMART_KEY, 1, what);
    if (data)
        put_prd(&p->tables[0], &n, dma_address(data), ATA_IDENTIFY_LEN);
    fill_header(p, 0, n, false);
    mmio_barrier();
    mmio_write32(p->registers + P_CI, 1);
    while ((mmio_read32(p->registers + P_CI) & 1) &&
           !(mmio_read32(p->registers + P_IS) & IS_ERRORS)) {
        if (clock_tsc() > end_tsc)
            return HV_ETIMEDOUT;
        fiber_sleep_until(clock_after(100 * CLOCK_US));
    }
    bool failed = (mmio_read32(p->registers + P_IS) & IS_ERRORS) ||
                  (mmio_read32(p->registers + P_TFD) & (ATA_ERROR | ATA_FAULT));
    ahci_port_calm(p->registers);
    if (!failed)
        return HV_OK;
    return restart(p) ? HV_EIO : HV_ETIMEDOUT;
}

static enum hv_status smart(struct ahci_port *p, struct block_health *h)
{
    const u8 *answer = p->memory->received + 0x40; /* the register FIS: 4.2.1 */
    enum hv_status status = smart_command(p, ATA_SMART_DATA, p->scratch);

    if (status != HV_OK || !ata_smart(h, p->scratch))
        return status;
    h->known = true;
    status = smart_command(p, ATA_SMART_STATUS, NULL);
    if (status == HV_OK)
        h->failing = ((u32)answer[5] << 8 | (u32)answer[6] << 16) == ATA_SMART_FAILING;
    return status == HV_EIO ? HV_OK : status; /* it tells of attributes alone */
}

static enum hv_status health(struct block_device *b, struct block_health *h)
{
    struct ahci_port *p = b->driver;
    u64 end_tsc = clock_after(IDENTIFY_NS);

    if (!p->identity.smart)
        return HV_ENOSYS;
    if (p->held)
        return HV_EBUSY;
    p->held = true;
    while ((p->busy || b->resetting) && !b->gone && clock_tsc() < end_tsc)
        fiber_sleep_until(clock_after(CLOCK_MS));
    enum hv_status status = HV_EBUSY;
    if (!p->busy && !b->resetting && !b->gone) {
        mmio_write32(p->registers + P_IE, 0);
        status = smart(p, h);
        mmio_write32(p->registers + P_IE, IE_WANTED);
    }
    p->held = false;
    if (status == HV_ETIMEDOUT)
        block_stuck(b, "SMART is not answered");
    block_room(b);
    return status;
}

static const struct block_ops ops = {
    .submit = submit, .poll = poll, .reset = reset, .health = health};

/* ---- bringing up --------------------------------------------------------------------------------
 */
static void describe(struct ahci_port *p)
{
    struct block_device *b = p->block;
    u32 slots = (u32)FIELD_GET(CAP_SLOTS, p->cap) + 1;

    if (!(p->cap & CAP_NCQ))
        p->identity.queued = false;
    if (p->identity.queued)
        slots = MIN(slots, p->identity.depth);
    p->usable = slots >= 32 ? ~0u : (1u << slots) - 1;
    b->kind = "SATA";
    b->ops = &ops;
    b->driver = p;
    b->limits = (struct block_limits){.bytes = p->identity.lba48 ? MIB : 128 * KIB,
                                      .segments = PRDS,
                                      .queue_depth = p->identity.queued ? slots : 1,
                                      .segment_bytes = 4 * MIB,
                                      .align = 2,
                                      .reach = p->cap & CAP_64_BIT ? 0 : 4 * GIB};
    b->limits.range[0] = ATA_TRIM_SECTORS * b->sector_size;
}

static void free_memory(struct ahci_port *p)
{
    dma_free(p->memory, sizeof(*p->memory));
    dma_free(p->tables, SLOTS * sizeof(struct table));
    dma_free(p->scratch, SLOTS * 512);
    p->memory = NULL;
    p->tables = NULL;
    p->scratch = NULL;
}

struct ahci_port *ahci_port_new(struct pci_device *pci, volatile u8 *registers, u32 cap, u32 number)
{
    struct ahci_port *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    *p = (struct ahci_port){.pci = pci, .cap = cap, .number = number, .registers = registers};
    p->block = &p->disk;
    p->memory = dma_alloc(sizeof(*p->memory));
    p->tables = dma_alloc(SLOTS * sizeof(struct table));
    p->scratch = dma_alloc(SLOTS * 512);
    if (p->memory && p->tables && p->scratch)
        return p;
    free_memory(p);
    free(p);
    return NULL;
}

/* A drive of CDs: scsi.c does the rest.  What its identification tells of a disk does not count. */
static bool attach_packet(struct ahci_port *p)
{
    static const struct ata_packet_ops packet_ops = {
        .start = start_packet, .poll = poll_port, .reset = reset_port};
    const struct block_limits limits = {.bytes = MIB,
                                        .segments = PRDS,
                                        .segment_bytes = 4 * MIB,
                                        .align = 2,
                                        .reach = p->cap & CAP_64_BIT ? 0 : 4 * GIB};

    if (identify(p, ATA_IDENTIFY_PACKET, &p->disk, &p->identity) == HV_ETIMEDOUT) {
        log_warn("AHCI port %u: the packet device does not tell what it is", p->number);
        return false;
    }
    p->block = ata_packet_new(&packet_ops, p, "SATA", p->disk.serial, &limits);
    if (!p->block)
        return false;
    mmio_write32(p->registers + P_IE, IE_WANTED);
    if (ata_packet_attach(p->block))
        return true;
    mmio_write32(p->registers + P_IE, 0);
    return false;
}

static bool attach_disk(struct ahci_port *p)
{
    enum hv_status status = identify(p, ATA_IDENTIFY, &p->disk, &p->identity);

    if (status != HV_OK) {
        log_warn("AHCI port %u: the disk does not tell what it is (status %d)", p->number, status);
        return false;
    }
    describe(p);
    block_register(p->block, "sd");
    mmio_write32(p->registers + P_IE, IE_WANTED);
    return true;
}

bool ahci_port_attach(struct ahci_port *p)
{
    mmio_write32(p->registers + P_IE, 0);
    if (stop(p) != HV_OK || start(p) != HV_OK) {
        log_warn("AHCI port %u: what is attached does not get ready", p->number);
        return false;
    }
    u32 signature = mmio_read32(p->registers + P_SIG);
    if (signature == SIG_PACKET)
        return attach_packet(p);
    if (signature == SIG_DISK)
        return attach_disk(p);
    log_info("AHCI port %u: no disk (signature %08x)", p->number, signature);
    return false;
}

struct block_device *ahci_port_block(struct ahci_port *p)
{
    return p->block;
}

void ahci_port_release(struct ahci_port *p)
{
    while (p->held) /* SMART ends soon: it sees that the disk is gone */
        fiber_sleep_until(clock_after(CLOCK_MS));
    mmio_write32(p->registers + P_IE, 0);
    if (stop(p) == HV_OK) /* else it may still write to it */
        free_memory(p);
}

void ahci_port_watch(volatile u8 *registers)
{
    u32 now = mmio_read32(registers + P_CMD);

    mmio_write32(registers + P_CMD, now | CMD_SPIN_UP);
    mmio_write32(registers + P_SCTL, 0x300);
    ahci_port_calm(registers);
    mmio_write32(registers + P_IE, IS_LINK);
}
