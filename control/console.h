/* The host's console: who gets the bytes that are typed, and where text goes.
 *
 * In shell mode bytes go to the shell.  In raw mode (`vm console`) they go to a callback, except
 * `Ctrl-] .`, which ends raw mode, and `Ctrl-] Ctrl-]`, which sends one Ctrl-]. */
#ifndef BULKHEAD_CONTROL_CONSOLE_H
#define BULKHEAD_CONTROL_CONSOLE_H

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define CONSOLE_ESCAPE 0x1d /* Ctrl-] */

struct console_raw {
    void (*input)(void *owner, const u8 *bytes, u32 len); /* on the loop; must not wait */
    void (*left)(void *owner);                            /* NULL, or called when the user left */
    void *owner;
};

void console_init(void);

/* From a shell command's fiber: prints how to leave, hands the keyboard to *raw and returns when
 * the user left or console_leave() was called.  HV_EBUSY: already in raw mode. */
enum hv_status console_attach(const struct console_raw *raw, const char *what);
void console_leave(void); /* ends raw mode from the other side (the guest is gone) */
bool console_is_raw(void);

/* Text to the terminal.  In a fiber it waits for room; on the loop it stores what fits and
 * returns that number of bytes: a guest's output past it is the caller's to keep or drop. */
u32 console_write(const char *text, u32 len);
u32 console_room(void);

/* A line that nobody asked for (log, guest events): does not tear the edited line; newline is
 * added.  In raw mode it is only in the log. */
void console_notice(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
