/* Polled 16550 output.  Called by log.c under its lock, and by panic.c when nobody else runs. */
#include "kernel/uart.h"

#include "kernel/x86.h"

#define UART_DATA 0
#define UART_LSR 5
#define LSR_THR_EMPTY 0x20
#define FIFO_DEPTH 16
#define WAIT_LOOPS 200000 /* far more than 16 characters take; a dead UART must not hang us */

static u16 base;
static unsigned room; /* characters the transmit FIFO surely still takes */

void uart_init(u16 port)
{
    base = port;
}

u16 uart_port(void)
{
    return base;
}

static void put(char c)
{
    for (unsigned i = 0; room == 0 && i < WAIT_LOOPS; i++) {
        if (inb(base + UART_LSR) & LSR_THR_EMPTY)
            room = FIFO_DEPTH;
        else
            cpu_relax();
    }
    if (room > 0)
        room--;
    outb(base + UART_DATA, (u8)c);
}

void uart_write(const char *text, u64 len)
{
    if (!base)
        return;
    room = 0; /* ring 3 may have written in between */
    for (u64 i = 0; i < len; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
    }
}
