/* Ports, for legacy.c and tsc.c. */
#pragma once

#include "kernel/abi/types.h"

static inline u8 inb(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static inline void outb(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "d"(port));
}
