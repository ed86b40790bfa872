/* Registers of devices that the kernel mapped: each access is one plain MOV of its width, which
 * every outer hypervisor can emulate.  In the host tests a test's own functions stand for the
 * device.
 *
 * The functions order nothing but themselves; memory that a device reads is made visible by
 * mmio_barrier(). */
#pragma once

#include "kernel/abi/types.h"

#ifdef __GLIBC__

u8 mmio_read8(const volatile void *at);
u16 mmio_read16(const volatile void *at);
u32 mmio_read32(const volatile void *at);
void mmio_write8(volatile void *at, u8 value);
void mmio_write16(volatile void *at, u16 value);
void mmio_write32(volatile void *at, u32 value);

#else

static inline u8 mmio_read8(const volatile void *at)
{
    u8 v;

    __asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(at) : "memory");
    return v;
}

static inline u16 mmio_read16(const volatile void *at)
{
    u16 v;

    __asm__ volatile("movw (%1), %0" : "=r"(v) : "r"(at) : "memory");
    return v;
}

static inline u32 mmio_read32(const volatile void *at)
{
    u32 v;

    __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");
    return v;
}

static inline void mmio_write8(volatile void *at, u8 value)
{
    __asm__ volatile("movb %0, (%1)" : : "q"(value), "r"(at) : "memory");
}

static inline void mmio_write16(volatile void *at, u16 value)
{
    __asm__ volatile("movw %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

static inline void mmio_write32(volatile void *at, u32 value)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

#endif

static inline u64 mmio_read64(const volatile void *at)
{
    return mmio_read32(at) | (u64)mmio_read32((const volatile u8 *)at + 4) << 32;
}

static inline void mmio_write64(volatile void *at, u64 value)
{
    mmio_write32(at, (u32)value);
    mmio_write32((volatile u8 *)at + 4, (u32)(value >> 32));
}

/* What was written to memory before is seen by a device that is told of it after, and a flag that
 * was read before is older than what is read after. */
static inline void mmio_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
