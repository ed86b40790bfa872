/* Port I/O on ports that the kernel granted (the console UART, base addresses of devices); any
 * other port faults. In the host tests control/rt/host/ stands for the device. */
#pragma once

#include "kernel/abi/types.h"

#ifdef __GLIBC__

u8 port_in8(u16 port);
u16 port_in16(u16 port);
u32 port_in32(u16 port);
void port_out8(u16 port, u8 value);
void port_out16(u16 port, u16 value);
void port_out32(u16 port, u32 value);

#else

static inline u8 port_in8(u16 port)
{
    u8 value;

    __asm__ volatile("inb %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline u16 port_in16(u16 port)
{
    u16 value;

    __asm__ volatile("inw %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline u32 port_in32(u16 port)
{
    u32 value;

    __asm__ volatile("inl %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void port_out16(u16 port, u16 value)
{
    __asm__ volatile("outw %0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void port_out32(u16 port, u32 value)
{
    __asm__ volatile("outl %0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void port_out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

#endif
