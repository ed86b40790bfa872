/* VMCS fields by width (SDM 3C appendix B) and the only functions that touch them.
 *
 * The four enums keep a field from being read with the wrong width; a VMREAD or VMWRITE that fails
 * is our mistake and panics with the field's name.  They act on this CPU's current VMCS. */
#ifndef BULKHEAD_KERNEL_VMCS_H
#define BULKHEAD_KERNEL_VMCS_H

#include "kernel/abi/types.h"

/* X(name, encoding) */
#define VMCS_FIELDS_16(X)                                                                          \
    X(VPID, 0x0000)                                                                                \
    X(GUEST_ES, 0x0800)                                                                            \
    X(GUEST_CS, 0x0802)                                                                            \
    X(GUEST_SS, 0x0804)                                                                            \
    X(GUEST_DS, 0x0806)                                                                            \
    X(GUEST_FS, 0x0808)                                                                            \
    X(GUEST_GS, 0x080a)                                                                            \
    X(GUEST_LDTR, 0x080c)                                                                          \
    X(GUEST_TR, 0x080e)                                                                            \
    X(GUEST_INTERRUPT_STATUS, 0x0810)                                                              \
    X(HOST_ES, 0x0c00)                                                                             \
    X(HOST_CS, 0x0c02)                                                                             \
    X(HOST_SS, 0x0c04)                                                                             \
    X(HOST_DS, 0x0c06)                                                                             \
    X(HOST_FS, 0x0c08)                                                                             \
    X(HOST_GS, 0x0c0a)                                                                             \
    X(HOST_TR, 0x0c0c)

#define VMCS_FIELDS_64(X)                                                                          \
    X(MSR_BITMAP, 0x2004)                                                                          \
    X(TSC_OFFSET, 0x2010)                                                                          \
    X(VIRTUAL_APIC, 0x2012)                                                                        \
    X(APIC_ACCESS, 0x2014)                                                                         \
    X(EPTP, 0x201a)                                                                                \
    X(EOI_EXIT_0, 0x201c)                                                                          \
    X(EXIT_GPA, 0x2400)                                                                            \
    X(LINK_POINTER, 0x2800)                                                                        \
    X(GUEST_DEBUGCTL, 0x2802)                                                                      \
    X(GUEST_PAT, 0x2804)                                                                           \
    X(GUEST_EFER, 0x2806)                                                                          \
    X(HOST_PAT, 0x2c00)                                                                            \
    X(HOST_EFER, 0x2c02)

#define VMCS_FIELDS_32(X)                                                                          \
    X(PIN_CONTROLS, 0x4000)                                                                        \
    X(PROC_CONTROLS, 0x4002)                                                                       \
    X(EXCEPTION_BITMAP, 0x4004)                                                                    \
    X(PF_ERROR_MASK, 0x4006)                                                                       \
    X(PF_ERROR_MATCH, 0x4008)                                                                      \
    X(CR3_TARGETS, 0x400a)                                                                         \
    X(EXIT_CONTROLS, 0x400c)                                                                       \
    X(EXIT_MSR_STORES, 0x400e)                                                                     \
    X(EXIT_MSR_LOADS, 0x4010)                                                                      \
    X(ENTRY_CONTROLS, 0x4012)                                                                      \
    X(ENTRY_MSR_LOADS, 0x4014)                                                                     \
    X(ENTRY_INTR_INFO, 0x4016)                                                                     \
    X(ENTRY_ERROR, 0x4018)                                                                         \
    X(ENTRY_INSN_LEN, 0x401a)                                                                      \
    X(TPR_THRESHOLD, 0x401c)                                                                       \
    X(PROC2_CONTROLS, 0x401e)                                                                      \
    X(PLE_GAP, 0x4020)                                                                             \
    X(PLE_WINDOW, 0x4022)                                                                          \
    X(INSN_ERROR, 0x4400)                                                                          \
    X(EXIT_REASON, 0x4402)                                                                         \
    X(EXIT_INTR_INFO, 0x4404)                                                                      \
    X(EXIT_INTR_ERROR, 0x4406)                                                                     \
    X(VECTORING_INFO, 0x4408)                                                                      \
    X(VECTORING_ERROR, 0x440a)                                                                     \
    X(EXIT_INSN_LEN, 0x440c)                                                                       \
    X(EXIT_INSN_INFO, 0x440e)                                                                      \
    X(GUEST_ES_LIMIT, 0x4800)                                                                      \
    X(GUEST_CS_LIMIT, 0x4802)                                                                      \
    X(GUEST_SS_LIMIT, 0x4804)                                                                      \
    X(GUEST_DS_LIMIT, 0x4806)                                                                      \
    X(GUEST_FS_LIMIT, 0x4808)                                                                      \
    X(GUEST_GS_LIMIT, 0x480a)                                                                      \
    X(GUEST_LDTR_LIMIT, 0x480c)                                                                    \
    X(GUEST_TR_LIMIT, 0x480e)                                                                      \
    X(GUEST_GDTR_LIMIT, 0x4810)                                                                    \
    X(GUEST_IDTR_LIMIT, 0x4812)                                                                    \
    X(GUEST_ES_ACCESS, 0x4814)                                                                     \
    X(GUEST_CS_ACCESS, 0x4816)                                                                     \
    X(GUEST_SS_ACCESS, 0x4818)                                                                     \
    X(GUEST_DS_ACCESS, 0x481a)                                                                     \
    X(GUEST_FS_ACCESS, 0x481c)                                                                     \
    X(GUEST_GS_ACCESS, 0x481e)                                                                     \
    X(GUEST_LDTR_ACCESS, 0x4820)                                                                   \
    X(GUEST_TR_ACCESS, 0x4822)                                                                     \
    X(GUEST_INTERRUPTIBILITY, 0x4824)                                                              \
    X(GUEST_ACTIVITY, 0x4826)                                                                      \
    X(GUEST_SYSENTER_CS, 0x482a)                                                                   \
    X(PREEMPTION_TIMER, 0x482e)                                                                    \
    X(HOST_SYSENTER_CS, 0x4c00)

#define VMCS_FIELDS_NAT(X)                                                                         \
    X(CR0_MASK, 0x6000)                                                                            \
    X(CR4_MASK, 0x6002)                                                                            \
    X(CR0_SHADOW, 0x6004)                                                                          \
    X(CR4_SHADOW, 0x6006)                                                                          \
    X(EXIT_QUALIFICATION, 0x6400)                                                                  \
    X(EXIT_GLA, 0x640a)                                                                            \
    X(GUEST_CR0, 0x6800)                                                                           \
    X(GUEST_CR3, 0x6802)                                                                           \
    X(GUEST_CR4, 0x6804)                                                                           \
    X(GUEST_ES_BASE, 0x6806)                                                                       \
    X(GUEST_CS_BASE, 0x6808)                                                                       \
    X(GUEST_SS_BASE, 0x680a)                                                                       \
    X(GUEST_DS_BASE, 0x680c)                                                                       \
    X(GUEST_FS_BASE, 0x680e)                                                                       \
    X(GUEST_GS_BASE, 0x6810)                                                                       \
    X(GUEST_LDTR_BASE, 0x6812)                                                                     \
    X(GUEST_TR_BASE, 0x6814)                                                                       \
    X(GUEST_GDTR_BASE, 0x6816)                                                                     \
    X(GUEST_IDTR_BASE, 0x6818)                                                                     \
    X(GUEST_DR7, 0x681a)                                                                           \
    X(GUEST_RSP, 0x681c)                                                                           \
    X(GUEST_RIP, 0x681e)                                                                           \
    X(GUEST_RFLAGS, 0x6820)                                                                        \
    X(GUEST_PENDING_DEBUG, 0x6822)                                                                 \
    X(GUEST_SYSENTER_ESP, 0x6824)                                                                  \
    X(GUEST_SYSENTER_EIP, 0x6826)                                                                  \
    X(HOST_CR0, 0x6c00)                                                                            \
    X(HOST_CR3, 0x6c02)                                                                            \
    X(HOST_CR4, 0x6c04)                                                                            \
    X(HOST_FS_BASE, 0x6c06)                                                                        \
    X(HOST_GS_BASE, 0x6c08)                                                                        \
    X(HOST_TR_BASE, 0x6c0a)                                                                        \
    X(HOST_GDTR_BASE, 0x6c0c)                                                                      \
    X(HOST_IDTR_BASE, 0x6c0e)                                                                      \
    X(HOST_SYSENTER_ESP, 0x6c10)                                                                   \
    X(HOST_SYSENTER_EIP, 0x6c12)                                                                   \
    X(HOST_RSP, 0x6c14)                                                                            \
    X(HOST_RIP, 0x6c16)

#define VMCS_FIELD_ID(name, encoding) VMCS_##name = (encoding),
enum vmcs16 { VMCS_FIELDS_16(VMCS_FIELD_ID) };
enum vmcs64 { VMCS_FIELDS_64(VMCS_FIELD_ID) };
enum vmcs32 { VMCS_FIELDS_32(VMCS_FIELD_ID) };
enum vmcs_nat { VMCS_FIELDS_NAT(VMCS_FIELD_ID) };
#undef VMCS_FIELD_ID

/* Bits 14:13 of an encoding are its width (SDM 3C 25.11.2). */
#define VMCS_IN_16(name, encoding) _Static_assert((encoding) >> 13 == 0, #name);
#define VMCS_IN_64(name, encoding) _Static_assert((encoding) >> 13 == 1, #name);
#define VMCS_IN_32(name, encoding) _Static_assert((encoding) >> 13 == 2, #name);
#define VMCS_IN_NAT(name, encoding) _Static_assert((encoding) >> 13 == 3, #name);
VMCS_FIELDS_16(VMCS_IN_16)
VMCS_FIELDS_64(VMCS_IN_64)
VMCS_FIELDS_32(VMCS_IN_32)
VMCS_FIELDS_NAT(VMCS_IN_NAT)
#undef VMCS_IN_16
#undef VMCS_IN_64
#undef VMCS_IN_32
#undef VMCS_IN_NAT

/* Segment fields are two apart, in the order of enum vcpu_segment_index. */
#define VMCS_SEG(first, index) ((first) + 2 * (index))

const char *vmcs_field_name(u32 field); /* "GUEST_CR0", or "?" */
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

#endif
