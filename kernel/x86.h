/* Instructions that C cannot express, register bits and MSR numbers (SDM 3A chapter 2, SDM 4). */
#ifndef BULKHEAD_KERNEL_X86_H
#define BULKHEAD_KERNEL_X86_H

#include "kernel/abi/types.h"

#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
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

#define RFLAGS_FIXED BIT(1)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_DF BIT(10)
#define RFLAGS_IOPL BITS(13, 12)
#define RFLAGS_NT BIT(14)
#define RFLAGS_AC BIT(18)

#define MSR_APIC_BASE 0x1bu
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

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_NXE BIT(11)

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

static inline u64 read_cr0(void)
{
    u64 v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
static inline u64 read_cr2(void)
{
    u64 v;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
static inline u64 read_cr3(void)
{
    u64 v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
static inline u64 read_cr4(void)
{
    u64 v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}
static inline void write_cr0(u64 v)
{
    asm volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}
static inline void write_cr3(u64 v)
{
    asm volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}
static inline void write_cr4(u64 v)
{
    asm volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}
static inline void write_cr8(u64 v)
{
    asm volatile("mov %0, %%cr8" : : "r"(v) : "memory");
}

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

static inline u8 inb(u16 port)
{
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u16 inw(u16 port)
{
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline void outb(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outw(u16 port, u16 value)
{
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outl(u16 port, u32 value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

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
