/* VMCSs: made, loaded, reset, moved between CPUs; registers that guest, ring 3 and other guests
 * share. */
#pragma once

#include "kernel/vmx.h"

enum hv_status vmx_vcpu_init(struct vcpu *v);
void vmx_vcpu_reset(struct vcpu *v);
/* Make its VMCS current here; v->cpu must be this CPU.  vmx_unload() is the way back. */
void vmx_switch(struct vcpu *v);
static inline void vmx_load(struct vcpu *v)
{
    if (vmx_cpu()->loaded != v)
        vmx_switch(v);
}
void vmx_unload(struct vcpu *v);
void vmx_guest_load(struct vcpu *v);           /* shared registers become the guest's */
void vmx_guest_save(void);                     /* and those ring 3 uses the host's again */
void vmx_guest_forget(const struct vcpu *v);   /* none are v's any more */
void vmx_own_debug(struct vcpu *v);            /* debug registers become the guest's, for good */
void vmx_flush(struct vm *vm);                 /* INVEPT on this CPU */
void vmx_flush_vcpu(const struct vmx_vcpu *x); /* INVVPID on this CPU */
void vmx_set_proc(struct vmx_vcpu *x, u32 clear, u32 set); /* processor-based controls */
void vmx_write_exceptions(const struct vcpu *v);           /* v->exceptions is new */
void vmx_apic_changed(struct vcpu *v); /* the mode of its local APIC, or msrs.spec_live, is new */
