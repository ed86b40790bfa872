/* Paging outside of long mode: 32-bit with 4 MiB and 4 KiB pages, PAE with NX, their page faults
 * and reserved bits, PDPTEs that are loaded with CR3; and five levels refused. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define CR4_OTHERS (CR4_PSE | CR4_PGE)
#define TEST_AT 0xc0000000u /* the page that is mapped and unmapped */
#define OTHER_AT 0xc0400000u
#define CPUID_AUTH 0x68747541u /* EBX of "AuthenticAMD" */

/* What the code below finds, in the order of the names in guest_main(). */
enum { RESULTS = 32 };
volatile u32 paging32_results[RESULTS];
u32 paging32_directory[1024] __attribute__((aligned(4096)));
u32 paging32_table[1024] __attribute__((aligned(4096)));
u32 paging32_tcg, paging32_walks;
u64 paging32_pdpt[4] __attribute__((aligned(32)));
u64 paging32_pae[4][512] __attribute__((aligned(4096)));
u64 paging32_pae_table[512] __attribute__((aligned(4096)));
u32 paging32_frames[2][1024] __attribute__((aligned(4096)));
extern volatile u32 paging32_results[RESULTS];
extern u32 paging32_tcg, paging32_walks;
extern u32 paging32_directory[1024], paging32_table[1024], paging32_frames[2][1024];
extern u64 paging32_pdpt[4], paging32_pae[4][512], paging32_pae_table[512];

/* In 32-bit code: EDI = where the next result goes.  NOTE stores EAX.  A fault goes on at the
 * address in EBP (9:), with its vector in EAX, error code in EDX and CR2 in ECX. */
asm(".text\n.code64\n"
    ".macro NOTE\n\t stosl\n\t.endm\n"
    ".macro CATCH\n\t mov $9f, %ebp; mov $0xff, %eax\n\t.endm\n"
    ".globl paging32_run\n"
    "paging32_run:\n\t"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n\t"
    "mov %rsp, p32_rsp; sidt p32_saved_idt; mov %cr4, %rax; mov %rax, p32_cr4\n\t"
    "pushq $0x08; pushq $1f; lretq\n"
    ".code32\n"
    "1: mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n\t"
    "mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n\t"
    "mov $0x18, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n\t"
    "mov p32_rsp, %esp; lidt p32_idt\n\t"
    "mov $paging32_results, %edi; cld\n\t"
    /* Five levels cannot be switched on, as CPUID does not offer them. */
    "mov $13, %eax; cmpl $0, paging32_tcg; jne 8f\n\t"
    "CATCH; mov %cr4, %ecx; or $0x1000, %ecx; mov %ecx, %cr4\n9:\t"
    "8: NOTE\n\t" /* 0: #GP */
    /* 32-bit paging with 4 MiB pages. */
    "mov $0x10, %eax; mov %eax, %cr4; mov $paging32_directory, %eax; mov %eax, %cr3\n\t"
    "mov %cr0, %eax; or $0x80010000, %eax; mov %eax, %cr0; jmp 2f\n"
    "2: mov "
    "0xc0000000"
    ", %eax; NOTE\n\t" /* 1: first frame */
    "CATCH; mov 0xc0002000, %ebx\n9:\t"
    "NOTE; mov %edx, %eax; NOTE; mov %ecx, %eax; NOTE\n\t" /* 2-4: #PF, 0, address */
    "CATCH; movl $1, 0xc0001000\n9:\t"
    "NOTE; mov %edx, %eax; NOTE\n\t"                      /* 5-6: #PF, 3: read-only */
    "mov paging32_table, %eax; and $0x60, %eax; NOTE\n\t" /* 7: accessed, not dirty */
    "movl $0x1234, 0xc0000004; mov paging32_table, %eax; and $0x60, %eax; NOTE\n\t" /* 8: both */
    "mov paging32_frames + 4, %eax; NOTE\n\t" /* 9: written through */
    /* Another frame: seen after INVLPG. */
    "mov paging32_table + 4, %eax; or $2, %eax; mov %eax, paging32_table; invlpg 0xc0000000\n\t"
    "mov 0xc0000000, %eax; NOTE\n\t" /* 10: second frame */
    /* A 4 MiB page with a reserved bit (21), and the same page without PSE: a table. */
    "CATCH; mov 0xc0400000, %ebx\n9:\t"
    "NOTE; mov %edx, %eax; NOTE\n\t" /* 11-12: #PF, 9: reserved bit */
    "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0; jmp 3f\n"
    /* PAE: NX, and a PDPTE that changes in memory is not looked at before CR3 is loaded. */
    "3: mov $0x20, %eax; mov %eax, %cr4; mov $13, %eax; xor %ebx, %ebx\n\t"
    "cmpl $0, paging32_walks; jne 6f\n\t"
    "CATCH; mov $p32_bad_pdpt, %ecx; mov %ecx, %cr3; mov %cr0, %ecx; or $0x80000000, %ecx; mov "
    "%ecx, %cr0\n9:\t"
    "6: NOTE\n\t"                             /* 13: #GP: reserved bits of a PDPTE */
    "mov %cr0, %eax; shr $31, %eax; NOTE\n\t" /* 14: paging is still off */
    "mov $paging32_pdpt, %eax; mov %eax, %cr3\n\t"
    "mov $0xc0000080, %ecx; rdmsr; or $0x800, %eax; wrmsr\n\t"
    "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0; jmp 4f\n"
    "4: mov 0xc0000000, %eax; NOTE\n\t" /* 15: first frame */
    "CATCH; mov $0xc0001000, %ebx; jmp *%ebx\n9:\t"
    "NOTE; mov %edx, %eax; NOTE\n\t" /* 16-17: #PF, 11h: no execution */
    "CATCH; movl $0, paging32_pdpt + 24; mov 0xc0000004, %eax\n9:\t"
    "NOTE\n\t" /* 18: still mapped, or #PF */
    "CATCH; mov %cr3, %ecx; mov %ecx, %cr3; mov 0xc0000000, %ebx\n9:\t"
    "NOTE; mov %edx, %eax; NOTE\n\t" /* 19-20: #PF, 0: now it is gone */
    /* Reserved bits in a PDPTE that CR3 names: #GP, and the old ones hold. */
    "movl $0x21, paging32_pdpt + 24\n\t"
    "CATCH; mov %cr3, %ecx; mov %ecx, %cr3\n9:\t"
    "NOTE; mov paging32_frames, %eax; NOTE\n\t" /* 21: #GP; 22: first frame, one-to-one */
    "mov p32_good_pdpte, %eax; mov %eax, paging32_pdpt + 24; mov %cr3, %ecx; mov %ecx, %cr3\n\t"
    "mov 0xc0000004, %eax; NOTE\n\t" /* 23: mapped again */
    /* A page table entry with a bit above the physical addresses. */
    "movl $0x80000, paging32_pae_table + 4 + 16; CATCH; mov 0xc0002000, %ebx\n9:\t"
    "NOTE; mov %edx, %eax; NOTE\n\t" /* 24-25: #PF, 9 */
    /* Five levels again, and LME under paging. */
    "mov $13, %eax; cmpl $0, paging32_tcg; jne 8f\n\t"
    "CATCH; mov %cr4, %ecx; or $0x1000, %ecx; mov %ecx, %cr4\n9:\t"
    "8: NOTE\n\t" /* 26: #GP */
    "mov $13, %eax; cmpl $0, paging32_tcg; jne 7f\n\t"
    "CATCH; mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n9:\t"
    "7: NOTE\n\t" /* 27: #GP */
    /* And back. */
    "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0; jmp 5f\n"
    "5: call enter_long_mode\n\t"
    "ljmp $0x10, $p32_back\n"
    /* Handlers: the vector is in AL by the entry. */
    "p32_gp: mov $13, %eax; jmp p32_with_error\n"
    "p32_ud: mov $6, %eax; jmp p32_plain\n"
    "p32_pf: mov $14, %eax; mov %cr2, %ecx\n"
    "p32_with_error: pop %edx\n"
    "p32_plain: mov %ebp, (%esp); iret\n"
    ".code64\n"
    "p32_back: lidt p32_saved_idt; mov p32_cr4, %rax; mov %rax, %cr4; mov p32_rsp, %rsp\n\t"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n\t"
    "ret\n"
    ".data\n.balign 8\n"
    "p32_rsp: .quad 0\np32_cr4: .quad 0\np32_saved_idt: .quad 0, 0\np32_good_pdpte: .long 0\n"
    "p32_idt: .word 16 * 8 - 1\n.long p32_gates\n"
    ".balign 32\np32_bad_pdpt: .quad 0x1e7, 0, 0, 0\n"
    ".balign 8\np32_gates: .fill 16, 8, 0\n"
    ".text\n");

void paging32_run(void);
extern u32 p32_gates[32], p32_good_pdpte;
extern char p32_gp[], p32_ud[], p32_pf[];

static void set_gate32(unsigned vector, const char *handler)
{
    u32 at = (u32)(u64)handler;
    p32_gates[2 * vector] = GUEST_CODE32 << 16 | (at & 0xffff);
    p32_gates[2 * vector + 1] = (at & 0xffff0000) | 0x8e00;
}

static void make_tables(void)
{
    u32 first = (u32)(u64)paging32_frames[0], second = (u32)(u64)paging32_frames[1];
    for (u32 i = 0; i < 1024; i++)
        paging32_directory[i] = i << 22 | 0x83;
    paging32_directory[TEST_AT >> 22] = (u32)(u64)paging32_table | 3;
    paging32_directory[OTHER_AT >> 22] = 0x83 | 1u << 21;
    paging32_table[0] = first | 3;
    paging32_table[1] = second | 1; /* read-only */
    paging32_table[2] = 0;
    for (u32 i = 0; i < 4; i++) {
        paging32_pdpt[i] = (u64)paging32_pae[i] | 1;
        for (u64 j = 0; j < 512; j++)
            paging32_pae[i][j] = ((u64)i << 30 | j << 21) | 0x83;
    }
    p32_good_pdpte = (u32)paging32_pdpt[3];
    paging32_pae[3][0] = (u64)paging32_pae_table | 3;
    paging32_pae_table[0] = first | 3;
    paging32_pae_table[1] = second | 3 | BIT(63);
    paging32_pae_table[2] = second | 3;
    paging32_frames[0][0] = 0x11111111;
    paging32_frames[0][1] = 0x5555;
    paging32_frames[1][0] = 0x22222222;
}

/* Where QEMU's CPU is not exact; what makes it fail is not even tried there. */
#define LAX (BIT(12) | BIT(25))
/* Intel's CPUs load the PDPTEs with CR3 (SDM 3A 4.4.1).  AMD's, with nested paging, walk them like
 * any other table (APM 2, 15.25.10): a change may be seen at once, reserved bits when they are
 * used. */
#define WALKS BIT(21)
#define PDPTE_RESULT 18
static const struct {
    u32 value;
    const char *what;
} wanted[] = {
    {13, "CR4.LA57 without paging"},
    {0x11111111, "first frame by 32-bit paging"},
    {14, "absent page"},
    {0, "its error code"},
    {0xc0002000, "its CR2"},
    {14, "write to a read-only page"},
    {3, "its error code"},
    {0x20, "accessed and dirty after a read"},
    {0x60, "accessed and dirty after a write"},
    {0x1234, "what was written"},
    {0x22222222, "second frame after INVLPG"},
    {14, "reserved bit of a 4 MiB page"},
    {9, "its error code"},
    {13, "PAE paging with a bad PDPTE"},
    {0, "CR0.PG after it"},
    {0x11111111, "first frame by PAE paging"},
    {14, "execution of an NX page"},
    {0x11, "its error code"},
    {0x1234, "a PDPTE changed in memory alone"}, /* PDPTE_RESULT */
    {14, "absent PDPTE after CR3 was loaded"},
    {0, "its error code"},
    {13, "CR3 with a bad PDPTE"},
    {0x11111111, "memory after it"},
    {0x1234, "mapped again"},
    {14, "address too wide"},
    {9, "its error code"},
    {13, "CR4.LA57 with PAE paging"},
    {13, "EFER.LME under paging"},
};

void guest_main(void)
{
    if (cpuid(7, 0).ecx & BIT(16)) {
        print("five levels are offered\n");
        return;
    }
    paging32_tcg = guest_is_tcg();
    paging32_walks = paging32_tcg || cpuid(0, 0).ebx == CPUID_AUTH;
    set_gate32(VECTOR_UD, p32_ud);
    set_gate32(VECTOR_GP, p32_gp);
    set_gate32(VECTOR_PF, p32_pf);
    for (unsigned round = 0; round < 3; round++) {
        make_tables();
        for (unsigned i = 0; i < RESULTS; i++)
            paging32_results[i] = 0xdead;
        paging32_run();
        if (paging32_walks && paging32_results[PDPTE_RESULT] == VECTOR_PF)
            paging32_results[PDPTE_RESULT] = wanted[PDPTE_RESULT].value;
        for (unsigned i = 0; i < ARRAY_LEN(wanted); i++)
            check(paging32_results[i] == wanted[i].value || (LAX >> i & paging32_tcg) ||
                      (WALKS >> i & paging32_walks),
                  "result %u: %s is %x, not %x", i, wanted[i].what, paging32_results[i],
                  wanted[i].value);
        check_fault(VECTOR_UD, "ud2", :); /* and all is as before */
    }
}
