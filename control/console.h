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

/* Takes the UART that host_info names.  HV_EIO: there is none; everything else then does nothing.
 */
MUST_CHECK enum hv_status console_init(void);

/* For the shell, in its fiber: the next byte typed; -1 when `deadline` (TSC) has passed. */
int console_key(u64 deadline);
/* While a command runs, Ctrl-C calls fn on the loop instead of being a key.  NULL: a key again. */
void console_on_break(void (*fn)(void));
/* How to take the edited line away before a notice and to put it back; NULL: no line. */
void console_set_editor(void (*hide)(void), void (*show)(void));

/* From a shell command's fiber: prints how to leave, hands the keyboard to *raw and returns when
 * the user left or console_leave() was called.  HV_EBUSY: already in raw mode. */
enum hv_status console_attach(const struct console_raw *raw, const char *what);
void console_leave(void); /* ends raw mode from the other side (the guest is gone) */
bool console_is_raw(void);

/* Text to the terminal.  In a fiber it waits for room; on the loop it stores what fits and
 * returns that number of bytes: a guest's output past it is the caller's to keep or drop. */
u32 console_write(const char *text, u32 len);
u32 console_room(void);

void console_print(const char *text); /* console_write of a string, "\n" becomes "\r\n" */
void console_flush(void);             /* everything is out; for the last words before a reset */

/* A line that nobody asked for (log, guest events): does not tear the edited line; newline is
 * added.  In raw mode it is only in the log. */
void console_notice(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
