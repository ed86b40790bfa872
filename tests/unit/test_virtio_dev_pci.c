/* links: vmm/virtio_dev_pci.c vmm/virtio_dev.c vmm/virtio_ring.c vmm/pci.c vmm/chipset.c vmm/guest_mem.c */
/* The virtio PCI transport as a driver sees it: through configuration space and BARs alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "vmm/exits.h"
#include "vmm/inventory.h"
#include "vmm/ioapic.h"
#include "vmm/platform.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/vm.h"

#define RAM (64 * KIB)
#define SLOT 5

static u8 ram[RAM] __attribute__((aligned(4096)));
static struct vm *vm;
static struct virtio_device device;
static struct virtio_area area;
static u32 pins, msi_count, kicks, resets, logs, events;
static u64 msi_address;
static u32 msi_data;

void platform_msi(struct vm *v, u32 address, u32 data)
{
    (void)v;
    msi_count++;
    msi_address = address;
    msi_data = data;
}
void platform_log(struct vm *v, const char *fmt, ...)
{
    (void)v;
    (void)fmt;
    logs++;
}
void log_write(enum log_level level, const char *fmt, ...)
{
    (void)fmt;
    events += level == LOG_NOTICE;
}
void platform_device_timer(struct virtio_device *d, u64 at)
{
    (void)d;
    (void)at;
}
static u32 unclaimed;
void exits_unclaimed_port(struct vm *v, u16 port, u8 size, const char *what)
{
    (void)v;
    (void)port;
    (void)size;
    (void)what;
    unclaimed++;
}
void exits_unclaimed_page(struct vm *v, u64 gpa, const char *what)
{
    (void)v;
    (void)gpa;
    (void)what;
    unclaimed++;
}
void ioapic_set_irq(struct vm *v, u32 pin, bool level)
{
    (void)v;
    pins = level ? pins | 1u << pin : pins & ~(1u << pin);
}

struct vm *inventory_slots[VM_SLOTS];
static u64 group, named, calls; /* of the last SYS_VM_DOORBELLS */
i64 sys_call(u64 n, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    (void)d;
    (void)e;
    assert_int_equal(n, SYS_VM_DOORBELLS);
    assert_int_equal(a, vm->slot);
    group = b;
    named = c;
    calls++;
    return 0;
}

/* A device that answers each chain with its own bytes, inverted. */
static void echo(struct virtio_device *d, u32 queue)
{
    static struct virtio_chain c;
    u8 bytes[64];
    kicks++;
    while (virtio_dev_take(d, queue, &c)) {
        u32 n = virtio_chain_read(&c, 0, bytes, sizeof(bytes));
        for (u32 i = 0; i < n; i++)
            bytes[i] = (u8)~bytes[i];
        virtio_dev_put(d, queue, &c, virtio_chain_write(&c, 0, bytes, n));
    }
    virtio_dev_signal(d, queue);
}

static void read_config(struct virtio_device *d, u32 offset, void *dst, u32 len)
{
    static const u8 config[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    (void)d;
    memcpy(dst, config + offset, len);
}

static void on_reset(struct virtio_device *d)
{
    (void)d;
    resets++;
}

static const struct virtio_model model = {.name = "virtio-echo",
                                          .type = 40,
                                          .class = 0x020000,
                                          .queue_size = 8,
                                          .config_len = 8,
                                          .features = BIT(3),
                                          .config_read = read_config,
                                          .reset = on_reset,
                                          .kick = echo};

static int set_up(void **state)
{
    (void)state;
    memset(ram, 0, sizeof(ram));
    memset(&area, 0, sizeof(area));
    vm->mem = (struct guest_mem){.base = ram, .count = 1, .range = {{0, RAM}}};
    vm->pci = (struct pci_bus){0};
    device = (struct virtio_device){.model = &model, .label = "echo0"};
    virtio_dev_pci_attach(&device, vm, SLOT, &area);
    pci_reset(vm);
    pins = msi_count = kicks = resets = logs = events = 0;
    return 0;
}

static u32 config(u32 offset, u8 size)
{
    pci_config_out(vm, 0xcf8, 4, 0x80000000u | SLOT << 11 | (offset & 0xfc));
    return pci_config_in(vm, (u16)(0xcfc + (offset & 3)), size) &
           (size == 4 ? ~0u : (1u << (8 * size)) - 1);
}

static void set_config(u32 offset, u8 size, u32 value)
{
    pci_config_out(vm, 0xcf8, 4, 0x80000000u | SLOT << 11 | (offset & 0xfc));
    pci_config_out(vm, (u16)(0xcfc + (offset & 3)), size, value);
}

/* Offset of the n-th capability with this id and, if it is a vendor one, this type. */
static u32 capability(u8 id, u8 type, u32 n)
{
    for (u32 at = config(PCI_CAP_POINTER, 1); at; at = config(at + 1, 1)) {
        if (config(at, 1) == id && (id != PCI_CAP_VENDOR || config(at + 3, 1) == type) && !n--)
            return at;
    }
    return 0;
}

static u64 region(u8 type)
{
    u32 at = capability(PCI_CAP_VENDOR, type, type == 2 ? 1 : 0);
    assert_int_not_equal(at, 0);
    return (config(PCI_BAR0 + 4 * config(at + 4, 1), 4) & ~15u) + config(at + 8, 4);
}

static u64 get(u64 at, u8 size)
{
    return pci_mem_read(vm, at, size);
}

static void set(u64 at, u8 size, u64 value)
{
    pci_mem_write(vm, at, size, value);
}

static bool negotiate(u64 features)
{
    u64 common = region(1);
    set(common + 20, 1, 0);
    set(common + 20, 1, 1);
    set(common + 20, 1, 3);
    for (u32 i = 0; i < 2; i++) {
        set(common + 8, 4, i);
        set(common + 12, 4, (u32)(features >> (32 * i)));
    }
    set(common + 20, 1, 11);
    return get(common + 20, 1) & VIRTIO_STATUS_FEATURES_OK;
}

static void open_queue(u16 vector)
{
    u64 common = region(1);
    set(common + 16, 2, 0);
    set(common + 22, 2, 0);
    set(common + 26, 2, vector);
    set(common + 32, 8, 0x1000);
    set(common + 40, 4, 0x2000);
    set(common + 44, 4, 0);
    set(common + 48, 8, 0x3000);
    set(common + 28, 2, 1);
    set(common + 20, 1, 15);
}

static void send(const char *text)
{
    u64 *desc = (u64 *)(ram + 0x1000);
    u16 *avail = (u16 *)(ram + 0x2000);
    memcpy(ram + 0x8000, text, strlen(text));
    desc[0] = 0x8000;
    desc[1] = strlen(text) | 1ull << 32 | 1ull << 48; /* NEXT */
    desc[2] = 0x9000;
    desc[3] = 64 | 2ull << 32; /* WRITE */
    avail[2 + avail[1] % 8] = 0;
    avail[1]++;
}

static void bars_and_capabilities_are_where_they_say(void **state)
{
    (void)state;
    assert_int_equal(config(PCI_VENDOR_ID, 4), 0x1af4u | (0x1040u + 40) << 16);
    assert_int_equal(config(PCI_REVISION, 4), 0x02000001);
    set_config(PCI_BAR0, 4, ~0u);
    assert_int_equal(config(PCI_BAR0, 4), 0xffffffe1); /* 32 ports */
    set_config(PCI_BAR0 + 8, 4, ~0u);
    assert_int_equal(config(PCI_BAR0 + 8, 4), 0); /* no such BAR */
    for (u8 type = 1; type <= 5; type++)
        assert_int_not_equal(capability(PCI_CAP_VENDOR, type, 0), 0);
    assert_int_equal(config(capability(PCI_CAP_MSIX, 0, 0) + 2, 2), 1); /* two vectors */
    set_config(PCI_VENDOR_ID, 4, 0);
    assert_int_equal(config(PCI_VENDOR_ID, 2), 0x1af4);
    assert_int_equal(pci_ecam_read(vm, PCI_ECAM_BASE + (SLOT << 15), 4), config(PCI_VENDOR_ID, 4));
    assert_int_equal((u32)pci_ecam_read(vm, PCI_ECAM_BASE + (6 << 15), 4), ~0u);
    unclaimed = 0;
    (void)get(PCI_MEM_END - 7, 8);
    pci_port_out(vm, PCI_IO_END, 1, 0);
    assert_int_equal(unclaimed, 2);
}

static void a_request_is_served_with_msix(void **state)
{
    u32 msix = capability(PCI_CAP_MSIX, 0, 0);
    u64 table = config(PCI_BAR0 + 4, 4);
    (void)state;
    assert_true(negotiate(VIRTIO_F_VERSION_1 | BIT(3)));
    set_config(PCI_COMMAND, 2, 7);
    set_config(msix + 2, 2, 0x8000);
    set(table + 16, 4, 0xfee01000);
    set(table + 24, 4, 0x51);
    open_queue(1);
    send("hello");
    pci_port_out(vm, (u16)(config(PCI_BAR0, 4) & ~3u), 2, 0);
    assert_int_equal(((u16 *)(ram + 0x3000))[1], 1);
    assert_int_equal((u8)~ram[0x9000], 'h');
    assert_int_equal(msi_count, 0); /* masked: pending */
    assert_int_equal(get(table + 0x800, 8), 2);
    set(table + 28, 4, 0);
    assert_int_equal(msi_count, 1);
    assert_int_equal(msi_address, 0xfee01000);
    assert_int_equal(msi_data, 0x51);
    assert_int_equal(get(table + 0x800, 8), 0);
    send("again");
    set(region(2), 2, 0);
    assert_int_equal(msi_count, 2);
    assert_int_equal(pins, 0);
}

/* No doorbell; the driver is told not to ring, and to ring again afterwards. */
static void polled_queues_are_served_without_doorbells(void **state)
{
    u16 *flags = (u16 *)(ram + 0x3000);
    (void)state;
    assert_true(negotiate(VIRTIO_F_VERSION_1));
    open_queue(0);
    virtio_dev_polls(true);
    virtio_dev_mute(&device);
    assert_int_equal(flags[0], 1);
    assert_false(virtio_dev_poll(&device));
    for (u16 i = 1; i < 4; i++) {
        send("hello");
        assert_true(virtio_dev_poll(&device));
        assert_int_equal(flags[1], i);
        assert_int_equal((u8)~ram[0x9000], 'h');
        assert_false(virtio_dev_poll(&device));
    }
    assert_int_equal(flags[0], 1);
    virtio_dev_polls(false);
    virtio_dev_mute(&device);
    assert_int_equal(flags[0], 0);
    virtio_dev_reset(&device);
    assert_false(virtio_dev_poll(&device));
}

static void without_msix_a_pin_is_raised_until_isr_is_read(void **state)
{
    (void)state;
    assert_true(negotiate(VIRTIO_F_VERSION_1));
    open_queue(0);
    send("hello");
    set(region(2), 2, 0);
    assert_int_equal(pins, 1u << (PCI_PIN_BASE + SLOT % PCI_PINS));
    set_config(PCI_COMMAND, 2, 7 | PCI_COMMAND_NO_INTX);
    assert_int_equal(pins, 0);
    set_config(PCI_COMMAND, 2, 7);
    assert_int_not_equal(pins, 0);
    assert_int_equal(get(region(3), 1), 1);
    assert_int_equal(pins, 0);
    assert_int_equal(get(region(3), 1), 0);
}

static void features_beyond_the_offer_are_refused(void **state)
{
    (void)state;
    assert_false(negotiate(VIRTIO_F_VERSION_1 | BIT(7)));
    assert_false(negotiate(BIT(3))); /* legacy drivers are not served */
    open_queue(0);
    send("hello");
    set(region(2), 2, 0);
    assert_int_equal(kicks, 0);
    assert_true(negotiate(VIRTIO_F_VERSION_1));
}

static void a_broken_ring_needs_a_reset(void **state)
{
    (void)state;
    assert_true(negotiate(VIRTIO_F_VERSION_1));
    open_queue(0);
    send("hello");
    ((u64 *)(ram + 0x1000))[0] = RAM;
    set(region(2), 2, 0);
    assert_true(get(region(1) + 20, 1) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(get(region(3), 1) & VIRTIO_ISR_CONFIG, VIRTIO_ISR_CONFIG);
    assert_int_equal(logs, 1);
    assert_int_equal(events, 1);
    kicks = 0;
    set(region(2), 2, 0);
    assert_int_equal(kicks, 0);
    assert_true(negotiate(VIRTIO_F_VERSION_1)); /* resets */
    memset(ram, 0, sizeof(ram));
    open_queue(0);
    send("hello");
    set(region(2), 2, 0);
    assert_int_equal((u8)~ram[0x9000], 'h');
    send("again");
    ((u64 *)(ram + 0x1000))[0] = RAM;
    set(region(2), 2, 0);
    assert_true(get(region(1) + 20, 1) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(logs, 2);
    assert_int_equal(events, 1); /* a guest cannot fill the host's log */
}

static void queues_outside_memory_are_refused(void **state)
{
    u64 common = region(1);
    (void)state;
    assert_true(negotiate(VIRTIO_F_VERSION_1));
    set(common + 22, 2, 0);
    set(common + 32, 8, RAM);
    set(common + 28, 2, 1);
    assert_int_equal(get(common + 28, 2), 0);
    assert_true(get(common + 20, 1) & VIRTIO_STATUS_NEEDS_RESET);
    set(common + 22, 2, 7); /* no such queue */
    assert_int_equal(get(common + 24, 2), 0);
    set(common + 32, 8, 0x1000);
    set(common + 28, 2, 1);
}

static void the_window_reaches_the_registers(void **state)
{
    u32 at = capability(PCI_CAP_VENDOR, 5, 0), common = capability(PCI_CAP_VENDOR, 1, 0);
    (void)state;
    set_config(at + 4, 1, config(common + 4, 1));
    set_config(at + 8, 4, config(common + 8, 4) + 20);
    set_config(at + 12, 4, 1);
    set_config(at + 16, 1, 1);
    assert_int_equal(config(at + 16, 1), 1);
    assert_int_equal(get(region(1) + 20, 1), 1);
    set_config(at + 8, 4, 0xffffffff);
    (void)config(at + 16, 1);
    set_config(at + 4, 1, 200);
    set_config(at + 16, 1, 1);
}

/* The kernel is told which doorbells are where it looks for them, and only when that changes. */
static void doorbells_follow_the_bar(void **state)
{
    u32 home = config(PCI_BAR0, 4);
    (void)state;
    assert_int_equal(group, SLOT);
    assert_int_equal(named, 1);
    u64 before = calls;
    set_config(PCI_BAR0, 4, home + PCI_IO_SLOT); /* the old group's no more, the new one's */
    assert_int_equal(group, SLOT + 1);
    assert_int_equal(named, 1);
    set_config(PCI_BAR0, 4, 0xf000); /* where no groups are */
    assert_int_equal(named, 0);
    set_config(PCI_BAR0, 4, home);
    assert_int_equal(group, SLOT);
    assert_int_equal(named, 1);
    set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(named, 0);
    set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    set_config(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    assert_int_equal(named, 1);
    assert_int_equal(calls - before, 7);

    assert_true(negotiate(VIRTIO_F_VERSION_1));
    open_queue(0);
    send("hello");
    kicks = 0;
    virtio_dev_pci_doorbell(0, SLOT * DOORBELL_GROUP + 1); /* no such queue */
    virtio_dev_pci_doorbell(0, (SLOT + 1) * DOORBELL_GROUP);
    virtio_dev_pci_doorbell(1, SLOT * DOORBELL_GROUP);
    virtio_dev_pci_doorbell(VM_SLOTS, SLOT * DOORBELL_GROUP);
    assert_int_equal(kicks, 0);
    virtio_dev_pci_doorbell(0, SLOT * DOORBELL_GROUP);
    assert_int_equal(kicks, 1);
    assert_int_equal((u8)~ram[0x9000], 'h');
}

/* Any access to any register leaves a device that a reset brings back. */
static void random_accesses_do_no_harm(void **state)
{
    u64 base = PCI_MEM_BASE + SLOT * PCI_MEM_SLOT;
    (void)state;
    srand(1);
    for (u32 i = 0; i < 300000; i++) {
        u8 size = (u8)(1u << rand() % 4);
        u64 value = (u64)rand() << 33 ^ (u64)rand() << 12 ^ (u64)rand();
        u64 at = base + (u64)(rand() % 2 ? rand() % 64 + 0x4000 : rand() % 0x8000);
        switch (rand() % 6) {
        case 0:
            (void)get(at, size);
            break;
        case 1:
            pci_port_out(vm, (u16)(PCI_IO_BASE + rand() % 1024), 2, (u32)value);
            break;
        case 2:
            set_config((u32)rand() % 256, (u8)(size % 7), (u32)value);
            break;
        case 3:
            ram[rand() % RAM] = (u8)value;
            break;
        default:
            set(at, size, rand() % 2 ? value : value & 0xfff0);
            break;
        }
        if (i % 1000 == 0)
            pci_reset(vm);
    }
    pci_reset(vm);
    memset(ram, 0, sizeof(ram));
    assert_true(negotiate(VIRTIO_F_VERSION_1));
    open_queue(0);
    send("hello");
    set(region(2), 2, 0);
    assert_int_equal((u8)~ram[0x9000], 'h');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bars_and_capabilities_are_where_they_say, set_up),
        cmocka_unit_test_setup(a_request_is_served_with_msix, set_up),
        cmocka_unit_test_setup(without_msix_a_pin_is_raised_until_isr_is_read, set_up),
        cmocka_unit_test_setup(polled_queues_are_served_without_doorbells, set_up),
        cmocka_unit_test_setup(features_beyond_the_offer_are_refused, set_up),
        cmocka_unit_test_setup(a_broken_ring_needs_a_reset, set_up),
        cmocka_unit_test_setup(queues_outside_memory_are_refused, set_up),
        cmocka_unit_test_setup(the_window_reaches_the_registers, set_up),
        cmocka_unit_test_setup(doorbells_follow_the_bar, set_up),
        cmocka_unit_test_setup(random_accesses_do_no_harm, set_up),
    };
    vm = calloc(1, sizeof(*vm));
    vm->state = calloc(1, sizeof(*vm->state));
    inventory_slots[0] = vm;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(vm->state);
    free(vm);
    return failed;
}
