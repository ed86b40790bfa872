/* Polled 16550 output.  Called by log.c under its lock, and by panic.c when nobody else runs. */
#include "kernel/uart.h"

#include "kernel/x86.h"

enum uart_register {
    UART_DATA = 0,
    UART_IER = 1,
    UART_FCR = 2,
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_SCRATCH = 7,
};
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define FCR_ENABLE_CLEAR 0x07
#define MCR_DTR_RTS_OUT2 0x0b
#define LSR_THR_EMPTY 0x20
#define FIFO_DEPTH 16
#define WAIT_LOOPS 200000 /* far more than 16 characters take; a dead UART must not hang us */

static u16 base;
static unsigned room; /* characters the transmit FIFO surely still takes */

void uart_init(u16 port)
{
    outb(port + UART_SCRATCH, 0x5a);
    if (inb(port + UART_SCRATCH) != 0x5a)
        return;
    base = port;
    outb(base + UART_IER, 0);
    outb(base + UART_LCR, LCR_DLAB);
    outb(base + UART_DATA, 1); /* divisor 1: 115200 */
    outb(base + UART_IER, 0);
    outb(base + UART_LCR, LCR_8N1);
    outb(base + UART_FCR, FCR_ENABLE_CLEAR);
    outb(base + UART_MCR, MCR_DTR_RTS_OUT2);
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
