/* x87, SSE and AVX registers: whose they are on each CPU, and where they rest meanwhile.
 *
 * The kernel uses none of them, so they change hands only when another vCPU is about to run (XSAVE
 * area with every component it ever enabled), or when ring 3 uses one: what it serves exits with is
 * built without (FXSAVE area: SSE2 at most, and legacy SSE does not depend on XCR0, so XCR0 stays
 * the guest's; SDM 1, 13.5.2).  CR0.TS is set whenever the registers are not ring 3's, so that its
 * first use is an #NM; as host CR0 of a VMCS it is set by each VM exit.
 * All functions: own core. */
#pragma once

#include "kernel/vcpu.h"

#define FPU_AREA_SIZE PAGE_SIZE /* enough for x87, SSE, AVX, AVX-512 and PKRU */

/* Components a guest may be offered: what this CPU has and FPU_AREA_SIZE holds; 0 without XSAVE. */
extern u64 fpu_xcr0_host;

void fpu_cpu_init(void);        /* each CPU, once: CR0, CR4.OSFXSR/OSXSAVE, XCR0 */
void fpu_area_init(void *area); /* reset state: works for a vCPU's and for ring 3's area */
void fpu_load_vcpu(struct vcpu *v);
void fpu_load_user(void *area); /* #NM in ring 3; area: control.xsave */
/* Registers back to memory if `area` (v->xsave or control.xsave) is in them here: before its owner
 * may run on another core. */
void fpu_release(void *area);
/* The guest executed XSETBV and `value` was checked. */
void fpu_set_xcr0(struct vcpu *v, u64 value);
u32 fpu_area_bytes(u64 xcr0); /* CPUID DH.0 EBX for that XCR0 */
