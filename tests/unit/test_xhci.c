/* links: drivers/xhci.c drivers/usb_device.c drivers/usb_hub.c drivers/usb_storage.c drivers/usb.c drivers/scsi.c drivers/scsi_media.c drivers/block.c control/rt/dma.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c tests/unit/pci_lab.c */
/* An xHCI controller's registers, command ring and event ring, whose failures the driver repairs by
 * a reset, until they are too many.  At its port is a device for which it has no slot. */
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
#include "drivers/driver.h"
#include "drivers/pci.h"
#include "drivers/xhci.h"
#include "tests/unit/pci_lab.h"

enum { OPERATIONAL = 0x40, PORTSC = 0x440, DOORBELLS = 0x600, RUNTIME = 0x700, LENGTH = 0x800 };
enum { USBCMD = 0x40, USBSTS = 0x44, PAGES = 0x48, CRCR = 0x58, ERSTBA = RUNTIME + 0x30 };
enum { RUN = 1, RESET = 2, HALTED = 1, HOST_ERROR = 4, NO_SLOT = 9 };
enum { CONNECTED = BIT(0), ENABLED = BIT(1), PORT_RESET = BIT(4), POWER = BIT(9), HIGH = 3 << 10 };
enum { CONNECT_CHANGE = BIT(17), RESET_CHANGE = BIT(21) };
#define CHANGES BITS(23, 17)

static struct {
    volatile u8 window[LENGTH]; /* only its addresses count */
    u32 registers[LENGTH / 4];
    u32 command_at, command_cycle, event_at, event_cycle;
    bool fatal, pending;
    bool mute;  /* commands are not answered */
    bool stuck; /* a reset does not end */
    u32 resets, commands, writes;
} fake;

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
static void *memory_at(u32 reg, u64 mask)
{
    return dma_pointer((fake.registers[reg / 4] | (u64)fake.registers[reg / 4 + 1] << 32) & ~mask);
}

static void post(u64 parameter, u32 code, u32 type)
{
    const u64 *table = memory_at(ERSTBA, 63);
    struct xhci_trb *e = (struct xhci_trb *)dma_pointer(table[0]) + fake.event_at;

    assert_int_equal(table[1], XHCI_RING);
    *e = (struct xhci_trb){parameter, code << 24, TRB_TYPE(type) | fake.event_cycle};
    if (++fake.event_at == XHCI_RING) {
        fake.event_at = 0;
        fake.event_cycle ^= 1;
    }
    fake.pending = true;
}

static void run_commands(void)
{
    struct xhci_trb *ring = memory_at(CRCR, 63), *t = ring + fake.command_at;

    for (; (t->control & TRB_CYCLE) == fake.command_cycle; t = ring + fake.command_at) {
        if ((t->control >> 10 & 63) == TRB_LINK) {
            fake.command_at = 0;
            fake.command_cycle ^= 1;
            continue;
        }
        assert_int_equal(t->control >> 10 & 63, TRB_ENABLE_SLOT);
        fake.command_at++;
        fake.commands++;
        post(dma_address(t), NO_SLOT, TRB_COMMAND_EVENT);
    }
}

static void reset_registers(void)
{
    memset(fake.registers, 0, sizeof(fake.registers));
    fake.registers[0] = OPERATIONAL;
    fake.registers[1] = 1u << 24 | 8; /* a port, eight slots */
    fake.registers[4] = 1;            /* addresses of 64 bits, no further capabilities */
    fake.registers[5] = DOORBELLS;
    fake.registers[6] = RUNTIME;
    fake.registers[PAGES / 4] = 1;
    fake.registers[PORTSC / 4] = CONNECTED | CONNECT_CHANGE | POWER | HIGH;
    fake.event_at = fake.command_at = 0;
    fake.event_cycle = fake.command_cycle = 1;
    fake.fatal = fake.pending = false;
}

u8 mmio_read8(const volatile void *at)
{
    return (u8)mmio_read32(at);
}

u32 mmio_read32(const volatile void *at)
{
    u32 offset = (u32)((const volatile u8 *)at - fake.window);

    assert_true(offset < LENGTH);
    if (offset == USBSTS)
        return (fake.registers[USBCMD / 4] & RUN ? 0 : HALTED) | (fake.fatal ? HOST_ERROR : 0);
    return fake.registers[offset / 4];
}

static void write_port(u32 value)
{
    u32 *port = &fake.registers[PORTSC / 4];

    *port &= ~(u32)(value & CHANGES);
    if (value & PORT_RESET)
        *port |= ENABLED | RESET_CHANGE;
}

void mmio_write32(volatile void *at, u32 value)
{
    u32 offset = (u32)((volatile u8 *)at - fake.window);

    assert_true(offset >= OPERATIONAL && offset < LENGTH);
    fake.writes++;
    if (offset == USBCMD && (value & RESET)) {
        assert_true(mmio_read32(fake.window + USBSTS) & HALTED);
        fake.resets++;
        reset_registers();
        fake.registers[USBCMD / 4] = fake.stuck ? RESET : 0;
    } else if (offset == PORTSC) {
        write_port(value);
    } else if (offset == DOORBELLS) {
        assert_true(fake.registers[USBCMD / 4] & RUN);
        if (!fake.mute)
            run_commands();
    } else if (offset != USBSTS) {
        fake.registers[offset / 4] = value;
    }
}

/* ---- the test's side --------------------------------------------------------------------------
 */
static void step(void)
{
    if (fake.pending) {
        fake.pending = false;
        pci_lab_interrupt();
    }
    loop_step();
}

static const struct xhci *controller(void)
{
    return pci->state;
}

static void pull_out(void)
{
    pci->gone = true;
    __start_drivers[0]->gone(pci);
    while (!controller()->given_up)
        step();
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
    static u32 count;
    bool done = false;

    (void)state;
    if (pci && !controller()->given_up)
        pull_out();
    pci = &functions[count++];
    *pci = (struct pci_device){.name = "xhci0"};
    memset(&fake, 0, sizeof(fake));
    pci_lab_window = fake.window;
    pci_lab_len = LENGTH;
    reset_registers();
    assert_non_null(fiber_spawn("probe", probe, &done));
    while (!done)
        step();
    assert_int_equal(fake.resets, 1);
    assert_int_equal(fake.commands, 1); /* a slot for what is attached */
    return 0;
}

static void break_it(void)
{
    fake.fatal = true;
    pci_lab_interrupt();
}

static void is_reset(u32 resets, u32 commands)
{
    while (fake.commands < commands)
        step();
    assert_int_equal(fake.resets, resets);
    assert_int_equal(fake.commands, commands);
    assert_false(controller()->given_up);
    assert_true(fake.registers[USBCMD / 4] & RUN);
}

static void a_failure_ends_in_a_reset(void **state)
{
    (void)state;
    break_it();
    assert_true(controller()->dead);
    is_reset(2, 2);
    assert_false(controller()->dead);
}

static void one_that_is_not_halted_by_us_has_failed(void **state)
{
    (void)state;
    fake.registers[USBCMD / 4] = 0;
    pci_lab_interrupt();
    is_reset(2, 2);
}

static void the_fourth_in_a_minute_is_the_last(void **state)
{
    (void)state;
    for (u32 i = 2; i <= 4; i++) {
        break_it();
        is_reset(i, i);
    }
    break_it();
    while (!controller()->given_up)
        step();
    assert_int_equal(fake.resets, 4);
    u32 writes = fake.writes;
    for (u32 i = 0; i < 4; i++) { /* whatever comes from it is nobody's business any more */
        fake.registers[PORTSC / 4] |= CONNECT_CHANGE;
        pci_lab_interrupt();
        for (u64 end = clock_after(150 * CLOCK_MS); clock_tsc() < end;)
            step();
    }
    assert_int_equal(fake.writes, writes);
    assert_true(controller()->dead);
}

static void a_command_without_an_answer_ends_in_a_reset(void **state)
{
    (void)state;
    fake.mute = true;
    fake.registers[PORTSC / 4] |= CONNECT_CHANGE; /* another device */
    post(1u << 24, 1, TRB_PORT_EVENT);
    while (!controller()->dead)
        step();
    fake.mute = false;
    is_reset(2, 2);
}

static void one_whose_reset_does_not_end_is_given_up(void **state)
{
    (void)state;
    fake.stuck = true;
    break_it();
    while (!controller()->given_up)
        step();
    assert_int_equal(fake.resets, 2);
    assert_int_equal(fake.commands, 1);
}

static void one_that_is_pulled_out_is_asked_nothing(void **state)
{
    (void)state;
    u32 writes = fake.writes;
    pull_out();
    assert_int_equal(fake.resets, 1);
    assert_int_equal(fake.writes, writes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_failure_ends_in_a_reset, start),
        cmocka_unit_test_setup(one_that_is_not_halted_by_us_has_failed, start),
        cmocka_unit_test_setup(the_fourth_in_a_minute_is_the_last, start),
        cmocka_unit_test_setup(a_command_without_an_answer_ends_in_a_reset, start),
        cmocka_unit_test_setup(one_whose_reset_does_not_end_is_given_up, start),
        cmocka_unit_test_setup(one_that_is_pulled_out_is_asked_nothing, start),
    };

    tick.fn = on_tick;
    on_tick(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
