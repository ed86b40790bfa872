/* The exits a guest makes most; called by vmx_enter.S before all registers are saved. */
#pragma once

#include "kernel/abi/x86_bits.h"
#include "kernel/vmx.h"

/* What it left to do.  vmx_enter.S does the first and the last. */
enum vmx_todo {
    VMX_GO,     /* nothing: enter the guest again, unless events, timers or others want attention */
    VMX_FULL,   /* everything: the exit was not looked at */
    VMX_EVENTS, /* handled; look for events to inject */
    VMX_LEAVE,  /* handled; the vCPU waits for something */
    /* Handled and skipped an instruction that was single-stepped. */
    VMX_TRAP = RFLAGS_TF,
};
u32 vmx_fast(struct vcpu *v);
