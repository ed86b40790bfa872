/* Commands to a guest's agent and its answers; called by `vm snapshot take --quiesce`. */
#include "vmm/guest_agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "vmm/guest_agent_reply.h"
#include "vmm/virtio_dev_console.h"
#include "vmm/vm_devices.h"

#define STEP (5 * CLOCK_MS)           /* the agent's answer is looked for so often */
#define SYNC_TIME (20 * CLOCK_SECOND) /* for the first answer */
#define WORK_TIME (60 * CLOCK_SECOND) /* for file systems to be flushed */

struct talk {
    struct vm *vm;
    u32 port;
    u64 pos; /* in what the port has said */
    u64 deadline;
    char line[GUEST_AGENT_LINE];
    u32 len;
    bool too_long;
    struct guest_agent_reply reply;
};

/* The device may be gone after any wait. */
static struct virtio_device *device(struct talk *t)
{
    struct virtio_device *d =
        t->vm->phase == PHASE_RUNNING ? vm_devices_find(t->vm, "console") : NULL;
    return d && virtio_dev_console_agent(d, &t->port) ? d : NULL;
}

static bool wait(const struct talk *t)
{
    if (clock_tsc() > t->deadline)
        return false;
    fiber_sleep_until(clock_after(STEP));
    return true;
}

static bool send(struct talk *t, const char *text)
{
    u32 len = (u32)strlen(text), sent = 0;
    struct virtio_device *d;
    while ((d = device(t)) && sent < len) {
        sent += virtio_dev_console_input(d, t->port, (const u8 *)text + sent, len - sent);
        if (sent < len && !wait(t))
            return false;
    }
    return d;
}

/* The next whole line; what is longer than any answer is left out. */
static bool next_line(struct talk *t)
{
    struct virtio_device *d;
    char c;
    t->len = 0;
    while ((d = device(t))) {
        const struct text_ring *said = virtio_dev_console_ring(d, t->port);
        if (!said)
            return false;
        if (!text_ring_read(said, &t->pos, &c, 1)) {
            if (!wait(t))
                return false;
            continue;
        }
        bool whole = c == '\n' && t->len && !t->too_long;
        if (whole)
            return true;
        t->too_long = c != '\n' && (t->too_long || t->len == sizeof(t->line));
        if (c == '\n')
            t->len = 0;
        else if (!t->too_long)
            t->line[t->len++] = c;
    }
    return false;
}

static bool answer(struct talk *t)
{
    do {
        if (!next_line(t))
            return false;
        guest_agent_read_reply(t->line, t->len, &t->reply);
    } while (t->reply.kind == GUEST_AGENT_OTHER);
    return true;
}

static bool nobody(struct talk *t, struct vm_error *e)
{
    return vm_error(e, HV_ETIMEDOUT, "E_NO_AGENT",
                    "qemu-guest-agent in the guest; without --quiesce", "no agent in VM %s answers",
                    t->vm->config.name);
}

/* Answers to what was asked earlier, and never waited for, are passed over: the agent repeats a
 * number that only this conversation knows. */
static bool open_talk(struct talk *t, struct vm *vm, struct vm_error *e)
{
    static u32 last;
    char text[120];
    i64 number = (i64)(clock_tsc() % 1000000) * 1000 + ++last % 1000;
    memset(t, 0, sizeof(*t));
    t->vm = vm;
    if (vm->phase != PHASE_RUNNING)
        return vm_error(e, HV_EBUSY, "E_STATE", "vm start, vm resume", "VM %s is %s",
                        vm->config.name, vm_phase_name(vm));
    struct virtio_device *d = device(t);
    if (!d)
        return vm_error(e, HV_ENOENT, "E_NO_AGENT", "vm set console=virtio console.agent=yes",
                        "VM %s has no port for an agent", vm->config.name);
    if (!virtio_dev_console_heard(d, t->port))
        return nobody(t, e);
    t->pos = virtio_dev_console_ring(d, t->port)->written;
    t->deadline = clock_after(SYNC_TIME);
    snprintf(text, sizeof(text),
             "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%lld}}\n",
             (long long)number);
    bool ok = send(t, text);
    do {
        ok = ok && answer(t);
    } while (ok && !(t->reply.kind == GUEST_AGENT_RETURN && t->reply.is_number &&
                     t->reply.number == number));
    return ok ? true : nobody(t, e);
}

static bool command(struct talk *t, const char *name, struct vm_error *e)
{
    char text[80];
    snprintf(text, sizeof(text), "{\"execute\":\"%s\"}\n", name);
    t->deadline = clock_after(WORK_TIME);
    if (!send(t, text) || !answer(t))
        return nobody(t, e);
    if (t->reply.kind == GUEST_AGENT_RETURN)
        return true;
    return vm_error(e, HV_EIO, "E_AGENT", "vm console; without --quiesce",
                    "the agent in VM %s refuses %s: %s", t->vm->config.name, name, t->reply.text);
}

static bool run(struct vm *vm, const char *name, struct vm_error *e, i64 *number)
{
    struct talk *t = malloc(sizeof(*t));
    if (!t)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    bool ok = open_talk(t, vm, e) && command(t, name, e);
    *number = ok && t->reply.is_number ? t->reply.number : 0;
    free(t);
    return ok;
}

bool guest_agent_freeze(struct vm *vm, u32 *count, struct vm_error *e)
{
    struct vm_error ignored;
    i64 number;
    bool ok = run(vm, "guest-fsfreeze-freeze", e, &number);
    if (ok)
        *count = (u32)MIN(MAX(number, 0), 9999);
    else if (e->status == HV_EIO || e->status == HV_ETIMEDOUT) /* some may be frozen */
        (void)!run(vm, "guest-fsfreeze-thaw", &ignored, &number);
    return ok;
}

bool guest_agent_thaw(struct vm *vm, struct vm_error *e)
{
    i64 number;
    return run(vm, "guest-fsfreeze-thaw", e, &number);
}
