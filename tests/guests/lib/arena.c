/* Runs hostile code and recovers from it: see arena.h. */
#include "tests/guests/lib/arena.h"

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"

/* Page tables lie behind the arena: the image has its place below. */
#define TABLES 0x900000ull
enum { SAFE_TOP, SAFE_L3, SAFE_L2, SAFE_L2_HIGH, OPEN_TOP, OPEN_L3, OPEN_L2, OPEN_L1 };
#define OPEN_LOW_TABLES 5 /* 10 MiB by 4 KiB pages */
#define WINDOW_L1 (OPEN_L1 + OPEN_LOW_TABLES)
#define WINDOW_L2 (WINDOW_L1 + 1)
#define STACKS (WINDOW_L2 + 1) /* two pages: all vectors', NMI's */
#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define ACCESSED (BIT(5) | BIT(6))
#define LARGE BIT(7)
#define IST_ALL 1
#define IST_NMI 2
#define GOOD_CR4 (CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT)
#define SEL_TSS 0x70

struct __attribute__((packed)) tss64 {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, io_map;
};

extern char interrupt_entries[];
extern u64 boot_gdt[];

u64 arena_stack; /* of arena_enter's caller, for its way back */
u32 arena_inside;
u64 arena_stray_interrupts;
struct frame arena_stray;
static volatile u32 ended_by;
static u64 gdt[16] __attribute__((aligned(16)));
static struct tss64 tss __attribute__((aligned(16)));
static struct table_pointer idtr;
static u64 good_cr0, good_efer;
static bool tcg;

/* Everything the code finds comes from the frame, which is laid out as common: pops it. */
void arena_enter(const struct frame *f, u64 cr3);
extern char arena_return[];
asm(".text\n"
    ".globl arena_enter, arena_return\n"
    "arena_enter:\n"
    "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "    mov %rsp, arena_stack\n"
    "    movl $1, arena_inside\n"
    "    mov %rsi, %cr3\n"
    "    mov %rdi, %rsp\n"
    "    pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8\n"
    "    pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax\n"
    "    add $16, %rsp\n"
    "    iretq\n"
    "arena_return:\n"
    "    movl $0, arena_inside\n"
    "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "    ret\n");

static u64 *table(unsigned n)
{
    return (u64 *)(TABLES + n * PAGE_SIZE);
}

static void restore_system_tables(void)
{
    struct table_pointer gdtr = {sizeof(gdt) - 1, (u64)gdt};
    u16 tr;

    asm volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
    asm volatile("str %0" : "=r"(tr));
    if (tr != SEL_TSS) {
        gdt[SEL_TSS / 8] &= ~BIT(41); /* busy */
        asm volatile("ltr %w0" : : "r"(SEL_TSS));
    }
    asm volatile("lldt %w0" : : "r"(ARENA_LDT_SELECTOR));
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(GUEST_DATA));
}

/* First what the next instructions need, then the rest; all of it may be interrupted by an NMI
 * and done again. */
static void recover(void)
{
    u64 dr7;

    if (read_cr4() != GOOD_CR4)
        write_cr4(GOOD_CR4);
    write_cr3((u64)table(SAFE_TOP));
    if (read_cr0() != good_cr0)
        write_cr0(good_cr0);
    restore_system_tables();
    if (rdmsr(MSR_EFER) != good_efer)
        wrmsr(MSR_EFER, good_efer);
    asm volatile("mov %%dr7, %0" : "=r"(dr7));
    if (dr7 != 0x400)
        asm volatile("mov %0, %%dr7" : : "r"(0x400ull));
    if (tcg) { /* which takes addresses here that are not canonical: no state to go on with */
        wrmsr(0xc0000082, 0); /* LSTAR, KERNEL_GS_BASE */
        wrmsr(0xc0000102, 0);
    }
}

static void on_vector(struct frame *f)
{
    if (arena_inside) {
        recover();
        ended_by = f->vector & 0xff;
        if (ended_by >= 32)
            wrmsr(0x800 + APIC_EOI / 16,
                  0); /* #GP, which ends it as well, if x2APIC mode was left */
        f->rip = (u64)arena_return;
        f->cs = GUEST_CODE64;
        f->rflags = 2;
        f->rsp = arena_stack;
        f->ss = GUEST_DATA;
        return;
    }
    if ((f->vector & 0xff) >= 16) { /* none of the exceptions from there on is possible here */
        if (!arena_stray_interrupts++)
            arena_stray = *f;
        apic_eoi();
    } else if (f->vector != VECTOR_NMI) {
        guest_fail("exception %lu error %lx at %lx, rflags %lx, outside of the arena, cr2 %lx",
                   f->vector, f->error, f->rip, f->rflags, read_cr2());
    }
}

u32 arena_run(const struct frame *f)
{
    arena_enter(f, (u64)table(OPEN_TOP));
    return ended_by;
}

void arena_window(unsigned page, u64 entry)
{
    table(WINDOW_L1)[page] = entry;
    invlpg(ARENA_WINDOW + page * PAGE_SIZE);
}

static void build_safe(void)
{
    table(SAFE_TOP)[0] = (u64)table(SAFE_L3) | P | W;
    table(SAFE_L3)[0] = (u64)table(SAFE_L2) | P | W;
    table(SAFE_L3)[3] = (u64)table(SAFE_L2_HIGH) | P | W;
    for (u64 i = 0; i < 512; i++) {
        table(SAFE_L2)[i] = i * PAGE_2M | P | W | ACCESSED | LARGE;
        table(SAFE_L2_HIGH)[i] = (3 * GIB + i * PAGE_2M) | P | W | ACCESSED | LARGE;
    }
}

static void build_open(void)
{
    u64 stacks = (u64)table(STACKS);

    table(OPEN_TOP)[0] = (u64)table(OPEN_L3) | P | W | U;
    table(OPEN_L3)[0] = (u64)table(OPEN_L2) | P | W | U;
    table(OPEN_L3)[2] = (u64)table(WINDOW_L2) | P | W | U;
    table(WINDOW_L2)[0] = (u64)table(WINDOW_L1) | P | W | U;
    for (u64 i = 0; i < OPEN_LOW_TABLES; i++)
        table(OPEN_L2)[i] = (u64)table(OPEN_L1 + (unsigned)i) | P | W | U;
    for (u64 page = 0; page < OPEN_LOW_TABLES * 512; page++) {
        u64 at = page * PAGE_SIZE, attr = P;
        if (at >= 0xa0000 && at < MIB) /* no memory there: arena_window() is for that */
            continue;
        if (at >= ARENA_BASE && at < ARENA_BASE + ARENA_SIZE)
            attr = P | W | U;
        if (at >= stacks && at < stacks + 2 * PAGE_SIZE)
            attr = P | W;
        table(OPEN_L1)[page] = at | attr | ACCESSED; /* the tables are one after the other */
    }
}

/* Descriptor of a segment at `base`, limit 64 KiB, with these access bits. */
static u64 descriptor(u64 base, u64 access)
{
    return 0xffff | FIELD_PUT(BITS(39, 16), base) | access << 40 |
           FIELD_PUT(BITS(63, 56), base >> 24);
}

static void build_gdt(void)
{
    u64 base = (u64)&tss, ldt = ARENA_LDT;

    for (unsigned i = 0; i < 8; i++)
        gdt[i] = boot_gdt[i];
    gdt[ARENA_CODE16 / 8] = descriptor(ARENA_BASE, 0x9b);
    gdt[ARENA_DATA16 / 8] = descriptor(ARENA_BASE, 0x93);
    gdt[ARENA_USER32 / 8] = 0x00cffb000000ffff;
    gdt[ARENA_LDT_SELECTOR / 8] = (descriptor(ldt, 0x82) & ~0xffffull) | 511;
    gdt[ARENA_LDT_SELECTOR / 8 + 1] = 0;
    gdt[SEL_TSS / 8] = (descriptor(base, 0x89) & ~0xffffull) | (sizeof(tss) - 1);
    gdt[SEL_TSS / 8 + 1] = 0;
    tss.io_map = sizeof(tss);
    tss.ist[IST_ALL - 1] = (u64)table(STACKS) + PAGE_SIZE;
    tss.ist[IST_NMI - 1] = (u64)table(STACKS) + 2 * PAGE_SIZE;
}

void arena_init(void)
{
    for (u64 *at = (u64 *)TABLES; at < table(STACKS + 2); at++)
        *at = 0;
    build_safe();
    build_open();
    build_gdt();
    asm volatile("sidt %0" : "=m"(idtr));
    for (unsigned v = 0; v < 256; v++) {
        guest_set_gate(v, (u64)(interrupt_entries + 16 * v),
                       v == VECTOR_BP || v == VECTOR_OF ? 3 : 0,
                       v == VECTOR_NMI ? IST_NMI : IST_ALL);
        guest_handlers[v] = on_vector;
    }
    good_cr0 = read_cr0();
    good_efer = rdmsr(MSR_EFER);
    tcg = guest_is_tcg();
    write_cr3((u64)table(SAFE_TOP));
    recover();
}
