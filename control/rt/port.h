/* Port I/O on ports that the kernel granted (the console UART); any other port faults.
 * In the host tests control/rt/host/ stands for the device. */
#ifndef BULKHEAD_CONTROL_RT_PORT_H
#define BULKHEAD_CONTROL_RT_PORT_H

#include "kernel/abi/types.h"

#ifdef __GLIBC__

u8 port_in8(u16 port);
void port_out8(u16 port, u8 value);

#else

static inline u8 port_in8(u16 port)
{
    u8 value;

    __asm__ volatile("inb %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void port_out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

#endif

#endif
