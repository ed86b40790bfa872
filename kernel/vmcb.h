/* The virtual machine control block of AMD-V: layout, intercept bits, exit codes (AMD APM volume 2,
 * 24593 rev. 3.42, appendices B and C). */
#pragma once

#include "kernel/abi/exit_class.h"
#include "kernel/abi/types.h"

/* vmcb.intercept[]: words 0 to 5 of the control area.  X3, X4: words 3 and 4. */
enum vmcb_intercept_word {
    VMCB_CR,        /* reads 0..15, writes 16..31 */
    VMCB_DR,        /* reads 0..15, writes 16..31 */
    VMCB_EXCEPTION, /* by vector */
    VMCB_X3,
    VMCB_X4,
    VMCB_X5,
    VMCB_INTERCEPT_WORDS
};
#define VMCB_CR_WRITE(n) (u32) BIT(16 + (n))
#define X3_INTR (u32) BIT(0)
#define X3_NMI (u32) BIT(1)
#define X3_SMI (u32) BIT(2)
#define X3_INIT (u32) BIT(3)
#define X3_VINTR (u32) BIT(4)
#define X3_RDPMC (u32) BIT(15)
#define X3_CPUID (u32) BIT(18)
#define X3_RSM (u32) BIT(19)
#define X3_IRET (u32) BIT(20)
#define X3_INVD (u32) BIT(22)
#define X3_PAUSE (u32) BIT(23)
#define X3_HLT (u32) BIT(24)
#define X3_INVLPGA (u32) BIT(26)
#define X3_IO (u32) BIT(27)
#define X3_MSR (u32) BIT(28)
#define X3_FERR_FREEZE (u32) BIT(30)
#define X3_SHUTDOWN (u32) BIT(31)
#define X4_VMRUN (u32) BIT(0)
#define X4_VMMCALL (u32) BIT(1)
#define X4_VMLOAD (u32) BIT(2)
#define X4_VMSAVE (u32) BIT(3)
#define X4_STGI (u32) BIT(4)
#define X4_CLGI (u32) BIT(5)
#define X4_SKINIT (u32) BIT(6)
#define X4_WBINVD (u32) BIT(9)
#define X4_MONITOR (u32) BIT(10)
#define X4_MWAIT (u32) BIT(11)
#define X4_MWAIT_ARMED (u32) BIT(12)
#define X4_XSETBV (u32) BIT(13)
#define X4_RDPRU (u32) BIT(14)

/* vmcb.int_ctl */
#define INT_CTL_TPR BITS(3, 0) /* of the 8-bit field only what is CR8 */
#define INT_CTL_IRQ BIT(8)
#define INT_CTL_PRIORITY BITS(19, 16)
#define INT_CTL_IGNORE_TPR BIT(20)
#define INT_CTL_MASKING BIT(24)
#define INT_CTL_VECTOR BITS(39, 32)
/* vmcb.int_state */
#define INT_STATE_SHADOW BIT(0)
/* vmcb.nested */
#define NESTED_ENABLE BIT(0)
/* vmcb.tlb_control */
#define TLB_FLUSH_ALL 1

/* vmcb.clean: groups that are as the CPU left them; a cleared bit makes it read the group again. */
#define CLEAN_INTERCEPTS (u32) BIT(0) /* intercepts, TSC offset, PAUSE filter */
#define CLEAN_ASID (u32) BIT(2)
#define CLEAN_INT (u32) BIT(3) /* int_ctl, int_vector */
#define CLEAN_CR (u32) BIT(5)  /* CR0, CR3, CR4, EFER */
#define CLEAN_DR (u32) BIT(6)  /* DR6, DR7 */
#define CLEAN_SEG (u32) BIT(8) /* CS, DS, SS, ES, CPL */
#define CLEAN_CR2 (u32) BIT(9)
#define CLEAN_ALL (u32) BITS(9, 0)

/* vmcb.event_inj and exit_int_info */
#define EVENT_VECTOR BITS(7, 0)
#define EVENT_TYPE BITS(10, 8)
#define EVENT_HAS_ERROR BIT(11)
#define EVENT_VALID BIT(31)
enum vmcb_event { EVENT_INTR = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFT = 4 };
#define VMCB_EVENT(type, vector) (EVENT_VALID | FIELD_PUT(EVENT_TYPE, (type)) | (u8)(vector))

struct vmcb_segment {
    u16 selector;
    u16 attrib; /* descriptor bits 55:52 and 47:40 */
    u32 limit;
    u64 base;
};

struct vmcb {
    u32 intercept[VMCB_INTERCEPT_WORDS];
    u8 reserved0[0x3c - 0x18];
    u16 pause_threshold;
    u16 pause_count;
    u64 iopm; /* physical addresses of the permission maps */
    u64 msrpm;
    u64 tsc_offset;
    u32 asid;
    u32 tlb_control;
    u64 int_ctl; /* and int_vector */
    u64 int_state;
    u64 exit_code;
    u64 exit_info1;
    u64 exit_info2;
    u64 exit_int_info;
    u64 nested;
    u8 reserved1[0xa8 - 0x98];
    u64 event_inj;
    u64 nested_cr3;
    u64 lbr_control;
    u32 clean;
    u32 reserved2;
    u64 next_rip;
    u8 fetched; /* decode assists */
    u8 fetched_bytes[15];
    u8 reserved3[0x400 - 0xe0];

    /* State save area. */
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    u8 reserved4[0x4cb - 0x4a0];
    u8 cpl;
    u32 reserved5;
    u64 efer;
    u8 reserved6[0x548 - 0x4d8];
    u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
    u8 reserved7[0x5d8 - 0x580];
    u64 rsp;
    u8 reserved8[0x5f8 - 0x5e0];
    u64 rax;
    u64 star, lstar, cstar, sfmask, kernel_gs_base;
    u64 sysenter_cs, sysenter_esp, sysenter_eip;
    u64 cr2;
    u8 reserved9[0x668 - 0x648];
    u64 pat;
    u8 reserved10[0x1000 - 0x670];
};

#define VMCB_AT(member, offset)                                                                    \
    _Static_assert(offsetof(struct vmcb, member) == (offset), "APM 2, appendix B")
VMCB_AT(event_inj, 0xa8);
VMCB_AT(cpl, 0x4cb);
VMCB_AT(cr4, 0x548);
VMCB_AT(rax, 0x5f8);
VMCB_AT(pat, 0x668);
_Static_assert(sizeof(struct vmcb) == PAGE_SIZE, "one page");

/* Exit codes, APM 2 appendix C, beside those that only the table in svm_exit.c has. */
#define SVM_EXIT_CPUID 0x72
#define SVM_EXIT_MSR 0x7c
#define SVM_EXIT_VMMCALL 0x81
#define SVM_EXIT_NPF 0x400

/* EXITINFO1 of SVM_EXIT_IO, APM 2 figure 15-2; EXITINFO2 is the next RIP. */
#define IO_INFO_IN BIT(0)
#define IO_INFO_STRING BIT(2)
#define IO_INFO_REP BIT(3)
#define IO_INFO_SIZE BITS(6, 4) /* bytes */
#define IO_INFO_PORT BITS(31, 16)
/* EXITINFO1 of SVM_EXIT_NPF: a page-fault error code, and what was being accessed. */
#define NPF_WRITE BIT(1)
#define NPF_FETCH BIT(4)
#define NPF_WALK BIT(33) /* the guest's own page tables */
/* EXITINFO1 of a CR write with decode assists. */
#define CR_INFO_MOV BIT(63)
#define CR_INFO_REG BITS(3, 0)
