/* Connects a terminal with a VM's; runs in the shell's fiber and one of its own. */
#include "control/cmd_vm_console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "control/shell.h"
#include "vmm/uart16550.h"
#include "vmm/virtio_dev_console.h"
#include "vmm/vm_devices.h"

#define SHOWN_BEFORE 4096  /* bytes of scroll-back shown at first */
#define TYPED_AHEAD 16384u /* bytes that wait for the guest to take them: a pasted page */
#define TYPED_AGAIN (5 * CLOCK_MS)

/* One a VM. */
struct view {
    struct vm *vm;
    u32 port; /* of a virtio console; 0: the VM's console, whatever that is */
    struct terminal *terminal;
    struct event news, pumped;
    bool left, pump_ended;
    u8 *typed; /* of TYPED_AHEAD bytes */
    u32 typed_len;
    struct loop_timer typed_timer;
    struct view *next;
};
static struct view *views;

static struct view *view_of(const struct vm *vm)
{
    struct view *v = views;
    while (v && v->vm != vm)
        v = v->next;
    return v;
}

static void on_news(struct vm *vm)
{
    struct view *v = view_of(vm);
    if (v && !v->news.signalled)
        event_signal(&v->news);
}

/* As much as the guest's device has room for; the timer passes on the rest. */
static void pass_on(void *owner)
{
    struct view *v = owner;
    struct vm *vm = v->vm;
    struct virtio_device *console = vm->state ? vm_devices_find(vm, "console") : NULL;
    u32 n;
    if (console)
        n = virtio_dev_console_input(console, v->port, v->typed, v->typed_len);
    else
        n = vm->state ? uart_input(vm, v->typed, v->typed_len) : v->typed_len;
    v->typed_len -= n;
    memmove(v->typed, v->typed + n, v->typed_len);
    if (v->typed_len)
        loop_timer_set(&v->typed_timer, clock_after(TYPED_AGAIN));
}

static void on_input(void *owner, const u8 *bytes, u32 len)
{
    struct view *v = owner;
    u32 n = MIN(len, TYPED_AHEAD - v->typed_len); /* what is more is lost, as on a real line */
    memcpy(v->typed + v->typed_len, bytes, n);
    v->typed_len += n;
    pass_on(v);
}

const struct text_ring *cmd_vm_console_said(struct vm *vm, u32 port)
{
    const struct virtio_device *console = port ? vm_devices_find(vm, "console") : NULL;
    u32 agent;
    if (!port)
        return vm_scrollback(vm);
    if (!console || (virtio_dev_console_agent(console, &agent) && port == agent))
        return NULL; /* that line is for programs */
    return virtio_dev_console_ring(console, port);
}

/* Shows what the scroll-back has beyond console_pos, at the speed of the terminal. */
static void pump(void *arg)
{
    struct view *v = arg;
    struct vm *vm = v->vm;
    char buf[256];
    while (!v->left) {
        bool running = vm->state != NULL;
        const struct text_ring *said = cmd_vm_console_said(vm, v->port);
        u32 n = said ? text_ring_read(said, &vm->console_pos, buf, sizeof(buf)) : 0;
        if (n)
            terminal_write(v->terminal, buf, n);
        else if (!running)
            break;
        else
            fiber_wait(&v->news, LOOP_NEVER);
    }
    if (!v->left) {
        int n = snprintf(buf, sizeof(buf), "\r\n[%s has stopped%s%s]\r\n", vm->config.name,
                         vm->stop_reason[0] ? ": " : "", vm->stop_reason);
        terminal_write(v->terminal, buf, (u32)n);
    }
    v->pump_ended = true;
    event_signal(&v->pumped);
    terminal_leave(v->terminal);
}

static u64 start_of_screen(const struct text_ring *r)
{
    u64 oldest = text_ring_oldest(r);
    return r->written - oldest > SHOWN_BEFORE ? r->written - SHOWN_BEFORE : oldest;
}

static enum hv_status attach(struct view *v)
{
    struct terminal_raw raw = {.input = on_input, .owner = v};
    char what[64];
    snprintf(what, sizeof(what), "VM %s", v->vm->config.name);
    enum hv_status st = terminal_attach(v->terminal, &raw, what);
    v->left = true;
    event_signal(&v->news);
    while (!v->pump_ended)
        fiber_wait(&v->pumped, LOOP_NEVER);
    return st;
}

enum hv_status cmd_vm_console(struct vm *vm, u32 port, struct out *out)
{
    struct view v = {.vm = vm, .port = port, .terminal = shell_terminal()};
    v.typed_timer = (struct loop_timer){.fn = pass_on, .owner = &v};
    if (!vm->state)
        return out_error(out, HV_EBUSY, "E_STATE", "vm start", "VM %s is %s", vm->config.name,
                         vm_phase_name(vm));
    if (vm->config.console == VM_CONSOLE_NONE)
        return out_error(out, HV_ENOENT, "E_NOENT", "vm set console=com1", "VM %s has no console",
                         vm->config.name);
    if (view_of(vm) || !v.terminal)
        return out_error(out, HV_EBUSY, "E_BUSY", "Ctrl-] . there", "the console is in use");
    const struct text_ring *said = cmd_vm_console_said(vm, port);
    if (!said)
        return out_error(out, HV_ENOENT, "E_NOENT", "vm set console=virtio console.ports=2",
                         "VM %s has no console port %u", vm->config.name, port);
    vm->console_pos = start_of_screen(said);
    v.typed = malloc(TYPED_AHEAD);
    if (!v.typed || !fiber_spawn("vm console", pump, &v)) {
        free(v.typed);
        return out_error(out, HV_ENOMEM, "E_NOMEM", "vm delete", "no memory for another fiber");
    }
    v.next = views;
    views = &v;
    vm->console_news = on_news;
    enum hv_status st = attach(&v);
    vm->console_news = NULL;
    struct view **at = &views;
    while (*at != &v)
        at = &(*at)->next;
    *at = v.next;
    loop_timer_cancel(&v.typed_timer);
    free(v.typed);
    return st;
}
