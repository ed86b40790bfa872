/* What stand-ins for the control partition share: system calls with any arguments, and text on the
 * console UART, which ring 3 may use. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/syscall.h"

static const struct host_info *const host = (const struct host_info *)USER_HOST_INFO;

static inline i64 ring3_call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    i64 result;
    register u64 r10 asm("r10") = d;
    register u64 r8 asm("r8") = e;
    register u64 r9 asm("r9") = 0;
    asm volatile("int %8"
                 : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9), "+D"(a), "+S"(b), "+d"(c)
                 : "a"(number), "i"(SYSCALL_VECTOR)
                 : "rcx", "r11", "memory");
    return result;
}

static inline void outb(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u8 inb(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void ring3_put(char ch)
{
    u16 port = (u16)host->uart_port;
    while (!(inb(port + 5) & 0x20))
        ;
    outb(port, (u8)ch);
}

static inline void ring3_print(const char *text)
{
    while (*text)
        ring3_put(*text++);
}
