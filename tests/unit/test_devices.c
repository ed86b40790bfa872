/* links: vmm/uart16550.c vmm/pic.c vmm/pit.c vmm/ioapic.c vmm/rtc.c vmm/nvram_text.c vmm/acpi_pm.c vmm/text_ring.c */
/* The chipset models against a platform that keeps what they ask for.  One file: the models are
 * small and all stand on that platform. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/nvram_text.h"
#include "vmm/platform.h"
#include "vmm/vm.h"

static struct vm *vm;
static u64 now, unix_ns;
static u32 lines, edges[16];
static bool lint;
static struct {
    u64 address;
    u32 data;
} msi[64];
static u32 msi_count;
static enum platform_power power;
static char console[256];
static u32 console_len, held;

u64 platform_now(void)
{
    return now;
}
u64 platform_unix_ns(void)
{
    return unix_ns + now;
}
static u32 nvram_changes;

void platform_nvram(struct vm *v)
{
    (void)v;
    nvram_changes++;
}

void platform_timer(struct vm *v, enum vm_timer which, u64 at)
{
    v->state->deadline[which] = at;
}
void platform_irq(struct vm *v, u32 irq, bool level)
{
    (void)v;
    edges[irq] += level && !(lines >> irq & 1);
    lines = level ? lines | 1u << irq : lines & ~(1u << irq);
}
static void set_irq(struct vm *v, u32 irq, bool level)
{
    if (pic_set_line(&v->state->pic, irq, level))
        pic_update(v);
}
void platform_msi(struct vm *v, u32 address, u32 data)
{
    (void)v;
    msi[msi_count].address = address;
    msi[msi_count++].data = data;
}
void platform_lint(struct vm *v, bool level)
{
    (void)v;
    lint = level;
}
void platform_hold(struct vm *v)
{
    (void)v;
    held++;
}
void platform_power(struct vm *v, enum platform_power what, const char *why)
{
    (void)v;
    (void)why;
    power = what;
}
void platform_console_put(struct vm *v, u8 byte)
{
    (void)v;
    if (console_len < sizeof(console))
        console[console_len++] = (char)byte;
}
void platform_log(struct vm *v, const char *fmt, ...)
{
    (void)v;
    (void)fmt;
}

static int set_up(void **unused)
{
    (void)unused;
    vm = calloc(1, sizeof(*vm));
    vm->state = calloc(1, sizeof(*vm->state));
    now = 1000 * NS_PER_SEC;
    unix_ns = 0;
    lines = msi_count = console_len = held = 0;
    memset(edges, 0, sizeof(edges));
    lint = false;
    power = POWER_NONE;
    uart_reset(vm);
    pic_reset(vm);
    pit_reset(vm);
    ioapic_reset(vm);
    rtc_reset(vm);
    acpi_pm_reset(vm);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(vm->state);
    free(vm);
    return 0;
}

/* Time goes on; a due timer is served at its deadline. */
static void pass(u64 ns, enum vm_timer which, void (*fn)(struct vm *))
{
    u64 end = now + ns;
    while (vm->state->deadline[which] <= end) {
        now = vm->state->deadline[which];
        vm->state->deadline[which] = PLATFORM_NEVER;
        fn(vm);
    }
    now = end;
}

/* ---- UART ---- */
static void uart_transmits(void **unused)
{
    (void)unused;
    uart_out(vm, 0x3f8, 1, 'h');
    uart_out(vm, 0x3f8, 1, 'i');
    assert_memory_equal(console, "hi", 2);
    assert_int_equal(uart_in(vm, 0x3fd, 1), 0x60);
    assert_int_equal(edges[4], 0);
    uart_out(vm, 0x3fc, 1, 0x0b); /* OUT2 opens the line */
    uart_out(vm, 0x3f9, 1, 0x02); /* THRE: interrupts at once */
    assert_int_equal(edges[4], 1);
    assert_int_equal(uart_in(vm, 0x3fa, 1), 0x02); /* reading IIR takes it */
    assert_int_equal(lines & 0x10, 0);
    assert_int_equal(uart_in(vm, 0x3fa, 1), 0x01);
    uart_out(vm, 0x3f8, 1, '!');
    assert_int_equal(edges[4], 2);
    uart_out(vm, 0x3f8, 1, '?'); /* each byte sent is an edge */
    assert_int_equal(edges[4], 3);
}

static void uart_receives(void **unused)
{
    static const u8 text[40] = "0123456789abcdefghijklmnopqrstuvwxyz";
    (void)unused;
    uart_out(vm, 0x3fa, 1, 0x81); /* FIFO, trigger at 8 */
    uart_out(vm, 0x3fc, 1, 0x08);
    uart_out(vm, 0x3f9, 1, 0x01);
    assert_int_equal(uart_input(vm, text, 3), 3);
    assert_int_equal(edges[4], 1);
    assert_int_equal(uart_in(vm, 0x3fa, 1), 0xcc); /* below the trigger: timeout */
    assert_int_equal(uart_input(vm, text + 3, 33), 33);
    assert_int_equal(uart_in(vm, 0x3fa, 1), 0xc4);
    for (u32 i = 0; i < 36; i++) {
        assert_int_equal(uart_in(vm, 0x3fd, 1) & 1, 1);
        assert_int_equal(uart_in(vm, 0x3f8, 1), text[i]);
    }
    assert_int_equal(uart_in(vm, 0x3fd, 1) & 1, 0);
    assert_int_equal(lines & 0x10, 0);
    /* The queue takes what fits and no more. */
    u32 taken = 0, n;
    while ((n = uart_input(vm, text, 36)))
        taken += n;
    assert_in_range(taken, UART_QUEUE, UART_QUEUE + UART_FIFO);
}

static void uart_loops_back(void **unused)
{
    (void)unused;
    uart_out(vm, 0x3fc, 1, 0x1a); /* loop, RTS, OUT2: what Linux probes with */
    assert_int_equal(uart_in(vm, 0x3fe, 1) & 0xf0, 0x90);
    uart_out(vm, 0x3f8, 1, 0x55);
    assert_int_equal(console_len, 0);
    assert_int_equal(uart_in(vm, 0x3f8, 1), 0x55);
    uart_out(vm, 0x3fb, 1, 0x80);
    uart_out(vm, 0x3f8, 1, 1);
    assert_int_equal(uart_in(vm, 0x3f8, 1), 1);
    assert_int_equal(console_len, 0);
    uart_out(vm, 0x3fb, 1, 3);
    uart_out(vm, 0x3ff, 1, 0xa5);
    assert_int_equal(uart_in(vm, 0x3ff, 1), 0xa5);
}

static void uart_flood_is_throttled(void **unused)
{
    (void)unused;
    for (u32 i = 0; i < UART_BURST - 1; i++)
        uart_out(vm, 0x3f8, 1, 'x');
    assert_int_equal(held, 0);
    uart_out(vm, 0x3f8, 1, 'x');
    assert_int_equal(held, 1);
    u64 until = uart_throttle(vm, now);
    assert_true(until > now && until < now + NS_PER_SEC);
    now = until;
    assert_int_equal(uart_throttle(vm, now), 0);
    assert_true(vm->state->uart.tokens >= UART_BURST / 16);
}

/* ---- PIC ---- */
static void pic_start(u8 master, u8 slave)
{
    pic_out(vm, 0x20, 1, 0x11);
    pic_out(vm, 0x21, 1, master);
    pic_out(vm, 0x21, 1, 4);
    pic_out(vm, 0x21, 1, 1);
    pic_out(vm, 0xa0, 1, 0x11);
    pic_out(vm, 0xa1, 1, slave);
    pic_out(vm, 0xa1, 1, 2);
    pic_out(vm, 0xa1, 1, 1);
    pic_out(vm, 0x21, 1, 0);
    pic_out(vm, 0xa1, 1, 0);
}

static void pic_priorities(void **unused)
{
    (void)unused;
    set_irq(vm, 0, true);
    assert_false(lint); /* masked after reset */
    pic_start(0x20, 0x28);
    set_irq(vm, 0, false);
    set_irq(vm, 0, true);
    set_irq(vm, 12, true);
    assert_true(lint);
    assert_int_equal(pic_acknowledge(vm), 0x20);
    assert_false(lint); /* IRQ 12 must wait for IRQ 0's EOI */
    pic_out(vm, 0x20, 1, 0x20);
    assert_true(lint);
    assert_int_equal(pic_acknowledge(vm), 0x2c);
    assert_false(lint);
    pic_out(vm, 0x20, 1, 0x0b);
    assert_int_equal(pic_in(vm, 0x20, 1), 4);
    pic_out(vm, 0xa0, 1, 0x20);
    pic_out(vm, 0x20, 1, 0x20);
    assert_int_equal(pic_in(vm, 0x20, 1), 0);
    /* Nothing pending: spurious. */
    assert_int_equal(pic_acknowledge(vm), 0x27);
}

static void pic_masks_and_levels(void **unused)
{
    (void)unused;
    pic_start(0x20, 0x28);
    pic_out(vm, 0x21, 1, 0x10);
    set_irq(vm, 4, true);
    assert_false(lint);
    pic_out(vm, 0x21, 1, 0x00);
    assert_true(lint);
    assert_int_equal(pic_acknowledge(vm), 0x24);
    pic_out(vm, 0x20, 1, 0x60 | 4); /* specific EOI */
    assert_false(lint);             /* edge: high all the time is one */
    pic_elcr_out(vm, 0x4d0, 1, 0x20);
    set_irq(vm, 5, true);
    assert_int_equal(pic_acknowledge(vm), 0x25);
    pic_out(vm, 0x20, 1, 0x20);
    assert_true(lint); /* level: again */
    set_irq(vm, 5, false);
    assert_false(lint);
}

/* ---- I/O APIC ---- */
static void ioapic_set(u32 pin, u64 entry)
{
    ioapic_write(vm, IOAPIC_BASE, 4, 0x10 + 2 * pin + 1);
    ioapic_write(vm, IOAPIC_BASE + 0x10, 4, entry >> 32);
    ioapic_write(vm, IOAPIC_BASE, 4, 0x10 + 2 * pin);
    ioapic_write(vm, IOAPIC_BASE + 0x10, 4, (u32)entry);
}

static void ioapic_edges(void **unused)
{
    (void)unused;
    ioapic_write(vm, IOAPIC_BASE, 4, 1);
    assert_int_equal(ioapic_read(vm, IOAPIC_BASE + 0x10, 4), 0x170011);
    ioapic_set_irq(vm, 4, true); /* masked: lost */
    ioapic_set(4, 0x0300000000000831ull | 1ull << 56);
    assert_int_equal(msi_count, 0);
    ioapic_set_irq(vm, 4, false);
    ioapic_set_irq(vm, 4, true);
    assert_int_equal(msi_count, 1);
    assert_int_equal(msi[0].address, 0xfee03004); /* destination 3, logical */
    assert_int_equal(msi[0].data, 0x4031);
    ioapic_set_irq(vm, 4, true);
    assert_int_equal(msi_count, 1);
}

static void ioapic_levels(void **unused)
{
    (void)unused;
    ioapic_set(9, 0x8041);
    ioapic_set_irq(vm, 9, true);
    assert_int_equal(msi_count, 1);
    assert_int_equal(msi[0].data, 0xc041);
    assert_int_equal(ioapic_read(vm, IOAPIC_BASE + 0x10, 4) & 0x4000, 0x4000);
    ioapic_set_irq(vm, 9, false);
    ioapic_set_irq(vm, 9, true);
    assert_int_equal(msi_count, 1); /* remote IRR holds it back */
    ioapic_eoi(vm, 0x41);
    assert_int_equal(msi_count, 2); /* still asserted: again */
    ioapic_set_irq(vm, 9, false);
    ioapic_eoi(vm, 0x41);
    assert_int_equal(msi_count, 2);
    assert_int_equal(ioapic_read(vm, IOAPIC_BASE + 0x10, 4) & 0x4000, 0);
    /* Masked while it comes: sent on unmasking. */
    ioapic_set(9, 0x18041);
    ioapic_set_irq(vm, 9, true);
    assert_int_equal(msi_count, 2);
    ioapic_set(9, 0x8041);
    assert_int_equal(msi_count, 3);
}

/* ---- PIT ---- */
static void pit_is_periodic(void **unused)
{
    (void)unused;
    pit_out(vm, 0x43, 1, 0x34); /* channel 0, mode 2 */
    pit_out(vm, 0x40, 1, 11932 & 0xff);
    pit_out(vm, 0x40, 1, 11932 >> 8); /* 100 Hz */
    edges[0] = 0;
    pass(NS_PER_SEC + 1000000, VM_TIMER_PIT, pit_timer);
    assert_int_equal(edges[0], 100);
    /* Late by three periods: one interrupt, then on time. */
    now += 35000000;
    vm->state->deadline[VM_TIMER_PIT] = PLATFORM_NEVER;
    pit_timer(vm);
    assert_int_equal(edges[0], 101);
    assert_true(vm->state->deadline[VM_TIMER_PIT] > now);
    assert_true(vm->state->deadline[VM_TIMER_PIT] <= now + 10000000);
}

static void pit_one_shot(void **unused)
{
    (void)unused;
    pit_out(vm, 0x43, 1, 0x30); /* mode 0 */
    edges[0] = 0;
    pit_out(vm, 0x40, 1, 0xa9);
    pit_out(vm, 0x40, 1, 0x04); /* 1193 clocks: 1 ms */
    pass(900000, VM_TIMER_PIT, pit_timer);
    assert_int_equal(edges[0], 0);
    pass(200000, VM_TIMER_PIT, pit_timer);
    assert_int_equal(edges[0], 1);
    pass(NS_PER_SEC, VM_TIMER_PIT, pit_timer);
    assert_int_equal(edges[0], 1);
}

/* What Linux measures the TSC with: channel 2 in mode 0, read while it runs. */
static void pit_channel_2_counts_down(void **unused)
{
    (void)unused;
    pit_speaker_out(vm, 0x61, 1, 1);
    pit_out(vm, 0x43, 1, 0xb0);
    pit_out(vm, 0x42, 1, 0xff);
    pit_out(vm, 0x42, 1, 0xff);
    u32 low = pit_in(vm, 0x42, 1), high = pit_in(vm, 0x42, 1);
    assert_int_equal(high << 8 | low, 0xffff);
    now += 10 * 1000000; /* 11931 clocks */
    low = pit_in(vm, 0x42, 1);
    high = pit_in(vm, 0x42, 1);
    assert_int_equal(high << 8 | low, 0xffff - 11931);
    assert_int_equal(pit_speaker_in(vm, 0x61, 1) & 0x21, 1);
    now += 50 * 1000000;
    assert_int_equal(pit_speaker_in(vm, 0x61, 1) & 0x21, 0x21);
    /* Latch and read-back. */
    pit_out(vm, 0x43, 1, 0x80);
    now += 1000000;
    u32 latched = pit_in(vm, 0x42, 1);
    latched |= pit_in(vm, 0x42, 1) << 8;
    assert_int_equal(latched, (0xffff - 71590) & 0xffff);
    pit_out(vm, 0x43, 1, 0xe8); /* status of channel 2 */
    assert_int_equal(pit_in(vm, 0x42, 1), 0xb0);
}

/* ---- RTC ---- */
static u32 cmos(u8 reg)
{
    rtc_out(vm, 0x70, 1, reg);
    return rtc_in(vm, 0x71, 1);
}

static void cmos_set(u8 reg, u8 v)
{
    rtc_out(vm, 0x70, 1, reg);
    rtc_out(vm, 0x71, 1, v);
}

static void rtc_tells_the_time(void **unused)
{
    (void)unused;
    now = 0;
    unix_ns = 1709251199ull * NS_PER_SEC; /* 2024-02-29 23:59:59 UTC, a Thursday */
    assert_int_equal(cmos(0), 0x59);
    assert_int_equal(cmos(2), 0x59);
    assert_int_equal(cmos(4), 0x23);
    assert_int_equal(cmos(6), 5);
    assert_int_equal(cmos(7), 0x29);
    assert_int_equal(cmos(8), 0x02);
    assert_int_equal(cmos(9), 0x24);
    assert_int_equal(cmos(0x32), 0x20);
    assert_int_equal(cmos(0xd), 0x80);
    assert_int_equal(cmos(0xa) & 0x80, 0);
    now = NS_PER_SEC - 1000;
    assert_int_equal(cmos(0xa) & 0x80, 0x80);
    now = NS_PER_SEC;
    assert_int_equal(cmos(7), 0x01);
    assert_int_equal(cmos(8), 0x03);
    cmos_set(0xb, 0x04); /* binary, 12 hours */
    now += 13 * 3600 * NS_PER_SEC;
    assert_int_equal(cmos(4), 0x81);
}

static void rtc_can_be_set(void **unused)
{
    (void)unused;
    now = 0;
    cmos_set(0xb, 0x82);
    cmos_set(9, 0x31);
    cmos_set(8, 0x12);
    cmos_set(7, 0x24);
    cmos_set(4, 0x18);
    cmos_set(2, 0x30);
    cmos_set(0, 0x15);
    cmos_set(0x32, 0x20);
    now += 5 * NS_PER_SEC;
    assert_int_equal(cmos(0), 0x15); /* held */
    cmos_set(0xb, 0x02);
    now += 5 * NS_PER_SEC;
    assert_int_equal(cmos(0), 0x20);
    assert_int_equal(cmos(4), 0x18);
    assert_int_equal(cmos(7), 0x24);
    assert_int_equal(cmos(8), 0x12);
    assert_int_equal(cmos(9), 0x31);
}

/* What a battery keeps: memory and time, over resets and in NAME.nvram. */
static void rtc_keeps_its_memory(void **unused)
{
    char text[NVRAM_TEXT], half[NVRAM_TEXT];
    struct rtc back = {.offset = 7}, *r = &vm->state->rtc;
    (void)unused;
    now = 0;
    unix_ns = 1709251199ull * NS_PER_SEC;
    assert_false(r->changed);
    nvram_changes = 0;
    cmos_set(0x40, 0xa5);
    cmos_set(0x40, 0xa5); /* the same: no change */
    cmos_set(1, 0x12);    /* the alarm */
    assert_int_equal(nvram_changes, 1);
    cmos_set(4, 0x11); /* 12 hours back */
    assert_true(r->changed);
    assert_int_equal(nvram_changes, 2);
    rtc_reset(vm);
    assert_int_equal(cmos(0x40), 0xa5);
    assert_int_equal(cmos(1), 0);
    assert_int_equal(cmos(4), 0x11);
    nvram_text_write(r, text);
    const char *rest;
    assert_true(nvram_text_read(text, &back, &rest));
    assert_string_equal(rest, "");
    assert_int_equal(back.offset, -12ll * 3600 * (i64)NS_PER_SEC);
    assert_int_equal(back.ram[0x40], 0xa5);
    for (u32 len = 0; len < strlen(text); len++) {
        snprintf(half, sizeof(half), "%.*s", (int)len, text);
        assert_false(nvram_text_read(half, &back, &rest));
        memcpy(half, text, sizeof(half));
        half[len] ^= 0x80;
        (void)!nvram_text_read(half, &back, &rest);
    }
    assert_int_equal(back.ram[0x40], 0xa5);
}

static void rtc_interrupts(void **unused)
{
    (void)unused;
    cmos_set(0xa, 0x26); /* 1024 Hz */
    cmos_set(0xb, 0x42);
    u32 count = 0;
    for (u32 i = 0; i < 2000; i++) {
        pass(500000, VM_TIMER_RTC, rtc_timer);
        count += (cmos(0xc) & 0xc0) == 0xc0;
    }
    assert_in_range(count, 1020, 1026);
    cmos_set(0xb, 0x02);
    assert_int_equal(vm->state->deadline[VM_TIMER_RTC], PLATFORM_NEVER);
    edges[8] = 0;
    cmos_set(1, 0x05);
    cmos_set(3, 0xff);
    cmos_set(5, 0xff);
    cmos_set(0xb, 0x22); /* alarm at second 5 of every minute */
    for (u32 i = 0; i < 120; i++) {
        pass(NS_PER_SEC, VM_TIMER_RTC, rtc_timer);
        (void)cmos(0xc);
    }
    assert_int_equal(edges[8], 2);
}

static void calendar(void **unused)
{
    (void)unused;
    for (i64 day = -200000; day < 200000; day += 13) {
        i64 year;
        u32 month, mday;
        rtc_date_from_days(day, &year, &month, &mday);
        assert_int_equal(rtc_days_from_date(year, month, mday), day);
    }
    assert_int_equal(rtc_days_from_date(2000, 3, 1), 11017);
}

/* ---- ACPI ---- */
static void acpi_power(void **unused)
{
    (void)unused;
    assert_int_equal(acpi_pm_in(vm, ACPI_PM1_CONTROL, 2) & 1, 1);
    acpi_pm_out(vm, ACPI_PM1_EVENT + 2, 2, 0x100);
    acpi_pm_power_button(vm);
    assert_true(lines >> 9 & 1);
    assert_int_equal(acpi_pm_in(vm, ACPI_PM1_EVENT, 2) & 0x100, 0x100);
    acpi_pm_out(vm, ACPI_PM1_EVENT, 2, 0x100);
    assert_false(lines >> 9 & 1);
    acpi_pm_out(vm, ACPI_PM1_CONTROL, 2, 1 << 10 | 1 << 13);
    assert_int_equal(power, POWER_NONE); /* S1 is not there */
    acpi_pm_out(vm, ACPI_PM1_CONTROL, 2, ACPI_S5_TYPE << 10);
    assert_int_equal(power, POWER_NONE);
    acpi_pm_out(vm, ACPI_PM1_CONTROL, 2, ACPI_S5_TYPE << 10 | 1 << 13);
    assert_int_equal(power, POWER_OFF);
    u32 before = acpi_pm_in(vm, ACPI_PM_TIMER, 4);
    now += 1000000;
    assert_in_range((acpi_pm_in(vm, ACPI_PM_TIMER, 4) - before) & 0xffffff, 3579, 3580);
}

static void every_way_to_reset(void **unused)
{
    (void)unused;
    acpi_pm_reset_out(vm, 0xcf9, 1, 0x02);
    assert_int_equal(power, POWER_NONE);
    acpi_pm_reset_out(vm, 0xcf9, 1, 0x06);
    assert_int_equal(power, POWER_RESET);
    power = POWER_NONE;
    acpi_pm_keyboard_out(vm, 0x64, 1, 0xd1);
    assert_int_equal(power, POWER_NONE);
    acpi_pm_keyboard_out(vm, 0x64, 1, 0xfe);
    assert_int_equal(power, POWER_RESET);
    power = POWER_NONE;
    acpi_pm_port92_out(vm, 0x92, 1, 2);
    assert_int_equal(power, POWER_NONE);
    acpi_pm_port92_out(vm, 0x92, 1, 3);
    assert_int_equal(power, POWER_RESET);
}

static void ring_forgets_the_oldest(void **unused)
{
    struct {
        struct text_ring r;
        u8 space[16];
    } s;
    char buf[32];
    u64 pos = 0;
    (void)unused;
    text_ring_init(&s.r, 12); /* any size will do */
    assert_int_equal(text_ring_read(&s.r, &pos, buf, 8), 0);
    text_ring_put(&s.r, "abcdefghijklmnopqrst", 20);
    assert_int_equal(text_ring_read(&s.r, &pos, buf, 8), 8);
    assert_memory_equal(buf, "ijklmnop", 8);
    assert_int_equal(text_ring_read(&s.r, &pos, buf, 32), 4);
    assert_memory_equal(buf, "qrst", 4);
    assert_int_equal(text_ring_read(&s.r, &pos, buf, 32), 0);
    pos = 1000;
    assert_int_equal(text_ring_read(&s.r, &pos, buf, 32), 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(uart_transmits),
        CASE(uart_receives),
        CASE(uart_loops_back),
        CASE(uart_flood_is_throttled),
        CASE(pic_priorities),
        CASE(pic_masks_and_levels),
        CASE(ioapic_edges),
        CASE(ioapic_levels),
        CASE(pit_is_periodic),
        CASE(pit_one_shot),
        CASE(pit_channel_2_counts_down),
        CASE(rtc_tells_the_time),
        CASE(rtc_can_be_set),
        CASE(rtc_keeps_its_memory),
        CASE(rtc_interrupts),
        CASE(calendar),
        CASE(acpi_power),
        CASE(every_way_to_reset),
        CASE(ring_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
