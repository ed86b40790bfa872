/* VT-x exit reasons, qualifications and interruption information in words C can use.
 *
 * Pure: raw words in, structs out; unit-tested on the host.  SDM 3C 28.2 and appendix C. */
#ifndef BULKHEAD_KERNEL_EXIT_DECODE_H
#define BULKHEAD_KERNEL_EXIT_DECODE_H

#include "kernel/abi/exit_class.h"
#include "kernel/abi/types.h"

/* Basic exit reasons, SDM 3D appendix C: X(name, number, class) */
#define VMX_REASONS(X)                                                                             \
    X(EXCEPTION_OR_NMI, 0, CLASS_EXCEPTION)                                                        \
    X(EXTERNAL_INTERRUPT, 1, CLASS_EXTERNAL_INTERRUPT)                                             \
    X(TRIPLE_FAULT, 2, CLASS_TRIPLE_FAULT)                                                         \
    X(INIT, 3, CLASS_OTHER)                                                                        \
    X(SIPI, 4, CLASS_OTHER)                                                                        \
    X(IO_SMI, 5, CLASS_OTHER)                                                                      \
    X(OTHER_SMI, 6, CLASS_OTHER)                                                                   \
    X(INTERRUPT_WINDOW, 7, CLASS_INTERRUPT_WINDOW)                                                 \
    X(NMI_WINDOW, 8, CLASS_NMI_WINDOW)                                                             \
    X(TASK_SWITCH, 9, CLASS_TASK_SWITCH)                                                           \
    X(CPUID, 10, CLASS_CPUID)                                                                      \
    X(GETSEC, 11, CLASS_OTHER)                                                                     \
    X(HLT, 12, CLASS_HLT)                                                                          \
    X(INVD, 13, CLASS_INVD)                                                                        \
    X(INVLPG, 14, CLASS_INVLPG)                                                                    \
    X(RDPMC, 15, CLASS_RDPMC)                                                                      \
    X(RDTSC, 16, CLASS_RDTSC)                                                                      \
    X(RSM, 17, CLASS_OTHER)                                                                        \
    X(VMCALL, 18, CLASS_HYPERCALL)                                                                 \
    X(VMCLEAR, 19, CLASS_VMX_INSN)                                                                 \
    X(VMLAUNCH, 20, CLASS_VMX_INSN)                                                                \
    X(VMPTRLD, 21, CLASS_VMX_INSN)                                                                 \
    X(VMPTRST, 22, CLASS_VMX_INSN)                                                                 \
    X(VMREAD, 23, CLASS_VMX_INSN)                                                                  \
    X(VMRESUME, 24, CLASS_VMX_INSN)                                                                \
    X(VMWRITE, 25, CLASS_VMX_INSN)                                                                 \
    X(VMXOFF, 26, CLASS_VMX_INSN)                                                                  \
    X(VMXON, 27, CLASS_VMX_INSN)                                                                   \
    X(CR_ACCESS, 28, CLASS_CR)                                                                     \
    X(MOV_DR, 29, CLASS_DR)                                                                        \
    X(IO, 30, CLASS_IO)                                                                            \
    X(RDMSR, 31, CLASS_RDMSR)                                                                      \
    X(WRMSR, 32, CLASS_WRMSR)                                                                      \
    X(ENTRY_GUEST_STATE, 33, CLASS_ENTRY_FAILED)                                                   \
    X(ENTRY_MSR_LOAD, 34, CLASS_ENTRY_FAILED)                                                      \
    X(MWAIT, 36, CLASS_MWAIT)                                                                      \
    X(MONITOR_TRAP, 37, CLASS_OTHER)                                                               \
    X(MONITOR, 39, CLASS_MWAIT)                                                                    \
    X(PAUSE, 40, CLASS_PAUSE)                                                                      \
    X(ENTRY_MACHINE_CHECK, 41, CLASS_MACHINE_CHECK)                                                \
    X(TPR_THRESHOLD, 43, CLASS_TPR_THRESHOLD)                                                      \
    X(APIC_ACCESS, 44, CLASS_APIC_ACCESS)                                                          \
    X(EOI, 45, CLASS_EOI)                                                                          \
    X(GDTR_IDTR, 46, CLASS_DESCRIPTOR)                                                             \
    X(LDTR_TR, 47, CLASS_DESCRIPTOR)                                                               \
    X(EPT_VIOLATION, 48, CLASS_EPT_VIOLATION)                                                      \
    X(EPT_MISCONFIG, 49, CLASS_EPT_MISCONFIG)                                                      \
    X(INVEPT, 50, CLASS_VMX_INSN)                                                                  \
    X(RDTSCP, 51, CLASS_RDTSC)                                                                     \
    X(PREEMPTION_TIMER, 52, CLASS_PREEMPTION_TIMER)                                                \
    X(INVVPID, 53, CLASS_VMX_INSN)                                                                 \
    X(WBINVD, 54, CLASS_WBINVD)                                                                    \
    X(XSETBV, 55, CLASS_XSETBV)                                                                    \
    X(APIC_WRITE, 56, CLASS_APIC_WRITE)                                                            \
    X(RDRAND, 57, CLASS_OTHER)                                                                     \
    X(INVPCID, 58, CLASS_OTHER)                                                                    \
    X(VMFUNC, 59, CLASS_VMX_INSN)                                                                  \
    X(ENCLS, 60, CLASS_OTHER)                                                                      \
    X(RDSEED, 61, CLASS_OTHER)                                                                     \
    X(PML_FULL, 62, CLASS_OTHER)                                                                   \
    X(XSAVES, 63, CLASS_OTHER)                                                                     \
    X(XRSTORS, 64, CLASS_OTHER)

#define VMX_REASON_ID(name, number, class) REASON_##name = (number),
enum vmx_reason { VMX_REASONS(VMX_REASON_ID) REASON_COUNT };
#undef VMX_REASON_ID

#define REASON_BASIC BITS(15, 0)
#define REASON_ENTRY_FAILED BIT(31)

const char *exit_reason_name(u32 reason); /* of the basic reason; "?" */
u32 exit_reason_class(u32 reason);        /* enum exit_class */

/* Interruption information: exit, IDT-vectoring and entry fields (SDM 3C tables 25-17, 25-19). */
#define INTR_VECTOR BITS(7, 0)
#define INTR_TYPE BITS(10, 8)
#define INTR_HAS_ERROR BIT(11)
#define INTR_NMI_UNBLOCK BIT(12) /* exit information: IRET had unblocked NMIs */
#define INTR_VALID BIT(31)
enum intr_type {
    INTR_EXTERNAL = 0,
    INTR_NMI = 2,
    INTR_EXCEPTION = 3,
    INTR_SOFT = 4,
    INTR_PRIVILEGED_SOFT = 5,
    INTR_SOFT_EXCEPTION = 6,
};
#define INTR_INFO(type, vector) ((u32)(INTR_VALID | FIELD_PUT(INTR_TYPE, (type)) | (vector)))
/* The entry field that delivers again what IDT-vectoring information says was interrupted
 * (SDM 3C 28.2.4); 0: nothing.  *needs_len: VM-entry instruction length must be set too. */
u32 exit_reinject(u32 vectoring, bool *needs_len);

struct exit_io {
    u16 port;
    u8 size; /* bytes */
    bool in, string, rep;
    u8 addr_size; /* string: bytes, 0 unknown */
};
/* insn_info_valid: VMX_BASIC bit 54. */
struct exit_io exit_decode_io(u64 qualification, u32 insn_info, bool insn_info_valid);

enum exit_cr_type { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };
struct exit_cr {
    u8 cr, type, reg; /* enum vcpu_reg */
    u16 lmsw;
};
struct exit_cr exit_decode_cr(u64 qualification);

struct exit_dr {
    u8 dr, reg;
    bool read;
};
struct exit_dr exit_decode_dr(u64 qualification);

struct exit_ept {
    bool read, write, fetch;
    bool mapped;    /* the page is there, the access not allowed */
    bool gla_valid; /* guest-linear address is known */
    bool final;     /* access to the page itself, not to a paging structure */
    bool nmi_unblock;
};
struct exit_ept exit_decode_ept(u64 qualification);

enum exit_apic_type { APIC_LINEAR_READ, APIC_LINEAR_WRITE, APIC_LINEAR_FETCH, APIC_LINEAR_EVENT };
struct exit_apic {
    u16 offset;
    u8 type; /* enum exit_apic_type, or larger */
};
struct exit_apic exit_decode_apic(u64 qualification);

#endif
