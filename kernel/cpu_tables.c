/* GDT, TSS, I/O permissions and stacks.  Created by the boot CPU, loaded by each CPU for itself. */
#include "kernel/cpu_tables.h"

#include "kernel/control.h"
#include "kernel/paging.h"
#include "kernel/string.h"
#include "kernel/uart.h"
#include "kernel/x86.h"

/* Each CPU has a slot of virtual addresses at KERNEL_CPU_BASE, with nothing mapped between its
 * parts.  A VM exit sets the GDT limit to FFFFH (SDM 3C 28.5.2): behind the GDT's page lie 60 KiB
 * that are not mapped, so ring 3 finds no descriptors there. */
#define SLOT_SIZE 0x40000ull
#define SLOT_GDT 0x00000ull
#define SLOT_TSS 0x10000ull
#define SLOT_STACK 0x14000ull
#define SLOT_IST(n) (0x1c000ull + ((n)-1) * 0x4000ull)
#define IST_SIZE (8 * KIB)

#define IO_PORTS 0x10000

struct tss { /* SDM 3A figure 8-11 */
    u32 reserved0;
    u32 rsp[3][2];
    u32 reserved1[2];
    u32 ist[7][2]; /* IST1 first */
    u16 reserved2[5];
    u16 io_map;
    u8 io_bits[IO_PORTS / 8 + 1]; /* clear: ring 3 may; the last byte must be all ones */
};
_Static_assert(offsetof(struct tss, io_map) == 102, "SDM 3A figure 8-11");

struct descriptor_table {
    u16 limit;
    u64 base;
} __attribute__((packed));

#define CODE64 0x00af9b000000ffffull
#define DATA 0x00cf93000000ffffull
#define DPL3 (3ull << 45)
#define TSS_AVAILABLE (9ull << 40)
#define TSS_BUSY BIT(41)
#define PRESENT BIT(47)

static u64 slot_of(const struct cpu *c)
{
    return KERNEL_CPU_BASE + c->id * SLOT_SIZE;
}

u64 cpu_tables_gdt(const struct cpu *c)
{
    return slot_of(c) + SLOT_GDT;
}

u64 cpu_tables_tss(const struct cpu *c)
{
    return slot_of(c) + SLOT_TSS;
}

static struct tss *tss_of(const struct cpu *c)
{
    return (struct tss *)cpu_tables_tss(c);
}

static void split(u32 pair[2], u64 value)
{
    pair[0] = (u32)value;
    pair[1] = (u32)(value >> 32);
}

void cpu_tables_create(struct cpu *c)
{
    u64 slot = slot_of(c);
    struct tss *tss = tss_of(c);

    paging_alloc(slot + SLOT_GDT, PAGE_SIZE, PG_W);
    paging_alloc(slot + SLOT_TSS, ROUND_UP(sizeof(struct tss), PAGE_SIZE), PG_W);
    paging_alloc(slot + SLOT_STACK, CPU_STACK_SIZE, PG_W);
    for (u32 n = CPU_IST_NMI; n <= CPU_IST_MACHINE_CHECK; n++) {
        paging_alloc(slot + SLOT_IST(n), IST_SIZE, PG_W);
        split(tss->ist[n - 1], slot + SLOT_IST(n) + IST_SIZE);
    }
    c->stack_top = slot + SLOT_STACK + CPU_STACK_SIZE;
    split(tss->rsp[0], (u64)(&control.frame + 1)); /* syscall_entry.S */
    tss->io_map = offsetof(struct tss, io_bits);
    memset(tss->io_bits, 0xff, sizeof(tss->io_bits));

    u64 *gdt = (u64 *)(slot + SLOT_GDT);
    gdt[SEL_KERNEL_CODE / 8] = CODE64;
    gdt[SEL_KERNEL_DATA / 8] = DATA;
    gdt[SEL_USER_DATA / 8] = DATA | DPL3;
    gdt[SEL_USER_CODE / 8] = CODE64 | DPL3;
    u64 base = (u64)tss, limit = offsetof(struct tss, io_bits) + sizeof(tss->io_bits) - 1;
    gdt[SEL_TSS / 8] =
        limit | (base & BITS(23, 0)) << 16 | (base & BITS(31, 24)) << 32 | TSS_AVAILABLE | PRESENT;
    gdt[SEL_TSS / 8 + 1] = base >> 32;
}

void cpu_tables_reload_tss(void)
{
    ((u64 *)cpu_tables_gdt(this_cpu()))[SEL_TSS / 8] &= ~TSS_BUSY; /* LTR wants an available one */
    asm volatile("ltr %w0" : : "r"(SEL_TSS) : "memory");
}

void cpu_tables_load(struct cpu *c)
{
    struct descriptor_table gdtr = {PAGE_SIZE - 1, cpu_tables_gdt(c)};

    asm volatile("lgdt %0" : : "m"(gdtr));
    asm volatile("pushq %0\n\t"
                 "lea 1f(%%rip), %%rax\n\t"
                 "pushq %%rax\n\t"
                 "lretq\n"
                 "1:\tmov %1, %%ss\n\t"
                 "mov %2, %%ds\n\t"
                 "mov %2, %%es\n\t"
                 "mov %2, %%fs\n\t"
                 "mov %2, %%gs"
                 :
                 : "i"(SEL_KERNEL_CODE), "r"(SEL_KERNEL_DATA), "r"(0)
                 : "rax", "memory");
    wrmsr(MSR_GS_BASE, (u64)c);
    wrmsr(MSR_KERNEL_GS_BASE, 0);
    wrmsr(MSR_FS_BASE, 0);
    cpu_tables_reload_tss();
}

void cpu_tables_reset_ports(void)
{
    for (u32 i = 0; i < CPU_MAX && cpus[i]; i++)
        memset(tss_of(cpus[i])->io_bits, 0xff, IO_PORTS / 8);
    if (uart_port())
        cpu_tables_grant_ports(uart_port(), 8);
}

void cpu_tables_grant_ports(u32 first, u32 count)
{
    for (u32 i = 0; i < CPU_MAX; i++)
        for (u32 port = first; cpus[i] && port < first + count && port < IO_PORTS; port++)
            tss_of(cpus[i])->io_bits[port / 8] &= (u8)~BIT(port % 8);
}
