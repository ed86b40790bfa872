/* The host's console: the terminal at the 16550 that the kernel names, and a second one behind PCI
 * if it is wanted or the first one is not there. */
#pragma once

#include "control/terminal.h"

/* Takes the UART that host_info names.  HV_EIO: there is none; everything else then does nothing.
 */
MUST_CHECK enum hv_status console_init(void);

/* Before PCI functions are looked for.  `wanted`: also beside the first one. */
void console_second(bool wanted);
const char *console_second_name(void); /* NULL: there is none */

struct terminal *console_terminal(void); /* the first one's */
void console_print(const char *text);    /* terminal_print() at all that there are */
void console_flush(void);                /* everything is out; for the last words before a reset */
/* terminal_notice() there (log, guest events). */
void console_notice(const char *fmt, ...) PRINTF_LIKE(1, 2);
