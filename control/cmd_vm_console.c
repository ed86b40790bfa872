/* Connects the host's console with a VM's; runs in the shell's fiber and one of its own. */
#include "control/cmd_vm_console.h"

#include <stdio.h>

#include "control/console.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "vmm/uart16550.h"
#include "vmm/virtio_dev_console.h"
#include "vmm/vm_devices.h"

#define SHOWN_BEFORE 4096 /* bytes of scroll-back shown at first */

/* One at a time, like the console itself. */
static struct {
    struct vm *vm;
    struct event news, pumped;
    bool left, pump_ended;
} session;

static void on_news(struct vm *vm)
{
    (void)vm;
    if (!session.news.signalled)
        event_signal(&session.news);
}

static void on_input(void *owner, const u8 *bytes, u32 len)
{
    struct vm *vm = owner;
    struct virtio_device *port;
    if (!vm->state)
        return;
    /* A full queue drops what is typed, as a real line does. */
    port = vm->config.console == VM_CONSOLE_VIRTIO ? vm_devices_find(vm, "console") : NULL;
    if (port)
        (void)virtio_dev_console_input(port, bytes, len);
    else
        (void)uart_input(vm, bytes, len);
}

/* Shows what the scroll-back has beyond console_pos, at the speed of the terminal. */
static void pump(void *arg)
{
    struct vm *vm = arg;
    char buf[256];
    while (!session.left) {
        bool running = vm->state != NULL;
        u32 n = text_ring_read(vm_scrollback(vm), &vm->console_pos, buf, sizeof(buf));
        if (n)
            console_write(buf, n);
        else if (!running)
            break;
        else
            fiber_wait(&session.news, LOOP_NEVER);
    }
    if (!session.left) {
        int n = snprintf(buf, sizeof(buf), "\r\n[%s has stopped%s%s]\r\n", vm->config.name,
                         vm->stop_reason[0] ? ": " : "", vm->stop_reason);
        console_write(buf, (u32)n);
    }
    session.pump_ended = true;
    event_signal(&session.pumped);
    console_leave();
}

static u64 start_of_screen(const struct text_ring *r)
{
    u64 oldest = text_ring_oldest(r);
    return r->written - oldest > SHOWN_BEFORE ? r->written - SHOWN_BEFORE : oldest;
}

enum hv_status cmd_vm_console(struct vm *vm, struct out *out)
{
    struct console_raw raw = {.input = on_input, .owner = vm};
    char what[64];
    if (!vm->state)
        return out_error(out, HV_EBUSY, "E_STATE", "vm start", "VM %s is %s", vm->config.name,
                         vm_phase_name(vm));
    if (vm->config.console == VM_CONSOLE_NONE)
        return out_error(out, HV_ENOENT, "E_NOENT", "vm set console=com1", "VM %s has no console",
                         vm->config.name);
    if (console_is_raw())
        return out_error(out, HV_EBUSY, "E_BUSY", "Ctrl-] . there", "the console is in use");
    session.vm = vm;
    session.left = session.pump_ended = false;
    event_clear(&session.news);
    event_clear(&session.pumped);
    vm->console_pos = start_of_screen(vm_scrollback(vm));
    if (!fiber_spawn("vm console", pump, vm))
        return out_error(out, HV_ENOMEM, "E_NOMEM", "vm delete", "no memory for another fiber");
    vm->console_news = on_news;
    snprintf(what, sizeof(what), "VM %s", vm->config.name);
    enum hv_status st = console_attach(&raw, what);
    session.left = true;
    event_signal(&session.news);
    while (!session.pump_ended)
        fiber_wait(&session.pumped, LOOP_NEVER);
    vm->console_news = NULL;
    return st;
}
