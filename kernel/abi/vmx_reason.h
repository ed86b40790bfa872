/* Basic exit reasons of VT-x, SDM 3D appendix C: the low half of vcpu_page.hw_reason. */
#pragma once

/* X(identifier, number, name) */
#define VMX_REASONS(X)                                                                             \
    X(EXCEPTION_OR_NMI, 0, "exception or NMI")                                                     \
    X(EXTERNAL_INTERRUPT, 1, "external interrupt")                                                 \
    X(TRIPLE_FAULT, 2, "triple fault")                                                             \
    X(INIT, 3, "INIT")                                                                             \
    X(SIPI, 4, "SIPI")                                                                             \
    X(IO_SMI, 5, "I/O SMI")                                                                        \
    X(SMI, 6, "SMI")                                                                               \
    X(INTERRUPT_WINDOW, 7, "interrupt window")                                                     \
    X(NMI_WINDOW, 8, "NMI window")                                                                 \
    X(TASK_SWITCH, 9, "task switch")                                                               \
    X(CPUID, 10, "CPUID")                                                                          \
    X(GETSEC, 11, "GETSEC")                                                                        \
    X(HLT, 12, "HLT")                                                                              \
    X(INVD, 13, "INVD")                                                                            \
    X(INVLPG, 14, "INVLPG")                                                                        \
    X(RDPMC, 15, "RDPMC")                                                                          \
    X(RDTSC, 16, "RDTSC")                                                                          \
    X(RSM, 17, "RSM")                                                                              \
    X(VMCALL, 18, "VMCALL")                                                                        \
    X(VMCLEAR, 19, "VMCLEAR")                                                                      \
    X(VMLAUNCH, 20, "VMLAUNCH")                                                                    \
    X(VMPTRLD, 21, "VMPTRLD")                                                                      \
    X(VMPTRST, 22, "VMPTRST")                                                                      \
    X(VMREAD, 23, "VMREAD")                                                                        \
    X(VMRESUME, 24, "VMRESUME")                                                                    \
    X(VMWRITE, 25, "VMWRITE")                                                                      \
    X(VMXOFF, 26, "VMXOFF")                                                                        \
    X(VMXON, 27, "VMXON")                                                                          \
    X(CR_ACCESS, 28, "CR access")                                                                  \
    X(MOV_DR, 29, "MOV DR")                                                                        \
    X(IO, 30, "I/O")                                                                               \
    X(RDMSR, 31, "RDMSR")                                                                          \
    X(WRMSR, 32, "WRMSR")                                                                          \
    X(GUEST_STATE, 33, "invalid guest state")                                                      \
    X(MSR_LOADING, 34, "MSR loading")                                                              \
    X(MWAIT, 36, "MWAIT")                                                                          \
    X(MONITOR_TRAP, 37, "monitor trap")                                                            \
    X(MONITOR, 39, "MONITOR")                                                                      \
    X(PAUSE, 40, "PAUSE")                                                                          \
    X(MACHINE_CHECK, 41, "machine check")                                                          \
    X(TPR_THRESHOLD, 43, "TPR threshold")                                                          \
    X(APIC_ACCESS, 44, "APIC access")                                                              \
    X(EOI, 45, "EOI")                                                                              \
    X(GDTR_IDTR, 46, "GDTR or IDTR access")                                                        \
    X(LDTR_TR, 47, "LDTR or TR")                                                                   \
    X(EPT_VIOLATION, 48, "EPT violation")                                                          \
    X(EPT_MISCONFIG, 49, "EPT misconfig")                                                          \
    X(INVEPT, 50, "INVEPT")                                                                        \
    X(RDTSCP, 51, "RDTSCP")                                                                        \
    X(PREEMPTION_TIMER, 52, "preemption timer")                                                    \
    X(INVVPID, 53, "INVVPID")                                                                      \
    X(WBINVD, 54, "WBINVD")                                                                        \
    X(XSETBV, 55, "XSETBV")                                                                        \
    X(APIC_WRITE, 56, "APIC write")                                                                \
    X(RDRAND, 57, "RDRAND")                                                                        \
    X(INVPCID, 58, "INVPCID")                                                                      \
    X(VMFUNC, 59, "VMFUNC")                                                                        \
    X(ENCLS, 60, "ENCLS")                                                                          \
    X(RDSEED, 61, "RDSEED")                                                                        \
    X(PML_FULL, 62, "page-modification log full")                                                  \
    X(XSAVES, 63, "XSAVES")                                                                        \
    X(XRSTORS, 64, "XRSTORS")

#define VMX_REASON_ID(id, number, name) REASON_##id = (number),
enum vmx_reason { VMX_REASONS(VMX_REASON_ID) REASON_COUNT };
#undef VMX_REASON_ID
