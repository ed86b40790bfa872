/* Containment: every privileged instruction there is, in ring 0.  Each does its work or raises
 * #UD or #GP; none may hurt the host.  INT1 traps. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static u8 memory[4096] __attribute__((aligned(4096)));

/* X(instruction): RAX, RCX, RDX are zero, RDI points to a zeroed page. */
#define INSTRUCTIONS(X)                                                                            \
    X("invd")                                                                                      \
    X("wbinvd")                                                                                    \
    X("invlpg (%%rdi)")                                                                            \
    X("clts")                                                                                      \
    X("rdpmc")                                                                                     \
    X("rdtscp")                                                                                    \
    X("sgdt (%%rdi)")                                                                              \
    X("sidt (%%rdi)")                                                                              \
    X("sldt (%%rdi)")                                                                              \
    X("str (%%rdi)")                                                                               \
    X("smsw (%%rdi)")                                                                              \
    X("sgdt (%%rdi); lgdt (%%rdi)")                                                                \
    X("sidt (%%rdi); lidt (%%rdi)")                                                                \
    X("lldt %%ax")                                                                                 \
    X("ltr %%ax")                                                                                  \
    X("mov %%dr0, %%rax; mov %%rax, %%dr0")                                                        \
    X("mov %%dr6, %%rax; mov %%rax, %%dr6")                                                        \
    X("mov %%dr7, %%rax; mov %%rax, %%dr7")                                                        \
    X("mov %%cr0, %%rax; mov %%rax, %%cr0")                                                        \
    X("mov %%cr2, %%rax; mov %%rax, %%cr2")                                                        \
    X("mov %%cr3, %%rax; mov %%rax, %%cr3")                                                        \
    X("mov %%cr4, %%rax; mov %%rax, %%cr4")                                                        \
    X("mov %%cr8, %%rax; mov %%rax, %%cr8")                                                        \
    X("swapgs; swapgs")                                                                            \
    X("rdmsr")                                                                                     \
    X("wrmsr")                                                                                     \
    X("mov $0x1b, %%ecx; rdmsr; wrmsr")                                                            \
    X("mov $0x3a, %%ecx; rdmsr")                                                                   \
    X("mov $0x480, %%ecx; rdmsr")                                                                  \
    X("mov $0x79, %%ecx; wrmsr")                                                                   \
    X("xsetbv")                                                                                    \
    X("xgetbv")                                                                                    \
    X("xsaves (%%rdi)")                                                                            \
    X("xrstors (%%rdi)")                                                                           \
    X("monitor")                                                                                   \
    X("mwait")                                                                                     \
    X("invpcid (%%rdi), %%rax")                                                                    \
    X("stac; clac")                                                                                \
    X("rdfsbase %%rax")                                                                            \
    X("wrpkru")                                                                                    \
    X("rsm")                                                                                       \
    X("getsec")                                                                                    \
    X("sysexitl")                                                                                  \
    X("vmcall")                                                                                    \
    X("vmmcall")                                                                                   \
    X("vmlaunch")                                                                                  \
    X("vmresume")                                                                                  \
    X("vmxoff")                                                                                    \
    X("vmxon (%%rdi)")                                                                             \
    X("vmclear (%%rdi)")                                                                           \
    X("vmptrld (%%rdi)")                                                                           \
    X("vmptrst (%%rdi)")                                                                           \
    X("vmread %%rax, (%%rdi)")                                                                     \
    X("vmwrite (%%rdi), %%rax")                                                                    \
    X("invept (%%rdi), %%rax")                                                                     \
    X("invvpid (%%rdi), %%rax")                                                                    \
    X("vmfunc")                                                                                    \
    X("vmrun")                                                                                     \
    X("vmload")                                                                                    \
    X("vmsave")                                                                                    \
    X("stgi")                                                                                      \
    X("clgi; stgi")                                                                                \
    X("skinit")                                                                                    \
    X("invlpga")                                                                                   \
    X("encls")                                                                                     \
    X("enclu")                                                                                     \
    X("encls; pconfig")                                                                            \
    X("rdrand %%eax")                                                                              \
    X("rdseed %%eax")                                                                              \
    X("rdpid %%rax")                                                                               \
    X("umwait %%eax")                                                                              \
    X("tpause %%eax")                                                                              \
    X("wbnoinvd")                                                                                  \
    X("cldemote (%%rdi)")                                                                          \
    X("ptwritel %%eax")                                                                            \
    X(".byte 0xf1")                                                                                \
    X("mov %%cr0, %%rax; mov %%rax, %%cr5")                                                        \
    X("lock; nop")                                                                                 \
    X("outb %%al, $0x80")                                                                          \
    X("outb %%al, $0xb2")                                                                          \
    X("insb")                                                                                      \
    X("outsb")

#define RUN(instruction)                                                                           \
    {                                                                                              \
        for (unsigned i = 0; i < 64; i++)                                                          \
            memory[i] = 0;                                                                         \
        vector = fault_of(instruction,                                                             \
                          :                                                                        \
                          : "a"(0), "c"(0), "d"(0), "D"(memory), "S"(memory)                       \
                          : "rbx", "memory", "cc");                                                \
        print("%s: %s\n", instruction,                                                             \
              vector == NO_FAULT    ? "done"                                                       \
              : vector == VECTOR_UD ? "#UD"                                                        \
              : vector == VECTOR_GP ? "#GP"                                                        \
                                    : "other");                                                    \
        check(vector == NO_FAULT || vector == VECTOR_UD || vector == VECTOR_GP ||                  \
                  vector == VECTOR_DB,                                                             \
              "%s: exception %lu", instruction, vector);                                           \
    }

void guest_main(void)
{
    u64 vector;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    guest_handlers[VECTOR_DB] = NULL;
    INSTRUCTIONS(RUN)
}
