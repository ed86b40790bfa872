/* Driver of the host's console: a 16550 on a granted port, by interrupt, or polled where the
 * machine has no interrupt for it.  One instance; runs on the loop. */
#pragma once

#include "control/rt/fiber.h"
#include "kernel/abi/types.h"

#define CONSOLE_UART_IRQ 0 /* bit of control_page.irq_pending */

/* Takes the port over.  gsi ~0: poll.  on_input(owner) is called on the loop when bytes arrived.
 * HV_EIO: nothing answers at that port. */
MUST_CHECK enum hv_status console_uart_init(u16 port, u32 gsi, void (*on_input)(void *owner),
                                            void *owner);

u32 console_uart_write(const void *bytes, u32 len); /* bytes taken, as many as there is room for */
u32 console_uart_room(void);
struct event *console_uart_room_event(void); /* signalled when half of the room is free again */
u32 console_uart_read(void *bytes, u32 len); /* bytes that came in; 0: none */
void console_uart_flush(void);               /* sends everything, polling; for the last words */
