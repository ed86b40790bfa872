/* links: drivers/ahci.c drivers/ahci_port.c drivers/ata_packet.c drivers/scsi.c drivers/scsi_media.c drivers/ata.c drivers/block.c control/rt/dma.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c tests/unit/pci_lab.c */
/* An AHCI controller with disks that are plugged in, pulled out, exchanged and glitch while the
 * driver works with them. */
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
#include "control/rt/mmio.h"
#include "drivers/ata.h"
#include "drivers/block.h"
#include "drivers/driver.h"
#include "drivers/pci.h"
#include "tests/unit/pci_lab.h"

enum { PORTS = 4, SECTORS = 256, LENGTH = 0x100 + PORTS * 0x80 };
enum { CAP = 0, GHC = 4, IS = 8, PI = 12 };
enum { CLB = 0, P_IS = 16, IE = 20, CMD = 24, TFD = 32, SIG = 36 };
enum { SSTS = 40, SCTL = 44, SERR = 48, SACT = 52, CI = 56 };
#define EXCHANGED BIT(26)
#define PHY_CHANGE BIT(16)

struct fake_disk {
    u8 media[SECTORS * 512];
    char serial[21];
    bool no_disk; /* but something else */
    u32 resets;
};

static struct {
    volatile u8 window[LENGTH]; /* only its addresses count */
    u32 global[8], port[PORTS][32];
    struct fake_disk *disks[PORTS];
    bool hold; /* commands are not completed */
    bool mute; /* the controller tells of no change of a link */
} fake;

static struct fake_disk disks[6];
static struct pci_device *pci;
static struct loop_timer tick; /* so that no step of the loop sleeps for ever */

extern const struct driver *const __start_drivers[];

static void on_tick(void *owner)
{
    (void)owner;
    loop_timer_set(&tick, clock_after(CLOCK_MS));
}

/* ---- the device -------------------------------------------------------------------------------
 */
struct fake_header {
    u16 flags, prds;
    u32 moved;
    u64 table, gap[2];
};
struct fake_prd {
    u64 address;
    u32 gap, count;
};

static void put_text(u16 *at, const char *text, u32 len)
{
    for (u32 i = 0; i < len; i++) {
        u8 c = *text ? (u8)*text++ : ' ';
        at[i / 2] |= (u16)(i % 2 ? c : c << 8);
    }
}

static void identify(const struct fake_disk *d, u16 *id)
{
    memset(id, 0, 512);
    put_text(id + 10, d->serial, 20);
    put_text(id + 27, "FAKE", 40);
    id[49] = 0x300;
    id[60] = id[100] = SECTORS;
    id[75] = 31;
    id[76] = 0x100;
    id[83] = 0x4400;
}

static void execute(u32 n, u32 slot)
{
    struct fake_disk *d = fake.disks[n];
    struct fake_header *h = (struct fake_header *)dma_pointer(fake.port[n][CLB / 4]) + slot;
    const u8 *fis = dma_pointer(h->table);
    const struct fake_prd *prd = (const struct fake_prd *)(fis + 128);
    u64 sector = fis[4] | (u64)fis[5] << 8 | (u64)fis[6] << 16;
    u16 id[256];
    u8 *media = d->media + sector * 512;
    bool in = !(h->flags & 0x40);

    if (fis[2] == ATA_IDENTIFY) {
        identify(d, id);
        media = (u8 *)id;
    } else {
        assert_true(fis[2] == ATA_READ_QUEUED || fis[2] == ATA_WRITE_QUEUED ||
                    fis[2] == ATA_READ_DMA_EXT || fis[2] == ATA_WRITE_DMA_EXT);
        assert_true(sector < SECTORS);
    }
    for (u32 i = 0; i < h->prds; i++, prd++) {
        u8 *data = dma_pointer(prd->address);
        memcpy(in ? data : media, in ? media : data, prd->count + 1);
        media += prd->count + 1;
    }
    fake.port[n][CI / 4] &= ~(1u << slot);
    fake.port[n][SACT / 4] &= ~(1u << slot);
    fake.port[n][P_IS / 4] |= 1;
}

static void run_commands(u32 n)
{
    u32 *p = fake.port[n];

    for (u32 left = p[CI / 4]; left && fake.disks[n]; left &= left - 1)
        if (!fake.hold)
            execute(n, (u32)__builtin_ctz(left));
}

/* What 3.3.5 makes of PxSERR. */
static u32 port_is(u32 n)
{
    u32 errors = fake.port[n][SERR / 4];

    return fake.port[n][P_IS / 4] | (errors & EXCHANGED ? BIT(6) : 0) |
           (errors & PHY_CHANGE ? BIT(22) : 0);
}

static u32 all_is(void)
{
    u32 is = 0;

    for (u32 n = 0; n < PORTS; n++)
        is |= (port_is(n) & fake.port[n][IE / 4]) ? 1u << n : 0;
    return is;
}

static void link_changes(u32 n)
{
    u32 *p = fake.port[n];

    p[SSTS / 4] = fake.disks[n] ? 0x123 : 0;
    p[SIG / 4] = !fake.disks[n] ? ~0u : fake.disks[n]->no_disk ? 0xc33c0101 : 0x101;
    p[TFD / 4] = fake.disks[n] ? 0x50 : 0x7f;
    p[SERR / 4] |= fake.mute ? 0 : EXCHANGED | PHY_CHANGE;
}

u32 mmio_read32(const volatile void *at)
{
    u32 offset = (u32)((const volatile u8 *)at - fake.window);

    assert_true(offset < LENGTH);
    if (offset == IS)
        return all_is();
    if (offset < 0x100)
        return fake.global[offset / 4];
    u32 n = offset / 0x80 - 2;
    return offset % 0x80 == P_IS ? port_is(n) : fake.port[n][offset % 0x80 / 4];
}

void mmio_write32(volatile void *at, u32 value)
{
    u32 offset = (u32)((volatile u8 *)at - fake.window);

    assert_true(offset < LENGTH);
    if (offset < 0x100) {
        fake.global[offset / 4] = value;
        return;
    }
    u32 n = offset / 0x80 - 2, reg = offset % 0x80, *p = fake.port[n];
    u32 before = p[reg / 4];
    if (reg == P_IS || reg == SERR) {
        p[reg / 4] &= ~value;
        return;
    }
    p[reg / 4] = reg == CI || reg == SACT ? before | value : value;
    if (reg == CMD) {
        p[CMD / 4] = (value & ~0xc000u) | (value & 1 ? 0x8000 : 0) | (value & 0x10 ? 0x4000 : 0);
        if (!(value & 1))
            p[CI / 4] = p[SACT / 4] = 0;
    } else if (reg == SCTL && (before & 1) && !(value & 1)) {
        link_changes(n);
        if (fake.disks[n])
            fake.disks[n]->resets++;
    } else if (reg == CI) {
        assert_true(p[CMD / 4] & 0x8000);
        run_commands(n);
    }
}

/* ---- the test's side --------------------------------------------------------------------------
 */
static void step(void)
{
    if ((fake.global[GHC / 4] & 2) && all_is())
        pci_lab_interrupt();
    loop_step();
}

static void plug(u32 n, struct fake_disk *d)
{
    fake.disks[n] = d;
    fake.port[n][CI / 4] = fake.port[n][SACT / 4] = 0;
    link_changes(n);
}

static struct block_device *find(const struct fake_disk *d)
{
    struct block_device *b = block_first();

    while (b && (b->gone || strcmp(b->serial, d->serial)))
        b = b->next;
    return b;
}

static struct block_device *wait_for(const struct fake_disk *d)
{
    while (!find(d))
        step();
    return find(d);
}

static void probe(void *done)
{
    assert_int_equal(__start_drivers[0]->probe(pci), HV_OK);
    *(bool *)done = true;
}

/* Each test has a controller of its own; that of the last one is pulled out. */
static int start(void **state)
{
    static struct pci_device functions[8];
    static u32 count, serial;
    bool done = false;

    (void)state;
    if (pci) {
        pci->gone = true;
        __start_drivers[0]->gone(pci);
    }
    for (u32 i = 0; i < 6; i++) {
        memset(&disks[i], 0, sizeof(disks[i]));
        memcpy(disks[i].serial, "DISK0", 5);
        disks[i].serial[5] = (char)('A' + serial++);
    }
    pci = &functions[count++];
    *pci = (struct pci_device){.name = "ahci0"};
    memset(&fake, 0, sizeof(fake));
    pci_lab_window = fake.window;
    pci_lab_len = LENGTH;
    fake.global[CAP / 4] = BIT(31) | BIT(30) | 7u << 8; /* eight slots */
    fake.global[PI / 4] = 0x7;
    plug(0, &disks[0]);
    assert_non_null(fiber_spawn("probe", probe, &done));
    while (!done)
        step();
    assert_non_null(find(&disks[0]));
    return 0;
}

struct job {
    struct block_request r;
    struct block_iov iov;
    bool done;
};

static void ended(struct block_request *r)
{
    ((struct job *)r->owner)->done = true;
}

static void submit(struct block_device *b, struct job *j, enum block_op op, u64 sector, u8 fill)
{
    *j = (struct job){.iov = {dma_alloc(4096), 4096}};
    memset(j->iov.base, fill, 4096);
    j->r = (struct block_request){.op = op,
                                  .offset = sector * 512,
                                  .length = 4096,
                                  .iov = &j->iov,
                                  .iov_count = 1,
                                  .done = ended,
                                  .owner = j};
    block_submit(b, &j->r);
}

static enum hv_status finish(struct job *j)
{
    while (!j->done)
        step();
    dma_free(j->iov.base, 4096);
    return j->r.status;
}

static void works(struct fake_disk *d)
{
    struct job j;

    submit(find(d), &j, BLOCK_WRITE, 16, 0x5a);
    assert_int_equal(finish(&j), HV_OK);
    for (u32 i = 0; i < 4096; i++)
        assert_int_equal(d->media[16 * 512 + i], 0x5a);
}

static void one_comes(void **state)
{
    (void)state;
    works(&disks[0]);
    plug(2, &disks[1]);
    wait_for(&disks[1]);
    works(&disks[1]);
    works(&disks[0]);
    fake.mute = true; /* and where nothing tells of it */
    plug(1, &disks[2]);
    wait_for(&disks[2]);
    works(&disks[2]);
}

static void one_goes_in_the_midst_of_writes(void **state)
{
    for (u32 mute = 0; mute < 2; mute++) {
        struct block_device *b;
        struct job j[12];

        start(state);
        b = find(&disks[0]);
        plug(1, &disks[1]);
        wait_for(&disks[1]);
        fake.mute = mute;
        fake.hold = true;
        for (u32 i = 0; i < 12; i++)
            submit(b, &j[i], BLOCK_WRITE, i * 8, 1);
        plug(0, NULL);
        for (u32 i = 0; i < 12; i++)
            assert_int_equal(finish(&j[i]), HV_EIO);
        assert_true(b->gone);
        fake.hold = false;
        works(&disks[1]);
        plug(0, &disks[2]);
        wait_for(&disks[2]);
        works(&disks[2]);
        assert_true(b->gone);
        plug(0, NULL); /* and the first once more, by another name */
        while (find(&disks[2]))
            step();
        plug(0, &disks[0]);
        wait_for(&disks[0]);
        works(&disks[0]);
    }
}

static void a_link_that_fails_for_a_moment_loses_nothing(void **state)
{
    struct block_device *b = find(&disks[0]);
    struct job j[12];

    (void)state;
    fake.hold = true;
    for (u32 i = 0; i < 12; i++)
        submit(b, &j[i], BLOCK_WRITE, i * 8, (u8)(i + 1));
    plug(0, &disks[0]);
    fake.hold = false;
    for (u32 i = 0; i < 12; i++) {
        assert_int_equal(finish(&j[i]), HV_OK);
        assert_int_equal(disks[0].media[i * 4096], i + 1);
    }
    assert_int_equal(b->stats.resets, 1);
    assert_false(b->gone);
}

static void another_disk_in_its_place_gets_none_of_its_writes(void **state)
{
    struct block_device *b = find(&disks[0]);
    struct job j;

    (void)state;
    fake.hold = true;
    submit(b, &j, BLOCK_WRITE, 0, 7);
    plug(0, &disks[1]);
    fake.hold = false;
    assert_int_equal(finish(&j), HV_EIO);
    assert_true(b->gone);
    wait_for(&disks[1]);
    assert_int_equal(disks[1].media[0], 0);
    works(&disks[1]);
}

static void what_cannot_be_used_is_tried_once_a_plug(void **state)
{
    (void)state;
    disks[2].no_disk = true;
    plug(2, &disks[2]);
    while (!disks[2].resets)
        step();
    for (u64 end = clock_after(2500 * CLOCK_MS); clock_tsc() < end;)
        step();
    assert_int_equal(disks[2].resets, 1);
    plug(2, NULL);
    disks[2].no_disk = false;
    plug(2, &disks[2]);
    wait_for(&disks[2]);
    assert_int_equal(disks[2].resets, 2);
    works(&disks[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_comes, start),
        cmocka_unit_test(one_goes_in_the_midst_of_writes),
        cmocka_unit_test_setup(a_link_that_fails_for_a_moment_loses_nothing, start),
        cmocka_unit_test_setup(another_disk_in_its_place_gets_none_of_its_writes, start),
        cmocka_unit_test_setup(what_cannot_be_used_is_tried_once_a_plug, start),
    };

    tick.fn = on_tick;
    on_tick(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
