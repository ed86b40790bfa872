/* What the files of the VT-x backend share: the state of a vCPU and of a CPU, and who does what.
 *
 * vmx.c switches VT-x on and is the table of hvm.h; vmx_vcpu.c makes and loads VMCSs; vmx_event.c
 * injects; vmx_exit.c handles exits; vmx_message.c talks to the control partition; vmx_check.c
 * explains refused entries.  All of it runs on the vCPU's own core. */
#ifndef BULKHEAD_KERNEL_VMX_H
#define BULKHEAD_KERNEL_VMX_H

#include "kernel/hvm.h"
#include "kernel/vmcs.h"
#include "kernel/vmx_caps.h"

#define VMX_NO_CPU ~0u

#define VECTOR_DB 1u
#define VECTOR_NMI 2u
#define VECTOR_UD 6u
#define VECTOR_DF 8u
#define VECTOR_GP 13u
#define VECTOR_AC 17u
#define VECTOR_MC 18u

struct vmx_vcpu {
    hpa_t vmcs;
    u32 vpid;
    u32 cpu; /* where the VMCS is active; VMX_NO_CPU: nowhere */
    bool launched;
    bool nmi_pending;
    bool dr_used;    /* the guest touched debug registers: they are switched */
    u32 activity;    /* enum vcpu_activity; the VMCS always says active */
    u32 proc, proc2; /* control words as written */
    u64 cr4_owned;   /* CR4 bits that exit when the guest changes them */

    /* Shared registers while they are not in this CPU. */
    u64 kernel_gs_base, cr2;
    u64 dr[7]; /* 0..3 and 6 */

    /* The message the control partition is answering, as it was asked. */
    u32 asked; /* enum exit_kind */
    u8 io_size;
    bool io_in;
    bool rsp_in_page; /* regs[REG_RSP] is the guest's: it may be changed by the answer */
};

struct vmx_vm {
    u64 eptp;
    u64 tsc_base;      /* host TSC that is the guests' zero */
    hpa_t apic_access; /* page that stands for the local APIC in EPT */
};

struct vmx_cpu {         /* by cpu->id; own core only */
    struct vcpu *loaded; /* whose VMCS is current */
    struct vcpu *guest;  /* whose system-call MSRs and CR2 are in the CPU; NULL: the host's */
    struct vcpu *dr_owner;
    u64 tsc_aux;
    u64 star, lstar, fmask; /* the host's */
};

extern struct vmx_caps vmx_caps;
extern struct vmx_cpu vmx_cpus[CPU_MAX];
extern hpa_t vmx_bitmap_plain, vmx_bitmap_x2apic; /* MSR bitmaps, the same for every VM */

static inline struct vmx_vcpu *vmx_of(const struct vcpu *v)
{
    return v->vendor;
}
static inline struct vmx_cpu *vmx_cpu(void)
{
    return &vmx_cpus[this_cpu()->id];
}

/* vmx.c */
void vmx_bitmaps_fill(u8 *plain, u8 *x2apic);

/* vmx_vcpu.c */
enum hv_status vmx_vcpu_init(struct vcpu *v);
void vmx_vcpu_fini(struct vcpu *v);
void vmx_vcpu_reset(struct vcpu *v, bool init);
void vmx_vcpu_startup(struct vcpu *v, u8 sipi_vector);
void vmx_load(struct vcpu *v); /* make its VMCS current here */
void vmx_unload(struct vcpu *v);
void vmx_guest_load(struct vcpu *v); /* shared registers become the guest's */
void vmx_guest_save(void);           /* and the host's again */
void vmx_own_debug(struct vcpu *v);  /* debug registers become the guest's, for good */
void vmx_flush(struct vm *vm);
void vmx_flush_vcpu(const struct vmx_vcpu *x);
void vmx_set_proc(struct vmx_vcpu *x, u32 clear, u32 set);
void vmx_apic_changed(struct vcpu *v);

/* vmx_state.c */
u64 vmx_get(struct vcpu *v, enum hvm_reg r);
void vmx_set(struct vcpu *v, enum hvm_reg r, u64 value);
void vmx_get_state(struct vcpu *v, struct vcpu_state *out);
enum hv_status vmx_set_state(struct vcpu *v, const struct vcpu_state *in);
u64 vmx_guest_cr0(void); /* as the guest sees them */
u64 vmx_guest_cr4(void);
/* A guest's MOV to CR0 or CR4 that changes bits we own.  True: run the instruction again, it will
 * not exit now.  False: #GP. */
bool vmx_take_cr0(u64 value);
bool vmx_take_cr4(struct vcpu *v, u64 value);
void vmx_advance(void); /* skip the instruction that exited */
void vmx_skip(u64 bytes);
void vmx_trap_step(void); /* a single-stepped instruction that we executed still traps */

/* vmx_event.c */
void vmx_exception(struct vcpu *v, u32 vector, bool has_error, u32 error);
void vmx_fault(u32 vector); /* with error code 0, at an exit that cut no event short */
void vmx_inject(struct vcpu *v, u32 info, u32 error);
void vmx_reinject(struct vcpu *v, u32 vectoring); /* an event was cut short by this exit */
/* Take requests and events; false: it must not run now. */
bool vmx_prepare(struct vcpu *v);

/* vmx_fast.c: what it left to do.  vmx_enter.S knows the first. */
enum vmx_todo {
    VMX_GO,     /* nothing: enter the guest again, unless events, timers or others want attention */
    VMX_FULL,   /* everything: the exit was not looked at */
    VMX_EVENTS, /* handled; look for events to inject */
    VMX_TRAP,   /* handled and skipped an instruction that was single-stepped */
    VMX_LEAVE,  /* handled; the vCPU waits for something */
};
u32 vmx_fast(struct vcpu *v);

/* vmx_exit.c; vmx_enter.S calls the first two */
void vmx_exit(struct cpu *c, struct vcpu *v, u32 todo);
void vmx_entry_refused(struct cpu *c, struct vcpu *v) NORETURN;
void vmx_run(struct vcpu *v) NORETURN;

/* vmx_message.c */
void vmx_fill_page(struct vcpu *v);
void vmx_stop(struct vcpu *v, enum exit_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);
void vmx_complete_exit(struct vcpu *v);

/* vmx_enter.S: load the guest's registers and go; HOST_RIP is vmx_exit_entry. */
void vmx_launch(void) NORETURN;
void vmx_resume(void) NORETURN;
void vmx_exit_entry(void);

/* vmx_check.c: the first guest-state check (SDM 3C 27.3) that the current VMCS fails, into text. */
void vmx_check(char *text, u64 len);

#endif
