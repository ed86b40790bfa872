/* SATA disks and, by packets, CDs behind AHCI: Serial ATA AHCI 1.3.1.  Queued commands (NCQ) where
 * disk and controller have them; what failed once is tried again alone, so that an error names its
 * request.  Called by pci.c and block.c, by its interrupt on the loop.  One file: slots, errors and
 * resets of a port are one state; what packets carry is in ahci_packet.c. */
#include "drivers/ahci.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/ahci_packet.h"
#include "drivers/ata.h"
#include "drivers/block.h"
#include "drivers/driver.h"
#include "drivers/pci.h"

#define PORTS 32
#define SLOTS 32
#define ABAR 5

enum ahci_register { /* 3.1, and 3.3 from 100H + port * 80H */
                     REG_CAP = 0x00,
                     REG_GHC = 0x04,
                     REG_IS = 0x08,
                     REG_PI = 0x0c,
                     REG_PORTS = 0x100,
                     PORT_SIZE = 0x80,
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
#define GHC_INTERRUPTS 2u
#define GHC_AHCI 0x80000000u
#define CMD_START 0x01u
#define CMD_SPIN_UP 0x06u /* and power */
#define CMD_RECEIVE 0x10u
#define CMD_RECEIVING 0x4000u
#define CMD_RUNNING 0x8000u
#define IS_ERRORS 0x7d800000u /* 3.3.5: bits 30..26, 24, 23 */
#define IE_WANTED (IS_ERRORS | 0x0fu)
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
    struct controller *controller;
    volatile u8 *registers;
    struct port_memory *memory;
    struct table *tables;
    u8 *scratch; /* a block a slot: TRIM ranges */
    struct block_request *requests[SLOTS];
    u32 busy, usable; /* slots */
    bool alone;       /* the one command that is out is not a queued one */
    bool held;        /* no command is started: one of SMART goes on */
    /* The packet command that is out by slot 0; NULL: none. */
    const struct ahci_packet *packet;
};

struct controller {
    struct pci_device *pci;
    volatile u8 *registers;
    u32 cap;
    struct ahci_port *ports[PORTS];
    u64 interrupts;
};

#define STOP_NS (500 * CLOCK_MS)
#define LINK_NS (100 * CLOCK_MS)
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
    const struct ahci_packet *k = p->packet;

    p->busy &= ~(1u << slot);
    p->requests[slot] = NULL;
    p->packet = NULL;
    p->alone = false;
    if (k)
        k->done(k->owner, status, p->memory->headers[slot].transferred);
    else
        block_done(r, status);
}

bool ahci_packet_start(struct ahci_port *p, const struct ahci_packet *k)
{
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

static void clear_errors(struct ahci_port *p)
{
    mmio_write32(p->registers + P_SERR, ~0u);
    mmio_write32(p->registers + P_IS, ~0u);
}

/* 6.2.2.1: after an error of a command that was out alone.  False: it does not stop. */
static bool restart(struct ahci_port *p)
{
    u64 end_tsc = clock_after(CLOCK_MS);

    set_command(p, CMD_START, 0);
    while (mmio_read32(p->registers + P_CMD) & CMD_RUNNING)
        if (clock_tsc() > end_tsc)
            return false;
    clear_errors(p);
    if (mmio_read32(p->registers + P_TFD) & (ATA_BUSY | ATA_DATA))
        return false;
    set_command(p, 0, CMD_START);
    return true;
}

static void serve_port(struct ahci_port *p)
{
    u32 is = mmio_read32(p->registers + P_IS);

    mmio_write32(p->registers + P_IS, is);
    if (p->block->resetting || p->block->gone)
        return;
    u32 out = mmio_read32(p->registers + P_SACT) | mmio_read32(p->registers + P_CI);
    u32 over = p->busy & ~out;
    if (is & IS_ERRORS) {
        if (p->alone && p->busy && is != ~0u && restart(p))
            end(p, (u32)__builtin_ctz(p->busy), HV_EIO);
        else
            block_stuck(p->block, "the disk reports an error");
        return;
    }
    for (; over && !p->block->resetting; over &= over - 1)
        end(p, (u32)__builtin_ctz(over), HV_OK);
}

static void serve(void *owner)
{
    struct controller *c = owner;
    u32 is = mmio_read32(c->registers + REG_IS);

    if (is == ~0u)
        return;
    for (u32 left = is; left; left &= left - 1) {
        struct ahci_port *p = c->ports[__builtin_ctz(left)];
        if (p)
            serve_port(p);
    }
    mmio_write32(c->registers + REG_IS, is); /* after the ports': 5.5.3 */
}

void ahci_poll(struct ahci_port *p)
{
    if ((mmio_read32(p->registers + P_SSTS) & SSTS_DETECT) != SSTS_PRESENT)
        block_stuck(p->block, "the link is down");
    else
        serve_port(p);
}

static void poll(struct block_device *b)
{
    ahci_poll(b->driver);
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
    clear_errors(p);
    set_command(p, 0, CMD_RECEIVE);
    status = pci_wait_register(p->registers + P_TFD, ATA_BUSY | ATA_DATA, 0, READY_NS);
    if (status != HV_OK)
        return status;
    clear_errors(p);
    set_command(p, 0, CMD_START);
    return HV_OK;
}

enum hv_status ahci_reset(struct ahci_port *p)
{
    enum hv_status status = p->controller->pci->gone ? HV_EIO : stop(p);

    if (status == HV_OK)
        status = start(p);
    p->busy = 0;
    p->alone = false;
    p->packet = NULL;
    memset(p->requests, 0, sizeof(p->requests));
    if (status == HV_OK)
        mmio_write32(p->registers + P_IE, IE_WANTED);
    return status;
}

static enum hv_status reset(struct block_device *b)
{
    return ahci_reset(b->driver);
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
    clear_errors(p);
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
static enum hv_status identify(struct ahci_port *p, enum ata_command command)
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
        status = ata_identify(p->block, &p->identity, id);
    if (status == HV_OK && !p->identity.dma)
        status = HV_ENOSYS;
    clear_errors(p);
    return status;
}

static void describe(struct ahci_port *p)
{
    struct block_device *b = p->block;
    u32 slots = (u32)FIELD_GET(CAP_SLOTS, p->controller->cap) + 1;

    if (!(p->controller->cap & CAP_NCQ))
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
                                      .reach = p->controller->cap & CAP_64_BIT ? 0 : 4 * GIB};
    b->limits.range[0] = ATA_TRIM_SECTORS * b->sector_size;
}

/* Memory that the port may still write to is not given back. */
static struct ahci_port *new_port(struct controller *c, u32 n)
{
    struct ahci_port *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->controller = c;
    p->block = &p->disk;
    p->registers = c->registers + REG_PORTS + n * PORT_SIZE;
    p->memory = dma_alloc(sizeof(*p->memory));
    p->tables = dma_alloc(SLOTS * sizeof(struct table));
    p->scratch = dma_alloc(SLOTS * 512);
    if (p->memory && p->tables && p->scratch)
        return p;
    dma_free(p->memory, sizeof(*p->memory));
    dma_free(p->tables, SLOTS * sizeof(struct table));
    dma_free(p->scratch, SLOTS * 512);
    free(p);
    return NULL;
}

/* A drive of CDs: scsi.c does the rest.  What its identification tells of a disk does not count. */
static bool attach_packet(struct ahci_port *p, u32 n)
{
    const struct block_limits limits = {.bytes = MIB,
                                        .segments = PRDS,
                                        .segment_bytes = 4 * MIB,
                                        .align = 2,
                                        .reach = p->controller->cap & CAP_64_BIT ? 0 : 4 * GIB};

    if (identify(p, ATA_IDENTIFY_PACKET) == HV_ETIMEDOUT) {
        log_warn("AHCI port %u: the packet device does not tell what it is", n);
        return false;
    }
    p->block = ahci_packet_new(p, p->disk.serial, &limits);
    if (!p->block)
        return false;
    p->controller->ports[n] = p;
    mmio_write32(p->registers + P_IE, IE_WANTED);
    if (ahci_packet_attach(p->block))
        return true;
    mmio_write32(p->registers + P_IE, 0);
    p->controller->ports[n] = NULL;
    return false;
}

/* True: it has a disk. */
static bool probe_port(struct controller *c, u32 n)
{
    volatile u8 *registers = c->registers + REG_PORTS + n * PORT_SIZE;

    if ((mmio_read32(registers + P_SSTS) & SSTS_DETECT) != SSTS_PRESENT)
        return false;
    struct ahci_port *p = new_port(c, n);
    if (!p || stop(p) != HV_OK || start(p) != HV_OK) {
        log_warn("AHCI port %u: what is attached does not get ready", n);
        return false;
    }
    u32 signature = mmio_read32(registers + P_SIG);
    if (signature == SIG_PACKET)
        return attach_packet(p, n);
    if (signature != SIG_DISK) {
        log_info("AHCI port %u: no disk (signature %08x)", n, signature);
        return false;
    }
    enum hv_status status = identify(p, ATA_IDENTIFY);
    if (status != HV_OK) {
        log_warn("AHCI port %u: the disk does not tell what it is (status %d)", n, status);
        return false;
    }
    describe(p);
    c->ports[n] = p;
    block_register(p->block, "sd");
    mmio_write32(registers + P_IE, IE_WANTED);
    return true;
}

static enum hv_status probe(struct pci_device *pci)
{
    enum hv_status status = pci_map(pci, ABAR, REG_PORTS + PORT_SIZE);

    if (status != HV_OK || !pci->bars[ABAR].registers)
        return status != HV_OK ? status : HV_ENOENT;
    struct controller *c = calloc(1, sizeof(*c));
    if (!c)
        return HV_ENOMEM;
    pci->state = c;
    c->pci = pci;
    c->registers = pci->bars[ABAR].registers;
    pci_enable(pci);
    mmio_write32(c->registers + REG_GHC, GHC_AHCI);
    c->cap = mmio_read32(c->registers + REG_CAP);
    u32 present = mmio_read32(c->registers + REG_PI), disks = 0;
    pci_interrupts(pci, 0);
    pci_on_interrupt(pci, 0, serve, c);
    mmio_write32(c->registers + REG_IS, ~0u);
    mmio_write32(c->registers + REG_GHC, GHC_AHCI | GHC_INTERRUPTS);
    for (u32 n = 0; n < PORTS && present >> n; n++)
        if ((present >> n & 1) && REG_PORTS + (n + 1) * PORT_SIZE <= pci->bars[ABAR].len)
            disks += probe_port(c, n);
    log_info("AHCI: %u disks", disks);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct controller *c = pci->state;

    for (u32 n = 0; n < PORTS; n++)
        if (c->ports[n])
            block_stuck(c->ports[n]->block, "it was pulled out");
}

static const struct driver_id ids[] = {
    {DRIVER_ANY, DRIVER_ANY, 0x010601, 0xffffff, "AHCI controller"},
    {0},
};
static const struct driver ahci = {.name = "ahci", .ids = ids, .probe = probe, .gone = gone};
DRIVER(ahci);
