/* Pages without memory or device: reads are all ones, writes go nowhere, whatever the instruction.
 * And a device page, the I/O APIC's, through the same forms. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static u64 all; /* what nobody answers: all ones; QEMU's machine says zero */

#define NOBODY 0xd0000000ull
#define OLD 0x1122334455667788ull

/* Runs an instruction that reads [rdi] into rax, which held OLD. */
#define LOAD(instruction)                                                                          \
    ({                                                                                             \
        u64 rax_ = OLD;                                                                            \
        asm volatile(instruction : "+a"(rax_) : "D"(NOBODY) : "memory", "cc");                     \
        rax_;                                                                                      \
    })
#define STORE(instruction)                                                                         \
    asm volatile(instruction : : "a"(OLD), "D"(NOBODY), "S"(NOBODY + 64), "c"(4) : "memory", "cc")

static void loads(void)
{
    check_equal(LOAD("movb (%%rdi), %%al"), 0x1122334455667700 | (all & 0xff), "MOV r8");
    check_equal(LOAD("movb (%%rdi), %%ah"), 0x1122334455660088 | (all & 0xff00), "MOV AH");
    check_equal(LOAD("movw (%%rdi), %%ax"), 0x1122334455660000 | (all & 0xffff), "MOV r16");
    check_equal(LOAD("movl (%%rdi), %%eax"), (u32)all, "MOV r32");
    check_equal(LOAD("movq (%%rdi), %%rax"), all, "MOV r64");
    check_equal(LOAD("movzbl (%%rdi), %%eax"), all & 0xff, "MOVZX r32, m8");
    check_equal(LOAD("movzwl 8(%%rdi), %%eax"), all & 0xffff, "MOVZX r32, m16");
    check_equal(LOAD("movsbq (%%rdi), %%rax"), all, "MOVSX r64, m8");
    check_equal(LOAD("movslq (%%rdi), %%rax"), all, "MOVSXD");
    check_equal(LOAD("movl 0x10(%%rdi), %%eax"), (u32)all, "MOV with displacement");
    u64 r9;
    asm volatile("mov %1, %%r10; mov $4, %%r11; movl 4(%%r10, %%r11, 4), %%r9d; mov %%r9, %0"
                 : "=r"(r9)
                 : "r"(NOBODY)
                 : "r9", "r10", "r11", "memory");
    check_equal(r9, (u32)all, "MOV r9d, [r10 + r11 * 4 + 4]");
}

static void arithmetic(void)
{
    u64 flags;
    asm volatile("testl $1, (%1); pushfq; pop %0" : "=r"(flags) : "r"(NOBODY) : "memory", "cc");
    check(!(flags & BIT(6)) == !!all, "ZF after TEST");
    asm volatile("cmpb %b2, (%1); pushfq; pop %0"
                 : "=r"(flags)
                 : "r"(NOBODY), "q"(all)
                 : "memory", "cc");
    check(flags & BIT(6), "no ZF after CMP with the same");
    check_equal(LOAD("andl (%%rdi), %%eax"), 0x55667788 & all, "AND r32, m32");
    check_equal(LOAD("orw (%%rdi), %%ax"), 0x1122334455667788 | (all & 0xffff), "OR r16, m16");
    check_equal(LOAD("xchgl %%eax, (%%rdi)"), (u32)all, "XCHG");
    STORE("orl %%eax, (%%rdi)");
    STORE("andb $1, (%%rdi)");
}

static void stores(void)
{
    STORE("movb %%al, (%%rdi)");
    STORE("movw %%ax, (%%rdi)");
    STORE("movl %%eax, (%%rdi)");
    STORE("movq %%rax, (%%rdi)");
    STORE("movl $0x12345678, (%%rdi)");
    STORE("movb $1, 5(%%rdi)");
    STORE("movq $-1, (%%rdi)");
    static u32 buffer[4];
    u64 from = NOBODY, to = (u64)buffer, count = 4;
    asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    check_equal(count, 0, "RCX after REP MOVSD");
    check_equal(from, NOBODY + 16, "RSI after REP MOVSD");
    check_equal(buffer[3], (u32)all, "last dword of REP MOVSD");
    to = NOBODY;
    count = 4;
    asm volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    check_equal(to, NOBODY + 16, "RDI after REP STOSD");
}

static void device(void)
{
    volatile u32 *select = (volatile u32 *)0xfec00000, *window = (volatile u32 *)0xfec00010;
    ioapic_write(0x10 + 2 * 5, 0x10055);
    *select = 0x10 + 2 * 5;
    u64 rax = OLD;
    asm volatile("movl (%1), %%eax" : "+a"(rax) : "r"(window) : "memory");
    check_equal(rax, 0x10055, "redirection entry");
    check_equal(ioapic_read(1) >> 16 & 0xff, 23, "highest redirection entry");
    *select = 1;
    check_equal(*select, 1, "index register");
}

void guest_main(void)
{
    all = guest_on_qemu() ? 0 : ~0ull;
    loads();
    arithmetic();
    stores();
    device();
}
