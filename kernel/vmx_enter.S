/* In and out of a guest: the only assembly of the exit path.  IF=0 throughout.
 *
 * HOST_RSP is the CPU's stack top: an exit always starts on an empty stack, so that handlers may end
 * in the scheduler.  cpu->guest_regs is regs[] of the vCPU's page in the order of enum vcpu_reg;
 * RSP is not in it while the guest runs, the VMCS has it.
 *
 * Frequent exits are served by vmx_fast() before all registers are saved: as a C function it gives
 * back RBX, RBP and R12 to R15 as it found them.  RBX is saved because CPUID changes it, RBP because
 * a backtrace must never follow the guest's. */
#include "kernel/asm_offsets.h"

#define REG(n) (8 * (n))(%rax)

.macro load_scratch                 /* all but RAX that C may change, and what vmx_fast() does */
    mov REG(1), %rcx ; mov REG(2), %rdx ; mov REG(3), %rbx
    mov REG(5), %rbp ; mov REG(6), %rsi ; mov REG(7), %rdi
    .irp n, 8, 9, 10, 11
    mov REG(\n), %r\n
    .endr
.endm

    .section .text
    .globl vmx_launch
vmx_launch:
    mov $1, %r14d
    jmp 1f
    .globl vmx_resume
vmx_resume:
    xor %r14d, %r14d
1:  mov %gs:CPU_STACK_TOP, %rsp
    .globl vmx_guard_slow
vmx_guard_slow:                     /* five bytes, patched by speculation.c */
    .byte 0x0f, 0x1f, 0x44, 0, 0    /* NOP */
    mov %gs:CPU_GUEST_REGS, %rax
    test %r14d, %r14d               /* survives in ZF: MOV changes no flags */
    load_scratch
    .irp n, 12, 13, 14, 15
    mov REG(\n), %r\n
    .endr
    mov (%rax), %rax
    jnz 2f
    vmresume
    jmp refused
2:  vmlaunch
    jmp refused

    .balign 64
    .globl vmx_exit_entry
vmx_exit_entry:
    push %rax
    mov %gs:CPU_GUEST_REGS, %rax
    mov %rcx, REG(1) ; mov %rdx, REG(2) ; mov %rbx, REG(3)
    mov %rbp, REG(5) ; mov %rsi, REG(6) ; mov %rdi, REG(7)
    .irp n, 8, 9, 10, 11
    mov %r\n, REG(\n)
    .endr
    pop (%rax)
    xor %ebp, %ebp                  /* backtraces end here */
    mov %gs:CPU_RUNNING, %rdi       /* struct vcpu */
    call vmx_fast
    test %eax, %eax
    jnz slow
    rdtsc                           /* VMX_GO, if neither time nor anybody is against it */
    shl $32, %rdx
    or %rdx, %rax
    cmp %gs:CPU_DEADLINE, %rax
    jae settle
    cmpq $0, %gs:CPU_ATTENTION
    jne settle
    .globl vmx_guard_fast
vmx_guard_fast:                     /* likewise */
    .byte 0x0f, 0x1f, 0x44, 0, 0    /* NOP */
    mov %gs:CPU_GUEST_REGS, %rax
    load_scratch
    mov (%rax), %rax
    vmresume
    jmp refused

settle:
    xor %eax, %eax
slow:
    mov %eax, %edx                  /* enum vmx_todo */
    mov %gs:CPU_GUEST_REGS, %rax
    .irp n, 12, 13, 14, 15
    mov %r\n, REG(\n)
    .endr
    /* Nothing of the guest's reaches C, not even speculatively. */
    .irp r, ebx, ecx, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
    xor %\r, %\r
    .endr
    mov %gs:CPU_RUNNING, %rdi
    cmp $VMX_LEAVE, %edx
    jne 1f
    call sched_leave_guest
1:  mov %rdi, %rsi
    mov %gs:0, %rdi
    call vmx_exit
    jmp vmx_resume

refused:                            /* VMfail: the guest did not start */
    xor %ebp, %ebp
    mov %gs:CPU_STACK_TOP, %rsp
    mov %gs:0, %rdi
    mov %gs:CPU_RUNNING, %rsi
    call vmx_entry_refused
    ud2
