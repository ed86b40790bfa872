/* What device models ask of their machine, over the event loop and the system calls; called by
 * them on the loop's thread. */
#include "vmm/platform.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "vmm/exits.h"
#include "vmm/virtio_dev.h"
#include "vmm/vm.h"
#include "vmm/vm_nvram.h"

u64 platform_now(void)
{
    return clock_ns();
}

u64 platform_unix_ns(void)
{
    u64 now = clock_unix_ns();

    return now ? now : clock_ns();
}

static void (*const owners[VM_TIMER_COUNT])(struct vm *vm) = {
    [VM_TIMER_PIT] = pit_timer,
    [VM_TIMER_RTC] = rtc_timer,
    [VM_TIMER_HOLD] = exits_release,
};

static void timer_due(void *owner)
{
    struct vm_timer_slot *t = owner;
    if (!t->vm->state)
        return;
    t->vm->state->deadline[t->which] = PLATFORM_NEVER;
    owners[t->which](t->vm);
}

void platform_timer(struct vm *vm, enum vm_timer which, u64 at)
{
    struct vm_timer_slot *t = &vm->timers[which];
    vm->state->deadline[which] = at;
    if (at == PLATFORM_NEVER) {
        loop_timer_cancel(&t->timer);
        return;
    }
    t->vm = vm;
    t->which = which;
    t->timer.fn = timer_due;
    t->timer.owner = t;
    loop_timer_set(&t->timer, sys_host_info()->boot_tsc + clock_ticks(at));
}

static void device_due(void *owner)
{
    virtio_dev_timer(owner);
}

void platform_device_timer(struct virtio_device *d, u64 at)
{
    d->timer.fn = device_due;
    d->timer.owner = d;
    loop_timer_set(&d->timer, sys_host_info()->boot_tsc + clock_ticks(at));
}

static __attribute__((noinline)) void both(struct vm *vm, u32 pin, bool level)
{
    pic_update(vm);
    ioapic_set_irq(vm, pin, level);
}

void platform_irq(struct vm *vm, u32 irq, bool level)
{
    u32 pin = irq == 0 ? 2 : irq; /* as the MADT's overrides say */
    if (pic_set_line(&vm->state->pic, irq, level))
        both(vm, pin, level);
    else if (level || !ioapic_end_edge(&vm->state->ioapic, pin))
        ioapic_set_irq(vm, pin, level);
}

void platform_msi(struct vm *vm, u32 address, u32 data)
{
    struct vcpu_page *p = vm->answer;
    if (p->msi_count < REPLY_MSIS) {
        p->msi[p->msi_count].address = address;
        p->msi[p->msi_count++].data = data;
        return;
    }
    /* A message to a CPU that does not exist is lost, as on the bus. */
    (void)sys_vm_msi(vm->slot, address, data);
}

void platform_lint(struct vm *vm, bool level)
{
    (void)sys_vcpu_lint(vm->slot, 0, level);
}

void platform_nvram(struct vm *vm)
{
    vm_nvram_changed(vm);
}

void platform_hold(struct vm *vm)
{
    vm->hold = true;
}

void platform_power(struct vm *vm, enum platform_power what, const char *why)
{
    vm->power = what;
    vm->power_why = why;
}

/* A console that shows less than this much behind is in step. */
#define CONSOLE_LAG (VM_SCROLLBACK_BYTES / 2)

static bool console_lags(const struct vm *vm)
{
    return vm->console_news && vm->state->scrollback.written - vm->console_pos > CONSOLE_LAG;
}

void platform_console_put(struct vm *vm, u8 byte)
{
    text_ring_putc(&vm->state->scrollback, byte);
    if (!vm->console_news)
        return;
    vm->console_news(vm);
    /* Someone is reading: the guest waits for him, as for a slow serial line. */
    if (console_lags(vm))
        platform_hold(vm);
}

u32 platform_console_room(const struct vm *vm)
{
    u64 behind = vm->state->scrollback.written - vm->console_pos;
    if (!vm->console_news)
        return CONSOLE_LAG;
    return behind < CONSOLE_LAG ? (u32)(CONSOLE_LAG - behind) : 0;
}

void platform_console_write(struct vm *vm, const u8 *bytes, u32 len)
{
    text_ring_put(&vm->state->scrollback, (const char *)bytes, len);
    if (vm->console_news)
        vm->console_news(vm);
}

u64 platform_held_until(struct vm *vm)
{
    u64 now = platform_now();
    return console_lags(vm) ? now + 5 * NS_PER_SEC / 1000 : uart_throttle(vm, now);
}

void platform_log(struct vm *vm, const char *fmt, ...)
{
    char line[320];
    u64 ms = clock_ns() / 1000000;
    int n = snprintf(line, sizeof(line), "[%6llu.%03llu] ", (unsigned long long)(ms / 1000),
                     (unsigned long long)(ms % 1000));
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    if (m < 0)
        return;
    u32 len = MIN((u32)(n + m), (u32)sizeof(line) - 2);
    line[len++] = '\n';
    if (vm->state)
        text_ring_put(&vm->state->log, line, len);
}
