/* What the loader says: to the firmware's console and to COM1, one line at a time. */
#pragma once

#include "kernel/abi/types.h"

#define CONSOLE_PORT 0x3f8

/* After InitializeLib: finds out whether the firmware's console is on the serial port already. */
void console_init(void);
/* ExitBootServices was called: from now on COM1 only. */
void console_firmware_gone(void);
/* %s text, %u u64 in decimal, %x u64 in hexadecimal, and nothing else; adds the line's end. */
void console_line(const char *format, ...);
