/* Instructions that C cannot express. */
#pragma once

#include "kernel/abi/x86_bits.h"

struct cpuid_regs {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    return r;
}

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 value)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* An instruction that may fault: a row of .fixups, read by idt.c.  A #GP or #UD at `from`
 * continues at `to`. */
#define FIXUP(from, to)                                                                            \
    ".pushsection .fixups, \"a\"\n\t.balign 8\n\t.quad " from ", " to "\n\t.popsection\n\t"

/* False: the MSR does not exist (#GP). */
static inline bool rdmsr_safe(u32 msr, u64 *value)
{
    u32 lo = 0, hi = 0;
    bool ok;
    asm volatile("mov $0, %2\n"
                 "1: rdmsr\n\t"
                 "mov $1, %2\n"
                 "2:\n\t" FIXUP("1b", "2b")
                 : "+a"(lo), "+d"(hi), "=&r"(ok)
                 : "c"(msr));
    *value = (u64)hi << 32 | lo;
    return ok;
}

/* False: the MSR or the value is refused (#GP). */
static inline bool wrmsr_safe(u32 msr, u64 value)
{
    bool ok;
    asm volatile("mov $0, %0\n"
                 "1: wrmsr\n\t"
                 "mov $1, %0\n"
                 "2:\n\t" FIXUP("1b", "2b")
                 : "=&r"(ok)
                 : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))
                 : "memory");
    return ok;
}

/* read_cr0(), write_cr0() and so on. */
#define X86_CONTROL_REGISTER(n)                                                                    \
    static inline u64 read_cr##n(void)                                                             \
    {                                                                                              \
        u64 v;                                                                                     \
        asm volatile("mov %%cr" #n ", %0" : "=r"(v));                                              \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_cr##n(u64 v)                                                          \
    {                                                                                              \
        asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                                     \
    }
X86_CONTROL_REGISTER(0)
X86_CONTROL_REGISTER(2)
X86_CONTROL_REGISTER(3)
X86_CONTROL_REGISTER(4)

static inline u64 xgetbv(u32 index)
{
    u32 lo, hi;
    asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
    return (u64)hi << 32 | lo;
}
static inline void xsetbv(u32 index, u64 value)
{
    asm volatile("xsetbv" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

static inline bool canonical(u64 address) /* of four-level paging */
{
    return (u64)((i64)(address << 16) >> 16) == address;
}

/* inb(), outb() and so on. */
#define X86_PORT(suffix, type)                                                                     \
    static inline type in##suffix(u16 port)                                                        \
    {                                                                                              \
        type v;                                                                                    \
        asm volatile("in" #suffix " %1, %0" : "=a"(v) : "Nd"(port));                               \
        return v;                                                                                  \
    }                                                                                              \
    static inline void out##suffix(u16 port, type value)                                           \
    {                                                                                              \
        asm volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port));                          \
    }
X86_PORT(b, u8)
X86_PORT(w, u16)
X86_PORT(l, u32)

/* Device registers: only plain 32-bit MOV, which every outer hypervisor can emulate. */
static inline u32 mmio_read32(const volatile void *at)
{
    u32 v;
    asm volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");
    return v;
}
static inline void mmio_write32(volatile void *at, u32 value)
{
    asm volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

/* a * b / c with a 128-bit product; the quotient must fit. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
    u64 low, high;
    asm("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "r"(b));
    asm("divq %2" : "+a"(low), "+d"(high) : "r"(c));
    return low;
}

static inline void cpu_relax(void)
{
    asm volatile("pause" : : : "memory");
}
