/* Vendor-neutral names of exits: index of vcpu_stats.exits[], printed by `vm stats`. */
#pragma once

/* X(identifier, name) */
#define EXIT_CLASSES(X)                                                                            \
    X(CLASS_EXCEPTION, "exception")                                                                \
    X(CLASS_EXTERNAL_INTERRUPT, "external-interrupt")                                              \
    X(CLASS_NMI, "nmi")                                                                            \
    X(CLASS_TRIPLE_FAULT, "triple-fault")                                                          \
    X(CLASS_INTERRUPT_WINDOW, "interrupt-window")                                                  \
    X(CLASS_NMI_WINDOW, "nmi-window")                                                              \
    X(CLASS_TASK_SWITCH, "task-switch")                                                            \
    X(CLASS_CPUID, "cpuid")                                                                        \
    X(CLASS_HLT, "hlt")                                                                            \
    X(CLASS_INVD, "invd")                                                                          \
    X(CLASS_INVLPG, "invlpg")                                                                      \
    X(CLASS_RDPMC, "rdpmc")                                                                        \
    X(CLASS_RDTSC, "rdtsc")                                                                        \
    X(CLASS_HYPERCALL, "hypercall")                                                                \
    X(CLASS_VMX_INSN, "vmx-instruction")                                                           \
    X(CLASS_CR, "cr-access")                                                                       \
    X(CLASS_DR, "dr-access")                                                                       \
    X(CLASS_IO, "io")                                                                              \
    X(CLASS_RDMSR, "rdmsr")                                                                        \
    X(CLASS_WRMSR, "wrmsr")                                                                        \
    X(CLASS_ENTRY_FAILED, "entry-failed")                                                          \
    X(CLASS_MWAIT, "mwait-monitor")                                                                \
    X(CLASS_PAUSE, "pause")                                                                        \
    X(CLASS_MACHINE_CHECK, "machine-check")                                                        \
    X(CLASS_TPR_THRESHOLD, "tpr-threshold")                                                        \
    X(CLASS_APIC_ACCESS, "apic-access")                                                            \
    X(CLASS_APIC_WRITE, "apic-write")                                                              \
    X(CLASS_EOI, "eoi-induced")                                                                    \
    X(CLASS_DESCRIPTOR, "descriptor-table")                                                        \
    X(CLASS_MMIO, "mmio")                                                                          \
    X(CLASS_EPT_VIOLATION, "ept-violation")                                                        \
    X(CLASS_EPT_MISCONFIG, "ept-misconfiguration")                                                 \
    X(CLASS_PREEMPTION_TIMER, "preemption-timer")                                                  \
    X(CLASS_WBINVD, "wbinvd")                                                                      \
    X(CLASS_XSETBV, "xsetbv")                                                                      \
    X(CLASS_OTHER, "other")

#define EXIT_CLASS_ID(id, name) id,
enum exit_class { EXIT_CLASSES(EXIT_CLASS_ID) CLASS_COUNT };
#undef EXIT_CLASS_ID
