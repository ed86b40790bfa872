/* Offsets of struct members for the .S files: never linked, its assembler output is turned into
 * "#define NAME value" lines. */
#include "kernel/control.h"
#include "kernel/cpu.h"
#include "kernel/vcpu.h"
#include "kernel/vmx_fast.h"

#define VALUE(name, value) asm volatile("#define " name " %c0" : : "i"(value))
#define FRAME(name, member) VALUE("FRAME_" name, offsetof(struct user_frame, member))

void asm_offsets(void);
void asm_offsets(void)
{
    VALUE("CPU_STACK_TOP", offsetof(struct cpu, stack_top));
    VALUE("CPU_GUEST_REGS", offsetof(struct cpu, guest_regs));
    VALUE("CPU_ATTENTION", offsetof(struct cpu, attention));
    VALUE("CPU_DEADLINE", offsetof(struct cpu, deadline));
    VALUE("CPU_RUNNING", offsetof(struct cpu, running));
    VALUE("VCPU_SPEC_CTRL", offsetof(struct vcpu, msrs.spec_ctrl));
    VALUE("VCPU_SPEC_LIVE", offsetof(struct vcpu, msrs.spec_live));
    VALUE("CONTROL_FRAME", offsetof(struct control, frame));
    FRAME("RBX", rbx);
    FRAME("RBP", rbp);
    FRAME("R12", r12);
    FRAME("R13", r13);
    FRAME("R14", r14);
    FRAME("R15", r15);
    FRAME("RIP", rip);
    VALUE("VMX_LEAVE", VMX_LEAVE);
    VALUE("SYSCALL_WAIT", SYS_WAIT);
}
