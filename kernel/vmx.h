/* What the files of the VT-x backend share: the state of a vCPU and of a CPU, and who does what.
 *
 * vmx.c switches VT-x on and is the table of hvm.h; vmx_fast.c serves frequent exits, vmx_state.c
 * reads and writes registers; vmx_vcpu.c makes and loads VMCSs; vmx_event.c
 * injects; vmx_exit.c handles exits.  All of it runs on the vCPU's own core. */
#pragma once

#include "kernel/hvm.h"
#include "kernel/vmcs.h"
#include "kernel/vmx_caps.h"

#define VMX_NO_CPU ~0u

struct vmx_vcpu {
    hpa_t vmcs;
    u32 vpid;
    u32 cpu; /* where the VMCS is active; VMX_NO_CPU: nowhere */
    bool launched;
    bool dr_used;    /* the guest touched debug registers: they are switched */
    u32 proc, proc2; /* control words as written */
    u64 cr4_owned;   /* CR4 bits that exit when the guest changes them */

    /* Shared registers while they are not in this CPU. */
    u64 kernel_gs_base, cr2;
    u64 dr[7]; /* 0..3 and 6 */

    bool rsp_in_page; /* regs[REG_RSP] is the guest's: it may be changed by the answer */
};

struct vmx_vm {
    u64 eptp;
    hpa_t apic_access; /* page that stands for the local APIC in EPT */
};

struct vmx_cpu {         /* cpu->vendor; own core only */
    struct vcpu *loaded; /* whose VMCS is current */
    struct vcpu *guest;  /* whose STAR, LSTAR and FMASK are in the CPU: nobody else uses them */
    struct vcpu *live;   /* whose KERNEL_GS_BASE and CR2 are; NULL: the host's */
    struct vcpu *dr_owner;
    u64 tsc_aux;
};

extern struct vmx_caps vmx_caps;
extern hpa_t vmx_bitmaps[4]; /* of MSRs, the same for every VM; by: */
#define VMX_BITMAP_X2APIC 1u
#define VMX_BITMAP_SPEC 2u /* IA32_SPEC_CTRL is the guest's */

static inline struct vmx_vcpu *vmx_of(const struct vcpu *v)
{
    return v->vendor;
}
static inline struct vmx_cpu *vmx_cpu(void)
{
    _Static_assert(sizeof(struct vmx_cpu) <= sizeof(((struct cpu *)0)->vendor), "it fits");
    return (struct vmx_cpu *)this_cpu()->vendor;
}

/* vmx_enter.S: load the guest's registers and go; HOST_RIP is vmx_exit_entry. */
void vmx_launch(void) NORETURN;
void vmx_resume(void) NORETURN;
void vmx_exit_entry(void);
