/* Polled output on the console 16550: early messages and panics.  Callers serialise. */
#pragma once

#include "kernel/abi/types.h"

void uart_init(u16 port);                   /* set up by the loader; 0: none */
u16 uart_port(void);                        /* 0: there is none */
void uart_write(const char *text, u64 len); /* "\n" becomes "\r\n" */
