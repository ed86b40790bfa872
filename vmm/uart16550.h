/* The guest's COM1: a 16550A whose line is the VM's console.
 *
 * Output goes to platform_console_put(), input comes through uart_input().  On the event loop.
 * Registers: NS16550A data sheet, sections 8.1 to 8.10. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define UART_PORT 0x3f8
#define UART_IRQ 4
#define UART_FIFO 16
#define UART_QUEUE 256 /* typed bytes that wait for room in the FIFO; a power of two */

struct uart16550 {
    u8 ier, lcr, mcr, scr, fcr;
    u8 dll, dlm;
    u8 lsr_errors;   /* OE, cleared by reading LSR */
    u8 thre_pending; /* THR went empty and nobody has looked */
    u8 irq_level;
    u8 trigger; /* receive FIFO level of an interrupt */
    u8 fifo_head, fifo_len;
    u8 fifo[UART_FIFO];
    u16 queue_head, queue_len;
    u8 queue[UART_QUEUE];
    /* Token bucket against a flood (exits.c holds the vCPU while it is empty). */
    u32 tokens;
    u64 tokens_at; /* ns */
    u64 bytes_out, bytes_in, throttled;
};

#define UART_BURST 65536       /* bytes at full speed */
#define UART_RATE (256 * 1024) /* bytes a second in the long run */

void uart_reset(struct vm *vm);
u32 uart_in(struct vm *vm, u16 port, u8 size);
void uart_out(struct vm *vm, u16 port, u8 size, u32 value);
/* Bytes typed at the console; returns how many were taken. */
u32 uart_input(struct vm *vm, const u8 *bytes, u32 len);
/* Nanosecond until which the guest must be held; 0: it may run. */
u64 uart_throttle(struct vm *vm, u64 now);
