/* VMCS fields by width (SDM 3C appendix B) and the only functions that touch them.
 *
 * The four enums keep a field from being read with the wrong width; a VMREAD or VMWRITE that fails
 * is our mistake and panics with the field's encoding.  They act on this CPU's current VMCS. */
#pragma once

#include "kernel/abi/types.h"

enum vmcs16 {
    VMCS_VPID = 0x0000,
    VMCS_GUEST_ES = 0x0800,
    VMCS_GUEST_CS = 0x0802,
    VMCS_GUEST_INTERRUPT_STATUS = 0x0810,
    VMCS_HOST_ES = 0x0c00,
    VMCS_HOST_CS = 0x0c02,
    VMCS_HOST_SS = 0x0c04,
    VMCS_HOST_DS = 0x0c06,
    VMCS_HOST_FS = 0x0c08,
    VMCS_HOST_GS = 0x0c0a,
    VMCS_HOST_TR = 0x0c0c,
};

enum vmcs64 {
    VMCS_MSR_BITMAP = 0x2004,
    VMCS_TSC_OFFSET = 0x2010,
    VMCS_VIRTUAL_APIC = 0x2012,
    VMCS_APIC_ACCESS = 0x2014,
    VMCS_EPTP = 0x201a,
    VMCS_EOI_EXIT_0 = 0x201c,
    VMCS_EXIT_GPA = 0x2400,
    VMCS_LINK_POINTER = 0x2800,
    VMCS_GUEST_DEBUGCTL = 0x2802,
    VMCS_GUEST_PAT = 0x2804,
    VMCS_GUEST_EFER = 0x2806,
    VMCS_HOST_PAT = 0x2c00,
    VMCS_HOST_EFER = 0x2c02,
};

enum vmcs32 {
    VMCS_PIN_CONTROLS = 0x4000,
    VMCS_PROC_CONTROLS = 0x4002,
    VMCS_EXCEPTION_BITMAP = 0x4004,
    VMCS_PF_ERROR_MASK = 0x4006,
    VMCS_PF_ERROR_MATCH = 0x4008,
    VMCS_CR3_TARGETS = 0x400a,
    VMCS_EXIT_CONTROLS = 0x400c,
    VMCS_EXIT_MSR_STORES = 0x400e,
    VMCS_EXIT_MSR_LOADS = 0x4010,
    VMCS_ENTRY_CONTROLS = 0x4012,
    VMCS_ENTRY_MSR_LOADS = 0x4014,
    VMCS_ENTRY_INTR_INFO = 0x4016,
    VMCS_ENTRY_ERROR = 0x4018,
    VMCS_ENTRY_INSN_LEN = 0x401a,
    VMCS_TPR_THRESHOLD = 0x401c,
    VMCS_PROC2_CONTROLS = 0x401e,
    VMCS_PLE_GAP = 0x4020,
    VMCS_PLE_WINDOW = 0x4022,
    VMCS_INSN_ERROR = 0x4400,
    VMCS_EXIT_REASON = 0x4402,
    VMCS_EXIT_INTR_INFO = 0x4404,
    VMCS_EXIT_INTR_ERROR = 0x4406,
    VMCS_VECTORING_INFO = 0x4408,
    VMCS_VECTORING_ERROR = 0x440a,
    VMCS_EXIT_INSN_LEN = 0x440c,
    VMCS_EXIT_INSN_INFO = 0x440e,
    VMCS_GUEST_ES_LIMIT = 0x4800,
    VMCS_GUEST_GDTR_LIMIT = 0x4810,
    VMCS_GUEST_IDTR_LIMIT = 0x4812,
    VMCS_GUEST_ES_ACCESS = 0x4814,
    VMCS_GUEST_CS_ACCESS = 0x4816,
    VMCS_GUEST_SS_ACCESS = 0x4818,
    VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
    VMCS_GUEST_ACTIVITY = 0x4826,
    VMCS_GUEST_SYSENTER_CS = 0x482a,
    VMCS_PREEMPTION_TIMER = 0x482e,
    VMCS_HOST_SYSENTER_CS = 0x4c00,
};

enum vmcs_nat {
    VMCS_CR0_MASK = 0x6000,
    VMCS_CR4_MASK = 0x6002,
    VMCS_CR0_SHADOW = 0x6004,
    VMCS_CR4_SHADOW = 0x6006,
    VMCS_EXIT_QUALIFICATION = 0x6400,
    VMCS_EXIT_GLA = 0x640a,
    VMCS_GUEST_CR0 = 0x6800,
    VMCS_GUEST_CR3 = 0x6802,
    VMCS_GUEST_CR4 = 0x6804,
    VMCS_GUEST_ES_BASE = 0x6806,
    VMCS_GUEST_CS_BASE = 0x6808,
    VMCS_GUEST_FS_BASE = 0x680e,
    VMCS_GUEST_GS_BASE = 0x6810,
    VMCS_GUEST_GDTR_BASE = 0x6816,
    VMCS_GUEST_IDTR_BASE = 0x6818,
    VMCS_GUEST_DR7 = 0x681a,
    VMCS_GUEST_RSP = 0x681c,
    VMCS_GUEST_RIP = 0x681e,
    VMCS_GUEST_RFLAGS = 0x6820,
    VMCS_GUEST_PENDING_DEBUG = 0x6822,
    VMCS_GUEST_SYSENTER_ESP = 0x6824,
    VMCS_GUEST_SYSENTER_EIP = 0x6826,
    VMCS_HOST_CR0 = 0x6c00,
    VMCS_HOST_CR3 = 0x6c02,
    VMCS_HOST_CR4 = 0x6c04,
    VMCS_HOST_FS_BASE = 0x6c06,
    VMCS_HOST_GS_BASE = 0x6c08,
    VMCS_HOST_TR_BASE = 0x6c0a,
    VMCS_HOST_GDTR_BASE = 0x6c0c,
    VMCS_HOST_IDTR_BASE = 0x6c0e,
    VMCS_HOST_SYSENTER_ESP = 0x6c10,
    VMCS_HOST_SYSENTER_EIP = 0x6c12,
    VMCS_HOST_RSP = 0x6c14,
    VMCS_HOST_RIP = 0x6c16,
};

/* Segment fields are two apart, in the order of enum vcpu_segment_index. */
#define VMCS_SEG(first, index) ((first) + 2 * (index))

void vmcs_failed(const char *what, u32 field) __attribute__((noreturn, cold));

static inline u64 vmread(u32 field)
{
    u64 value;
    asm goto volatile("vmread %1, %0\n\t"
                      "jbe %l[failed]"
                      : "=r"(value)
                      : "r"((u64)field)
                      : "cc"
                      : failed);
    return value;
failed:
    vmcs_failed("VMREAD", field);
}

static inline void vmwrite(u32 field, u64 value)
{
    asm goto volatile("vmwrite %1, %0\n\t"
                      "jbe %l[failed]"
                      :
                      : "r"((u64)field), "r"(value)
                      : "cc", "memory"
                      : failed);
    return;
failed:
    vmcs_failed("VMWRITE", field);
}

/* vmcs_read16(), vmcs_write16() and so on: each takes only fields of its width. */
#define VMCS_ACCESS(suffix, fields, type)                                                          \
    static inline type vmcs_read##suffix(enum fields f)                                            \
    {                                                                                              \
        return (type)vmread(f);                                                                    \
    }                                                                                              \
    static inline void vmcs_write##suffix(enum fields f, type value)                               \
    {                                                                                              \
        vmwrite(f, value);                                                                         \
    }
VMCS_ACCESS(16, vmcs16, u16)
VMCS_ACCESS(32, vmcs32, u32)
VMCS_ACCESS(64, vmcs64, u64)
VMCS_ACCESS(, vmcs_nat, u64)
#undef VMCS_ACCESS

/* Guest interruptibility state: SDM 3C table 25-3. */
#define BLOCKED_BY_STI_MOVSS BITS(1, 0)
#define BLOCKED_BY_NMI BIT(3)
#define ACCESS_DPL BITS(6, 5) /* of SS: the CPL, SDM 3C 25.4.1 */
