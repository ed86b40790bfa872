/* Offsets of struct members for the .S files: never linked, its assembler output is turned into
 * "#define NAME value" lines. */
#include "kernel/control.h"
#include "kernel/cpu.h"

#define OFFSET(name, type, member)                                                                 \
    asm volatile("#define " name " %c0" : : "i"(offsetof(type, member)))
#define VALUE(name, value) asm volatile("#define " name " %c0" : : "i"(value))

void asm_offsets(void);
void asm_offsets(void)
{
    OFFSET("CPU_STACK_TOP", struct cpu, stack_top);
    OFFSET("CPU_USER_RSP", struct cpu, user_rsp);
    OFFSET("CPU_GUEST_REGS", struct cpu, guest_regs);
    OFFSET("CONTROL_FRAME", struct control, frame);
    VALUE("FRAME_SIZE", sizeof(struct user_frame));
    OFFSET("FRAME_R15", struct user_frame, r15);
    OFFSET("FRAME_RAX", struct user_frame, rax);
    OFFSET("FRAME_RIP", struct user_frame, rip);
    OFFSET("FRAME_RFLAGS", struct user_frame, rflags);
    OFFSET("FRAME_RSP", struct user_frame, rsp);
}
