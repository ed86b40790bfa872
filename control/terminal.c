/* Terminals: keys, raw mode, notices.  Input comes on the loop or in a session's fiber, commands
 * write in the shell's fiber; one thread, no locks. */
#include "control/terminal.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/log.h"
#include "control/rt/loop.h"

#define CTRL_C 0x03

void terminal_init(struct terminal *t, const struct terminal_ops *ops, void *owner)
{
    memset(t, 0, sizeof(*t));
    t->ops = ops;
    t->owner = owner;
    t->at_line_start = true;
    ring_init(&t->keys, t->key_bytes, sizeof(t->key_bytes));
}

void terminal_leave(struct terminal *t)
{
    if (!t->raw)
        return;
    t->raw = NULL;
    t->raw_escape = false;
    event_signal(&t->left_event);
}

/* Bytes of raw mode, but for the escape.  Returns how many were used: the rest is the shell's. */
static u32 feed_raw(struct terminal *t, const u8 *bytes, u32 len)
{
    u8 out[256];
    u32 n = 0, i;

    for (i = 0; i < len && t->raw && n + 2 <= sizeof(out); i++) {
        u8 byte = bytes[i];

        if (!t->raw_escape && byte == TERMINAL_ESCAPE) {
            t->raw_escape = true;
            continue;
        }
        if (t->raw_escape && byte == '.') {
            if (n)
                t->raw->input(t->raw->owner, out, n);
            terminal_leave(t);
            return i + 1;
        }
        if (t->raw_escape && byte != TERMINAL_ESCAPE)
            out[n++] = TERMINAL_ESCAPE;
        t->raw_escape = false;
        out[n++] = byte;
    }
    if (n && t->raw)
        t->raw->input(t->raw->owner, out, n);
    return i;
}

void terminal_input(struct terminal *t, const u8 *bytes, u32 len)
{
    u32 i = 0;

    while (t->raw && i < len)
        i += feed_raw(t, bytes + i, len - i);
    for (; i < len; i++) {
        if (t->on_break && bytes[i] == CTRL_C)
            t->on_break(t->break_owner);
        else
            ring_put_byte(&t->keys, bytes[i]); /* a full ring: nobody reads what he types */
    }
    if (ring_used(&t->keys))
        event_signal(&t->key_event);
}

u32 terminal_key_room(const struct terminal *t)
{
    return t->raw ? sizeof(t->key_bytes) : ring_room(&t->keys);
}

void terminal_hang_up(struct terminal *t)
{
    t->no_more = true;
    terminal_leave(t);
    event_signal(&t->key_event);
}

void terminal_end(struct terminal *t)
{
    t->ended = true;
    terminal_leave(t);
    if (t->on_break)
        t->on_break(t->break_owner);
    event_signal(&t->key_event);
    event_signal(t->ops->room(t->owner));
}

void terminal_dismiss(struct terminal *t)
{
    t->dismissed = true;
    terminal_leave(t);
    event_signal(&t->key_event);
}

void terminal_readmit(struct terminal *t)
{
    while (t->dismissed && ring_get_byte(&t->keys) >= 0)
        ;
    t->dismissed = false;
}

int terminal_key(struct terminal *t, u64 deadline)
{
    for (;;) {
        int key = t->raw || t->dismissed ? -1 : ring_get_byte(&t->keys);

        if (key >= 0)
            return key;
        if (t->ended || t->no_more || t->dismissed)
            return TERMINAL_ENDED;
        if (fiber_wait(&t->key_event, deadline) == HV_ETIMEDOUT)
            return TERMINAL_TIMEOUT;
    }
}

void terminal_on_break(struct terminal *t, void (*fn)(void *owner), void *owner)
{
    t->on_break = fn;
    t->break_owner = owner;
}

void terminal_set_editor(struct terminal *t, const struct terminal_editor *editor)
{
    t->editor = editor;
}

u32 terminal_write(struct terminal *t, const char *text, u32 len)
{
    u32 done = 0;

    if (len)
        t->at_line_start = text[len - 1] == '\n';
    while (done < len && !t->ended) {
        done += t->ops->write(t->owner, text + done, len - done);
        if (done == len || !fiber_self())
            return done;
        fiber_wait(t->ops->room(t->owner), LOOP_NEVER);
    }
    return len;
}

void terminal_print(struct terminal *t, const char *text)
{
    while (*text) {
        u32 n = (u32)strcspn(text, "\n");

        terminal_write(t, text, n);
        text += n;
        if (*text) {
            terminal_write(t, "\r\n", 2);
            text++;
        }
    }
}

void terminal_notice(struct terminal *t, const char *text)
{
    if (t->raw)
        return;
    if (t->editor)
        t->editor->hide(t->editor->owner);
    else if (!t->at_line_start)
        terminal_print(t, "\n");
    terminal_print(t, text);
    terminal_print(t, "\n");
    if (t->editor)
        t->editor->show(t->editor->owner);
}

enum hv_status terminal_attach(struct terminal *t, const struct terminal_raw *raw, const char *what)
{
    char line[160];
    int key;

    if (t->raw)
        return HV_EBUSY;
    rt_assert(fiber_self());
    event_clear(&t->left_event);
    t->raw_escape = false;
    if (!t->ended && !t->no_more && !t->dismissed)
        t->raw = raw;
    while (t->raw && (key = ring_get_byte(&t->keys)) >= 0)
        feed_raw(t, &(u8){(u8)key}, 1);
    snprintf(line, sizeof(line),
             "Connected to %.64s. Leave with Ctrl-] . (Ctrl-] twice sends one)\n", what);
    terminal_print(t, line); /* may wait: what is typed meanwhile is for raw mode already */
    while (t->raw == raw)
        fiber_wait(&t->left_event, LOOP_NEVER);
    snprintf(line, sizeof(line), "\nLeft %.64s.\n", what);
    terminal_print(t, line);
    return HV_OK;
}
