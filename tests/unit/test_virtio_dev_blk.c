/* links: vmm/virtio_dev_blk.c vmm/virtio_dev.c vmm/virtio_ring.c vmm/guest_mem.c */
/* The virtio block device between a driver and a disk that ends its requests in any order: each is
 * answered when it is done, once, also if the control partition begins again in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "vmm/platform.h"
#include "vmm/virtio_dev_blk.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/vm.h"

#define RAM (1 * MIB)
#define DESC 0x1000
#define DRIVER 0x3000
#define DEVICE 0x4000
#define TABLES 0x10000
#define HEADERS 0x20000
#define STATUS 0x30000
#define DATA 0x40000
#define SECTOR 512u
#define SIZE 32u /* entries of the queue */
#define FLUSHES BIT(9)
#define NEXT 1
#define WRITE 2
#define INDIRECT 4
#define DIRECT_SLOTS 3u
#define NOT_YET 0xff

struct desc {
    u64 addr;
    u32 len;
    u16 a, b; /* split: flags, next; packed: id, flags */
};

static struct kind {
    bool packed, indirect;
} kind;

static u8 ram[RAM] __attribute__((aligned(4096)));
static struct vm *vm;
static struct virtio_device device;
static struct disk disk;
static struct disk_io *pending[2 * SIZE];
static u32 pending_count, interrupts, broken;
static struct { /* the driver */
    bool busy[SIZE], write[SIZE];
    u32 sector[SIZE], busy_count, serial;
    u16 avail, used;
    bool avail_wrap, used_wrap;
} driver;

void disk_submit(struct disk *d, struct disk_io *io)
{
    assert_ptr_equal(d, &disk);
    assert_true(pending_count < ARRAY_LEN(pending));
    pending[pending_count++] = io;
}
bool disk_unsaved(const struct disk *d)
{
    (void)d;
    return false;
}
enum hv_status fiber_wait(struct event *e, u64 deadline)
{
    (void)e;
    (void)deadline;
    fail();
    return HV_EINVAL;
}
void event_signal(struct event *e)
{
    (void)e;
}
bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *attempt,
              const char *fmt, ...)
{
    (void)e;
    (void)status;
    (void)code;
    (void)attempt;
    (void)fmt;
    return false;
}
u64 platform_now(void)
{
    return 0;
}
void platform_log(struct vm *v, const char *fmt, ...)
{
    (void)v;
    (void)fmt;
    broken++;
}
void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level;
    (void)fmt;
}
void platform_device_timer(struct virtio_device *d, u64 at)
{
    (void)d;
    (void)at;
}
void virtio_dev_pci_interrupt(struct virtio_device *d, u16 vector, u8 isr)
{
    (void)d;
    (void)vector;
    (void)isr;
    interrupts++;
}
void pci_intx(struct pci_device *d, bool level)
{
    (void)d;
    (void)level;
}

/* ---- the driver -------------------------------------------------------------------------------
 */

static u32 slots(void)
{
    return kind.indirect ? 1 : DIRECT_SLOTS;
}

static u32 requests(void) /* that the queue has room for */
{
    return SIZE / slots();
}

static u16 *word(u64 at)
{
    return (u16 *)(ram + at);
}

static void step(u16 *at, bool *wrap, u32 by)
{
    *at = (u16)(*at + by);
    if (*at >= SIZE) {
        *at = (u16)(*at - SIZE);
        *wrap = !*wrap;
    }
}

static u16 wrap_flags(void)
{
    return driver.avail_wrap ? BIT(7) : BIT(15);
}

/* Header, data and status as three descriptors; split: `first` is the number of the first. */
static void chain_at(struct desc part[3], u32 n, bool write, u32 first)
{
    const u64 at[3] = {HEADERS + 16u * n, DATA + SECTOR * n, STATUS + n};
    const u32 len[3] = {16, SECTOR, 1};
    for (u32 i = 0; i < 3; i++) {
        u16 flags = (u16)((i == 2 || (i == 1 && !write) ? WRITE : 0) | (i < 2 ? NEXT : 0));
        part[i] = kind.packed ? (struct desc){at[i], len[i], (u16)n, flags}
                              : (struct desc){at[i], len[i], flags, (u16)(first + i + 1)};
    }
}

static void offer_packed(u32 n, const struct desc part[3])
{
    struct desc *ring = (struct desc *)(ram + DESC);
    struct desc table = {TABLES + 64u * n, 48, (u16)n, INDIRECT};
    const struct desc *list = kind.indirect ? &table : part;
    for (u32 i = 0; i < slots(); i++) {
        ring[driver.avail] = list[i];
        ring[driver.avail].b |= wrap_flags();
        step(&driver.avail, &driver.avail_wrap, 1);
    }
}

static void offer_split(u32 n, const struct desc part[3])
{
    struct desc *ring = (struct desc *)(ram + DESC);
    u16 *index = word(DRIVER + 2);
    if (kind.indirect)
        ring[n] = (struct desc){TABLES + 64u * n, 48, INDIRECT, 0};
    else
        memcpy(&ring[DIRECT_SLOTS * n], part, 3 * sizeof(*part));
    word(DRIVER + 4)[*index % SIZE] = (u16)(n * slots());
    ++*index;
}

/* Request n, which is free; its sector is one that no other has. */
static void offer(u32 n, bool write)
{
    struct desc part[3];
    u32 sector = ++driver.serial;
    assert_false(driver.busy[n]);
    driver.busy[n] = true;
    driver.write[n] = write;
    driver.sector[n] = sector;
    driver.busy_count++;
    memcpy(ram + HEADERS + 16u * n, (u64[]){write, sector}, 16);
    memset(ram + DATA + SECTOR * n, write ? (u8)sector : 0, SECTOR);
    ram[STATUS + n] = NOT_YET;
    chain_at(part, n, write, kind.indirect ? 0 : DIRECT_SLOTS * n);
    if (kind.packed && kind.indirect)
        part[0].b = part[1].b = 0, part[write ? 2 : 1].b = part[2].b = WRITE;
    memcpy(ram + TABLES + 64u * n, part, sizeof(part));
    if (kind.packed)
        offer_packed(n, part);
    else
        offer_split(n, part);
}

/* The next used request; -1: none. */
static int next_used(u32 *written)
{
    int n;
    if (kind.packed) {
        struct desc d = ((struct desc *)(ram + DESC))[driver.used];
        if (!!(d.b & BIT(7)) != driver.used_wrap || !!(d.b & BIT(15)) != driver.used_wrap)
            return -1;
        step(&driver.used, &driver.used_wrap, slots());
        n = d.a;
        *written = d.len;
    } else {
        if (driver.used == *word(DEVICE + 2))
            return -1;
        const u32 *entry = (const u32 *)(ram + DEVICE + 4) + 2u * (driver.used++ % SIZE);
        n = (int)(entry[0] / slots());
        *written = entry[1];
    }
    return n;
}

static int collect(void)
{
    u32 written;
    int n = next_used(&written);
    if (n < 0)
        return n;
    assert_true(n < (int)requests() && driver.busy[n]);
    assert_int_equal(ram[STATUS + n], 0);
    assert_int_equal(written, driver.write[n] ? 1 : SECTOR + 1);
    for (u32 i = 0; i < SECTOR; i++)
        assert_int_equal(ram[DATA + SECTOR * (u32)n + i], (u8)driver.sector[n]);
    driver.busy[n] = false;
    driver.busy_count--;
    return n;
}

/* ---- the disk and the partition ---------------------------------------------------------------
 */

/* The pending request of a sector ends. */
static void complete(u32 sector)
{
    u32 i = 0;
    while (i < pending_count && pending[i]->offset != (u64)sector * SECTOR)
        i++;
    assert_true(i < pending_count);
    struct disk_io *io = pending[i];
    pending[i] = pending[--pending_count];
    assert_int_equal(io->length, SECTOR);
    for (u32 k = 0; k < io->iov_count; k++)
        if (io->op == DISK_READ)
            memset(io->iov[k].base, (u8)sector, io->iov[k].len);
    io->status = HV_OK;
    io->done(io);
}

static void attach(void)
{
    struct vm_error e;
    struct virtio_area *area = vm_state_area(vm->state, 0);
    device = (struct virtio_device){.model = &virtio_dev_blk_model,
                                    .label = "disk0",
                                    .state = &area->virtio,
                                    .model_state = area->model};
    device.pci.vm = vm;
    assert_true(virtio_dev_blk_open(&device, &e));
}

static void connect_disk(void)
{
    virtio_dev_blk_connect(&device, &disk);
}

/* Of this instance nothing is left but the VM's state. */
static void forget(void)
{
    while (pending_count)
        free(pending[--pending_count]->owner);
    virtio_dev_blk_close(&device);
}

static void restart(void)
{
    forget();
    attach();
    virtio_dev_resume(&device);
    assert_int_equal(pending_count, 0); /* there is no disk yet */
    connect_disk();
}

static u32 kept(void)
{
    const struct virtio_kept *k = vm_state_kept(vm->state);
    u32 n = 0;
    for (u32 i = 0; i < VM_KEPT; i++)
        n += k[i].used;
    return n;
}

static void enable(void)
{
    struct virtio_state *s = device.state;
    s->status = 15;
    s->driver_features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | FLUSHES |
                         (kind.packed ? VIRTIO_F_RING_PACKED : 0);
    s->queue[0] = (struct virtio_queue){
        .desc = DESC, .driver = DRIVER, .device = DEVICE, .size = SIZE, .enabled = 1};
    virtio_ring_start(&s->queue[0]);
    memset(ram, 0, sizeof(ram));
    memset(&driver, 0, sizeof(driver));
    driver.avail_wrap = driver.used_wrap = true;
    virtio_dev_resume(&device);
}

static void set_up(bool packed, bool indirect)
{
    kind = (struct kind){packed, indirect};
    memset(vm->state, 0, vm_state_size(1, true));
    vm->state->device_count = 1;
    vm->state->has_disks = 1;
    vm->config.cpu_count = 1;
    vm->mem = (struct guest_mem){.base = ram, .count = 1, .range = {{0, RAM}}};
    disk = (struct disk){.size = 1 * GIB, .block_size = SECTOR};
    interrupts = broken = 0;
    attach();
    connect_disk();
    enable();
}

static void kick(void)
{
    virtio_dev_kick(&device, 0);
}

/* ---- the tests --------------------------------------------------------------------------------
 */

static void fast_reads_overtake_a_slow_write(bool packed, bool indirect)
{
    set_up(packed, indirect);
    offer(0, true);
    for (u32 n = 1; n < 4; n++)
        offer(n, false);
    kick();
    assert_int_equal(pending_count, 4);
    assert_int_equal(collect(), -1);
    for (u32 n = 3; n; n--) {
        complete(driver.sector[n]);
        assert_int_equal(interrupts, 4 - n);
        assert_int_equal(collect(), n);
    }
    assert_int_equal(ram[STATUS], NOT_YET);
    complete(driver.sector[0]);
    assert_int_equal(collect(), 0);
    assert_int_equal(collect(), -1);
    assert_int_equal(virtio_dev_blk_in_flight(&device), 0);
    assert_int_equal(kept(), 0);
    forget();
}

static void reads_overtake(void **unused)
{
    (void)unused;
    fast_reads_overtake_a_slow_write(false, false);
    fast_reads_overtake_a_slow_write(false, true);
    fast_reads_overtake_a_slow_write(true, true);
}

/* Its used descriptors would cover what cannot be noted. */
static void a_long_packed_chain_is_not_overtaken(void **unused)
{
    (void)unused;
    set_up(true, false);
    offer(0, true);
    offer(1, false);
    kick();
    complete(driver.sector[1]);
    assert_int_equal(collect(), -1);
    complete(driver.sector[0]);
    assert_int_equal(collect(), 0);
    assert_int_equal(collect(), 1);
    forget();
}

/* The write's place in the ring is used many times by others before the restart. */
static void what_was_overtaken_is_found_again(bool packed, bool indirect)
{
    set_up(packed, indirect);
    offer(0, true);
    for (u32 i = 0; i < 5 * SIZE; i++) {
        offer(1, false);
        kick();
        complete(driver.sector[1]);
        assert_int_equal(collect(), 1);
    }
    offer(2, true);
    offer(3, false);
    kick();
    restart();
    assert_int_equal(pending_count, 3);
    complete(driver.sector[3]);
    assert_int_equal(collect(), 3);
    restart();
    assert_int_equal(pending_count, 2);
    complete(driver.sector[0]);
    complete(driver.sector[2]);
    assert_int_equal(collect(), 0);
    assert_int_equal(collect(), 2);
    restart();
    assert_int_equal(pending_count, 0);
    assert_int_equal(collect(), -1);
    assert_int_equal(kept(), 0);
    forget();
}

static void restarts_find_all(void **unused)
{
    (void)unused;
    what_was_overtaken_is_found_again(false, false);
    what_was_overtaken_is_found_again(false, true);
    what_was_overtaken_is_found_again(true, true);
}

static void without_room_they_wait(void **unused)
{
    (void)unused;
    set_up(true, true);
    struct virtio_kept *k = vm_state_kept(vm->state);
    for (u32 i = 0; i < VM_KEPT; i++)
        k[i] = (struct virtio_kept){.used = 1, .device = 7};
    k[5].used = 0;
    for (u32 n = 0; n < 3; n++)
        offer(n, n < 2);
    kick();
    complete(driver.sector[2]); /* would need two */
    assert_int_equal(collect(), -1);
    complete(driver.sector[1]);
    assert_int_equal(collect(), 1);
    assert_int_equal(collect(), 2);
    complete(driver.sector[0]);
    assert_int_equal(collect(), 0);
    assert_int_equal(kept(), VM_KEPT - 1); /* another disk's */
    forget();
}

static void a_reset_waits_and_forgets(void **unused)
{
    (void)unused;
    set_up(false, true);
    offer(0, true);
    offer(1, false);
    offer(2, false);
    kick();
    complete(driver.sector[1]);
    assert_int_equal(collect(), 1);
    assert_int_equal(kept(), 1);
    virtio_dev_set_status(&device, 0);
    assert_true(device.state->resetting);
    complete(driver.sector[2]);
    assert_int_equal(ram[STATUS + 2], NOT_YET);
    complete(driver.sector[0]);
    assert_int_equal(ram[STATUS], NOT_YET);
    assert_int_equal(collect(), -1);
    assert_false(device.state->resetting);
    assert_int_equal(device.state->status, 0);
    assert_int_equal(kept(), 0);
    enable();
    offer(0, true);
    kick();
    complete(driver.sector[0]);
    assert_int_equal(collect(), 0);
    forget();
}

static void a_broken_device_answers_nothing(void **unused)
{
    (void)unused;
    set_up(false, true);
    offer(0, true);
    offer(1, false);
    kick();
    complete(driver.sector[1]);
    assert_int_equal(collect(), 1);
    *word(DRIVER + 2) += SIZE + 1; /* more than it has */
    kick();
    assert_int_equal(broken, 1);
    complete(driver.sector[0]);
    assert_int_equal(ram[STATUS], NOT_YET);
    assert_int_equal(virtio_dev_blk_in_flight(&device), 0);
    virtio_dev_set_status(&device, 0);
    assert_int_equal(device.state->status, 0);
    assert_int_equal(kept(), 0);
    forget();
}

/* A driver that changes what is in flight breaks its own device. */
static void what_was_kept_is_checked_again(void **unused)
{
    (void)unused;
    set_up(false, false);
    offer(0, true);
    offer(1, false);
    kick();
    complete(driver.sector[1]);
    assert_int_equal(collect(), 1);
    ((struct desc *)(ram + DESC))[0].addr = RAM - 1;
    restart();
    assert_int_equal(broken, 1);
    assert_int_equal(pending_count, 0);
    virtio_dev_set_status(&device, 0);
    assert_int_equal(kept(), 0);
    forget();
}

/* Any order, with restarts: everything is answered once (collect() says so).  Requests that are
 * done and held back exist only in packed rings without tables: there is no restart then. */
static void any_order(bool packed, bool indirect, u64 seed)
{
    u64 answered = 0;
    set_up(packed, indirect);
    for (u32 i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        u32 dice = (u32)(seed >> 33) % 100, n = (u32)(seed >> 40) % requests();
        if (dice < 45 && !driver.busy[n]) {
            offer(n, dice & 1);
            if (dice < 30)
                kick();
        } else if (dice < 98 && pending_count) {
            complete((u32)(pending[n % pending_count]->offset / SECTOR));
        } else if (dice == 99 && (!packed || indirect)) {
            while (collect() >= 0)
                answered++;
            restart();
            assert_int_equal(pending_count, driver.busy_count);
        }
        while (dice % 3 && collect() >= 0)
            answered++;
    }
    kick();
    while (pending_count)
        complete((u32)(pending[pending_count - 1]->offset / SECTOR));
    while (collect() >= 0)
        answered++;
    assert_int_equal(driver.busy_count, 0);
    assert_int_equal(kept(), 0);
    assert_int_equal(broken, 0);
    assert_true(answered > 5000);
    forget();
}

static void any_order_is_answered_once(void **unused)
{
    (void)unused;
    for (u32 i = 0; i < 4; i++)
        any_order(i & 1, i & 2, 1 + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_overtake),
        cmocka_unit_test(a_long_packed_chain_is_not_overtaken),
        cmocka_unit_test(restarts_find_all),
        cmocka_unit_test(without_room_they_wait),
        cmocka_unit_test(a_reset_waits_and_forgets),
        cmocka_unit_test(a_broken_device_answers_nothing),
        cmocka_unit_test(what_was_kept_is_checked_again),
        cmocka_unit_test(any_order_is_answered_once),
    };
    vm = calloc(1, sizeof(*vm));
    vm->state = calloc(1, vm_state_size(1, true));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(vm->state);
    free(vm);
    return failed;
}
