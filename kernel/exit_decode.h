/* VT-x exit reasons, qualifications and interruption information in words C can use.
 *
 * Pure: raw words in, structs out; unit-tested on the host.  SDM 3C 28.2 and appendix C. */
#pragma once

#include "kernel/abi/exit_class.h"
#include "kernel/abi/vmx_reason.h"
#include "kernel/exit.h"

#define REASON_ENTRY_FAILED BIT(31)

/* Interruption information: exit, IDT-vectoring and entry fields (SDM 3C tables 25-17, 25-19). */
#define INTR_VECTOR BITS(7, 0)
#define INTR_TYPE BITS(10, 8)
#define INTR_HAS_ERROR BIT(11)
#define INTR_NMI_UNBLOCK BIT(12) /* exit information: IRET had unblocked NMIs */
#define INTR_VALID BIT(31)
enum intr_type {
    INTR_EXTERNAL = 0,
    INTR_NMI = 2,
    INTR_EXCEPTION = 3,
    INTR_SOFT = 4,
    INTR_PRIVILEGED_SOFT = 5,
    INTR_SOFT_EXCEPTION = 6,
};
#define INTR_INFO(type, vector) ((u32)(INTR_VALID | FIELD_PUT(INTR_TYPE, (type)) | (vector)))
/* What becomes of an exception raised while the event `first` (an entry field) was delivered:
 * itself, #DF, or a triple fault (SDM 3A table 6-5). */
#define EXCEPTION_SHUTDOWN 0x100u
#define CONTRIBUTORY (BIT(0) | BITS(13, 10) | BIT(21)) /* #DE, #TS, #NP, #SS, #GP, #CP */
#define PAGE_FAULT (BIT(14) | BIT(20))                 /* #PF, #VE */
#define DOUBLE_FAULT 8u

static inline u32 exit_second_exception(u32 first, u32 vector)
{
    u64 second = BIT(vector & 31), one = 0;

    if ((first & INTR_VALID) && FIELD_GET(INTR_TYPE, first) == INTR_EXCEPTION)
        one = BIT(first & 31);
    if ((one & BIT(DOUBLE_FAULT)) && (second & (CONTRIBUTORY | PAGE_FAULT)))
        return EXCEPTION_SHUTDOWN;
    if (((one & CONTRIBUTORY) && (second & CONTRIBUTORY)) ||
        ((one & PAGE_FAULT) && (second & (CONTRIBUTORY | PAGE_FAULT))))
        return DOUBLE_FAULT;
    return vector;
}

/* Exit qualification of I/O instructions: SDM 3C table 28-5. */
#define IOQ_SIZE BITS(2, 0) /* bytes - 1 */
#define IOQ_IN BIT(3)
#define IOQ_STRING BIT(4)
#define IOQ_REP BIT(5)
#define IOQ_PORT BITS(31, 16)
#define IO_INFO_ADDRESS_SIZE BITS(9, 7) /* instruction information: SDM 3C table 28-9 */

/* insn_info_valid: VMX_BASIC bit 54. */
static inline struct exit_io exit_decode_io(u64 q, u32 insn_info, bool insn_info_valid)
{
    return (struct exit_io){
        .port = (u16)FIELD_GET(IOQ_PORT, q),
        .size = (u8)(FIELD_GET(IOQ_SIZE, q) + 1),
        .in = q & IOQ_IN,
        .string = q & IOQ_STRING,
        .rep = q & IOQ_REP,
        .addr_size = q & IOQ_STRING && insn_info_valid
                         ? (u8)(2u << FIELD_GET(IO_INFO_ADDRESS_SIZE, insn_info))
                         : 0,
    };
}

/* Of control-register accesses: SDM 3C table 28-3. */
#define CRQ_CR BITS(3, 0)
#define CRQ_TYPE BITS(5, 4)
#define CRQ_REG BITS(11, 8) /* enum vcpu_reg */
enum exit_cr_type { CR_MOV_TO, CR_MOV_FROM };
/* Of EPT violations: SDM 3C table 28-7. */
#define EPTQ_WRITE BIT(1)
#define EPTQ_FETCH BIT(2)
#define EPTQ_GLA_VALID BIT(7)
#define EPTQ_FINAL BIT(8) /* access to the page itself, not to a paging structure */
#define EPTQ_NMI_UNBLOCK BIT(12)
/* Of APIC accesses: SDM 3C table 28-6. */
#define APICQ_OFFSET BITS(11, 0)
#define APICQ_TYPE BITS(15, 12)
enum exit_apic_type { APIC_LINEAR_READ, APIC_LINEAR_WRITE };
