/* Guest registers in the VMCS: single ones for exits, all of them for the control partition. */
#pragma once

#include "kernel/vmx.h"

u64 vmx_get(struct vcpu *v, enum hvm_reg r);
void vmx_set(struct vcpu *v, enum hvm_reg r, u64 value);
void vmx_fill_page(struct vcpu *v);            /* what every message says */
void vmx_take_page(struct vcpu *v, u64 bytes); /* ... and back: RSP; hvm.h */
void vmx_get_state(struct vcpu *v, struct vcpu_state *out);
void vmx_set_state(struct vcpu *v, const struct vcpu_state *s);
u64 vmx_guest_cr0(void); /* as the guest sees them */
u64 vmx_guest_cr4(void);
/* A guest's MOV to CR0 or CR4 that changes bits we own.  True: run the instruction again, it will
 * not exit now.  False: #GP. */
bool vmx_take_cr0(const struct vcpu *v, u64 value);
bool vmx_take_cr4(struct vcpu *v, u64 value);
void vmx_advance(void);   /* skip the instruction that exited */
void vmx_trap_step(void); /* a single-stepped instruction that we executed still traps */
