/* The host's console: the terminal at the 16550 that the kernel names. */
#pragma once

#include "control/terminal.h"

/* Takes the UART that host_info names.  HV_EIO: there is none; everything else then does nothing.
 */
MUST_CHECK enum hv_status console_init(void);

struct terminal *console_terminal(void);
void console_print(const char *text); /* terminal_print() there */
void console_flush(void);             /* everything is out; for the last words before a reset */
/* terminal_notice() there (log, guest events). */
void console_notice(const char *fmt, ...) PRINTF_LIKE(1, 2);
