/* AMD-V on each CPU: what it offers, switching it on, the permission maps; the backend's table. */
#pragma once

#include "kernel/hvm.h"
#include "kernel/vmcb.h"

#define EFER_SVME BIT(12)
#define VMCB_CS_LONG BIT(9) /* vmcb_segment.attrib */
#define VMCB_CS_BIG BIT(10)

/* Features of CPUID 8000_000AH EDX that change what the backend does. */
struct svm_caps {
    bool next_rip;       /* exits tell where the next instruction starts */
    bool decode_assists; /* CR exits name the register */
    bool clean_bits;
    bool pause_filter;
    bool rdtscp; /* TSC_AUX is there to be switched */
    bool tcg;    /* hvm_on_tcg() */
    u32 asids;   /* 1 .. asids-1 are for guests */
};
extern struct svm_caps svm_caps; /* of the boot CPU; fixed after boot */

struct svm_cpu {
    hpa_t host;          /* VMSAVE area of the host's FS, GS, TR, LDTR and system-call MSRs */
    u32 next_asid;       /* above svm_caps.asids: used up */
    u64 generation;      /* of ASIDs; 0: none given out yet */
    u64 tsc_aux;         /* in the MSR now */
    struct vcpu *loaded; /* whose debug registers and VMCB cache are here */
};
extern struct svm_cpu svm_cpus[CPU_MAX];

/* Physical addresses of the permission maps: every port and every MSR intercepted, but the MSRs
 * that VMRUN, VMLOAD and VMSAVE switch. */
extern hpa_t svm_iopm, svm_msrpm;
