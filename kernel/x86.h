/* Instructions that C cannot express, register bits and MSR numbers (SDM 3A chapter 2, SDM 4). */
#ifndef BULKHEAD_KERNEL_X86_H
#define BULKHEAD_KERNEL_X86_H

#include "kernel/abi/types.h"

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)
#define CR4_DE BIT(3)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_VMXE BIT(13)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define CR4_PKE BIT(22)

#define RFLAGS_FIXED BIT(1)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_DF BIT(10)
#define RFLAGS_IOPL BITS(13, 12)
#define RFLAGS_NT BIT(14)
#define RFLAGS_AC BIT(18)

#define MSR_APIC_BASE 0x1bu
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_PAT 0x277u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC 0x800u /* + register offset / 16 */
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_FMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* Exceptions, SDM 3A table 7-1. */
#define VECTOR_DB 1u
#define VECTOR_NMI 2u
#define VECTOR_UD 6u
#define VECTOR_DF 8u
#define VECTOR_GP 13u
#define VECTOR_PF 14u
#define VECTOR_AC 17u
#define VECTOR_MC 18u

/* After reset or power-up, SDM 3A table 10-1. */
#define RESET_CR0 0x60000010ull
#define RESET_PAT 0x0007040600070406ull
#define RESET_DR6 0xffff0ff0ull
#define RESET_DR7 0x400ull

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
X86_CONTROL_REGISTER(8)

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

static inline void invlpg(u64 va)
{
    asm volatile("invlpg (%0)" : : "r"(va) : "memory");
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

#endif
