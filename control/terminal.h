/* A terminal that somebody types at: the console or a remote session.
 *
 * In shell mode bytes go to whoever calls terminal_key().  In raw mode (`vm console`) they go to a
 * callback, except `Ctrl-] .`, which ends raw mode, and `Ctrl-] Ctrl-]`, which sends one Ctrl-]. */
#pragma once

#include "control/rt/fiber.h"
#include "control/rt/ring.h"
#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define TERMINAL_KEYS 1024
#define TERMINAL_ESCAPE 0x1d /* Ctrl-] */
#define TERMINAL_TIMEOUT (-1)
#define TERMINAL_ENDED (-2)

struct terminal_ops {                                     /* what the line below does */
    u32 (*write)(void *owner, const char *text, u32 len); /* stores what fits, returns how much */
    struct event *(*room)(void *owner);                   /* signalled when more fits */
};

struct terminal_raw {
    void (*input)(void *owner, const u8 *bytes, u32 len); /* on the loop; must not wait */
    void *owner;
};

struct terminal_editor { /* how to take the edited line away before a notice and put it back */
    void (*hide)(void *owner);
    void (*show)(void *owner);
    void *owner;
};

struct terminal {
    const struct terminal_ops *ops;
    void *owner;
    u8 key_bytes[TERMINAL_KEYS];
    struct ring keys; /* typed and not yet read */
    struct event key_event, left_event;
    void (*on_break)(void *owner);
    void *break_owner;
    const struct terminal_editor *editor;
    const struct terminal_raw *raw;
    bool raw_escape; /* Ctrl-] was typed */
    bool at_line_start;
    bool no_more;   /* no keys come any more */
    bool ended;     /* nobody is there any more */
    bool dismissed; /* who is there is not heard any more */
};

void terminal_init(struct terminal *t, const struct terminal_ops *ops, void *owner);
/* For the owner: bytes that were typed; on the loop or in a fiber, does not wait. */
void terminal_input(struct terminal *t, const u8 *bytes, u32 len);
/* Bytes that terminal_input() has room for; what is more is lost. */
u32 terminal_key_room(const struct terminal *t);
/* For the owner: no bytes will come; those that did are still read. */
void terminal_hang_up(struct terminal *t);
/* For the owner: the user is gone.  Ends raw mode, breaks the command, wakes who waits; from now
 * on text is dropped. */
void terminal_end(struct terminal *t);

/* For the shell: ends raw mode, and keys are not taken until terminal_readmit(), which forgets
 * those that were typed; text is still shown. */
void terminal_dismiss(struct terminal *t);
void terminal_readmit(struct terminal *t);

/* The next byte typed; TERMINAL_TIMEOUT when `deadline` (TSC) has passed, TERMINAL_ENDED. */
int terminal_key(struct terminal *t, u64 deadline);
/* While a command runs, Ctrl-C calls fn instead of being a key.  NULL: a key again. */
void terminal_on_break(struct terminal *t, void (*fn)(void *owner), void *owner);
void terminal_set_editor(struct terminal *t, const struct terminal_editor *editor);

/* Hands the keyboard to *raw and returns when the user left or terminal_leave() was called; `what`
 * goes into the lines before and after.  What was typed ahead goes there, too.  In a fiber.
 * HV_EBUSY: already in raw mode. */
enum hv_status terminal_attach(struct terminal *t, const struct terminal_raw *raw,
                               const char *what);
void terminal_leave(struct terminal *t); /* ends raw mode from the other side */

/* In a fiber it waits for room; on the loop it stores what fits.  Returns the bytes stored. */
u32 terminal_write(struct terminal *t, const char *text, u32 len);
void terminal_print(struct terminal *t, const char *text); /* "\n" becomes "\r\n" */
/* A line that nobody asked for: does not tear the edited line; newline is added.  Not shown in raw
 * mode. */
void terminal_notice(struct terminal *t, const char *text);
