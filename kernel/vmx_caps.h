/* Which VT-x controls and features are used on this machine: a pure function of capability MSRs.
 *
 * vmx.c reads the MSRs; unit tests replay recorded ones.  SDM 3D appendix A. */
#ifndef BULKHEAD_KERNEL_VMX_CAPS_H
#define BULKHEAD_KERNEL_VMX_CAPS_H

#include "kernel/abi/host_info.h"
#include "kernel/abi/types.h"

/* SDM 3C tables 25-5, 25-6, 25-7, 25-13, 25-15. */
#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI BIT(3)
#define PIN_VIRTUAL_NMI BIT(5)
#define PIN_PREEMPTION_TIMER BIT(6)
#define PIN_POSTED_INTERRUPTS BIT(7)
#define PROC_INTERRUPT_WINDOW BIT(2)
#define PROC_TSC_OFFSET BIT(3)
#define PROC_HLT BIT(7)
#define PROC_INVLPG BIT(9)
#define PROC_MWAIT BIT(10)
#define PROC_RDPMC BIT(11)
#define PROC_CR3_LOAD BIT(15)
#define PROC_CR3_STORE BIT(16)
#define PROC_CR8_LOAD BIT(19)
#define PROC_CR8_STORE BIT(20)
#define PROC_TPR_SHADOW BIT(21)
#define PROC_NMI_WINDOW BIT(22)
#define PROC_MOV_DR BIT(23)
#define PROC_IO BIT(24)
#define PROC_MSR_BITMAPS BIT(28)
#define PROC_MONITOR BIT(29)
#define PROC_SECONDARY BIT(31)
#define PROC2_APIC_ACCESS BIT(0)
#define PROC2_EPT BIT(1)
#define PROC2_RDTSCP BIT(3)
#define PROC2_X2APIC BIT(4)
#define PROC2_VPID BIT(5)
#define PROC2_WBINVD BIT(6)
#define PROC2_UNRESTRICTED BIT(7)
#define PROC2_APIC_REGISTERS BIT(8)
#define PROC2_VIRTUAL_DELIVERY BIT(9)
#define PROC2_PAUSE_LOOP BIT(10)
#define PROC2_INVPCID BIT(12)
#define EXIT_SAVE_DEBUG BIT(2)
#define EXIT_HOST_64 BIT(9)
#define EXIT_ACK_INTERRUPT BIT(15)
#define EXIT_SAVE_PAT BIT(18)
#define EXIT_LOAD_PAT BIT(19)
#define EXIT_SAVE_EFER BIT(20)
#define EXIT_LOAD_EFER BIT(21)
#define EXIT_SAVE_TIMER BIT(22)
#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_IA32E BIT(9)
#define ENTRY_LOAD_PAT BIT(14)
#define ENTRY_LOAD_EFER BIT(15)

#define EPT_CAP_WALK_4 BIT(6)
#define EPT_CAP_WB BIT(14)
#define EPT_CAP_2M BIT(16)
#define EPT_CAP_1G BIT(17)
#define EPT_CAP_INVEPT BIT(20)
#define EPT_CAP_INVEPT_SINGLE BIT(25)
#define EPT_CAP_INVEPT_ALL BIT(26)
#define VPID_CAP_INVVPID BIT(32)
#define VPID_CAP_SINGLE BIT(41)
#define VPID_CAP_ALL BIT(42)
#define VMX_MISC_TIMER_SHIFT BITS(4, 0)
#define VMX_MISC_STORES_LMA BIT(5)
#define VMX_BASIC_REVISION BITS(30, 0)
#define VMX_BASIC_SIZE BITS(44, 32)
#define VMX_BASIC_WRITE_BACK BITS(52, 51) /* memory type of a VMCS: 6 */
#define VMX_BASIC_INSN_INFO BIT(54)       /* INS/OUTS exits tell segment and address size */
#define VMX_BASIC_TRUE BIT(55)

struct vmx_msrs { /* raw capability MSRs of one CPU; absent ones are 0 */
    u64 word[VMX_WORDS];
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
};

struct vmx_caps {
    u64 word[VMX_WORDS]; /* controls: the value to write; others: bits in use */
    bool apicv;      /* APIC-register virtualisation and virtual-interrupt delivery, both modes */
    u32 timer_shift; /* the preemption timer counts TSC >> this */
    u32 revision;    /* VMCS revision identifier */
    u64 cr0_must, cr0_may; /* guest CR0: with unrestricted guest, so PE and PG are free */
    u64 cr4_must, cr4_may;
    bool insn_info;
};

/* Solve.  used, lacking: as in host_info.  False: no guests. */
bool vmx_caps_solve(const struct vmx_msrs *m, struct vmx_caps *out, u64 used[VMX_WORDS],
                    u64 lacking[VMX_WORDS]);
/* May a CPU with these MSRs run what was solved on the boot CPU? */
bool vmx_caps_fit(const struct vmx_caps *c, const struct vmx_msrs *m);

/* IA32_FEATURE_CONTROL, SDM 3C 24.7. */
enum vmx_feature_control { FEATURE_CONTROL_USABLE, FEATURE_CONTROL_LOCK, FEATURE_CONTROL_OFF };
#define FEATURE_CONTROL_LOCKED BIT(0)
#define FEATURE_CONTROL_VMXON BIT(2) /* VMX outside SMX */
/* present: the MSR can be read.  LOCK: write LOCKED | VMXON. */
enum vmx_feature_control vmx_feature_control(bool present, u64 value);

#endif
