/* What a vendor backend (VT-x in vmx*.c, AMD-V in svm*.c) supplies: the whole contract.
 *
 * Chosen once at boot; `hvm` is NULL on a machine without.  Nothing outside the backends knows a
 * VMCS or a VMCB.  Beside the functions below a backend owes:
 * - vm->npt, which vm_init makes, is what the guest's memory is; its walker is pgtab.c.  After an
 *   entry lost a permission, flush() is called on each core that may have cached it.
 * - The dirty log: the CPU sets the dirty bits of vm->npt, or vm_init sets npt.no_dirty;
 * vm_written() reads and clears them.
 * - Intercept policy: CPUID, HLT, MSRs that hardware does not switch, all ports, XSETBV, VMCALL or
 *   VMMCALL and CR4 bits that vm->policy does not allow always exit and end in exit*.c, which has
 *   the answers; exceptions of v->exceptions exit, are noted in the page and go on to the guest;
 *   instructions for virtualisation, MONITOR and MWAIT are #UD. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/vcpu.h"

/* Registers that neutral code reads and writes while the vCPU is in its exit path. */
enum hvm_reg {
    HVM_CR0, /* read-only, and so is CR4 */
    HVM_CR4,
    HVM_EFER,
    HVM_PAT,
    HVM_CPL, /* read-only */
};

enum hvm_events {
    EVENTS_NONE,
    EVENTS_DELIVER, /* the next entry delivers one */
    EVENTS_PIC,     /* an ExtINT can be taken: the PIC's vector is wanted */
};

struct hvm_ops {
    enum host_hvm kind;
    /* On each CPU, after paging and APIC are up.  Boot CPU first: it also solves capabilities and
     * fills their words in host_info, speculation controls among them. */
    enum host_problem (*cpu_enable)(struct host_info *hi);

    enum hv_status (*vm_init)(struct vm *vm); /* npt format and root, permission maps */
    void (*vm_fini)(struct vm *vm);
    /* v->block and v->xsave are there; exit_reset() follows. */
    enum hv_status (*vcpu_init)(struct vcpu *v);
    void (*vcpu_reset)(struct vcpu *v); /* controls; own core, set_state follows */

    /* Own core.  Enter the guest and handle its exits until one wants the scheduler; loads the
     * vCPU's state first if it is not the one loaded here.  Ends in sched_leave_guest(). */
    NORETURN void (*run)(struct vcpu *v);
    /* Own core: write back everything cached here so that another core may load it. */
    void (*unload)(struct vcpu *v);
    /* Own core, just before ring 3 runs (control_resume): system-call MSRs, CR2, GDT and TSS limits
     * are the host's again, the FPU is free.  Cheap when no guest ran since. */
    void (*to_user)(void);

    /* vCPU not running, on its home core or unloaded.  What the backend keeps; the rest, and the
     * check of what is set, are in exit.c: exit_get_state(), exit_set_state(). */
    void (*get_state)(struct vcpu *v, struct vcpu_state *out);
    void (*set_state)(struct vcpu *v, const struct vcpu_state *in);

    /* Own core, exit path. */
    void (*fill_page)(struct vcpu *v); /* what every message says */
    /* Before the rest of an answer is taken: load, registers of the page; the instruction at RIP,
     * of so many bytes, was done (0: was not). */
    void (*take_page)(struct vcpu *v, u64 bytes);
    void (*exception)(struct vcpu *v, u32 vector, bool has_error, u32 error);
    void (*interrupt)(struct vcpu *v, u32 vector);
    bool (*interrupts_open)(struct vcpu *v); /* one could be injected now */
    enum hvm_events (*take_events)(struct vcpu *v);
    u64 (*get)(struct vcpu *v, enum hvm_reg r);
    void (*set)(struct vcpu *v, enum hvm_reg r, u64 value);
    void (*tsc_changed)(struct vcpu *v);          /* v->msrs.tsc_offset is new */
    void (*syscall_msrs_changed)(struct vcpu *v); /* STAR, LSTAR, FMASK or TSC_AUX is new */
    void (*apic_changed)(struct vcpu *v);         /* vlapic mode or msrs.spec_live is new */

    void (*flush)(struct vm *vm); /* own core: INVEPT or ASID flush after npt lost a mapping */
};

extern const struct hvm_ops *hvm; /* NULL: none */
extern const struct hvm_ops hvm_vmx, hvm_svm;
/* The same without an indirect branch, for what is part of most exits: branches.S. */
NORETURN void hvm_run(struct vcpu *v);
void hvm_to_user(void);
void hvm_fill_page(struct vcpu *v);
void hvm_take_page(struct vcpu *v, u64 bytes);
enum hvm_events hvm_take_events(struct vcpu *v);

void hvm_detect(struct host_info *hi);      /* picks `hvm` by CPUID */
bool hvm_on_tcg(void);                      /* this machine is QEMU's own emulation */
void hvm_spare_first(struct host_info *hi); /* boot CPU, once all are up */
