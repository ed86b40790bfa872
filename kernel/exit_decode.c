/* Decodes VT-x exit words; pure, called by the exit path on the vCPU's core. */
#include "kernel/exit_decode.h"

u32 exit_reinject(u32 vectoring, bool *needs_len)
{
    u32 type = (u32)FIELD_GET(INTR_TYPE, vectoring);

    *needs_len = false;
    if (!(vectoring & INTR_VALID))
        return 0;
    *needs_len = type == INTR_SOFT || type == INTR_PRIVILEGED_SOFT || type == INTR_SOFT_EXCEPTION;
    /* Bit 12 is undefined here and must be 0 in the entry field (SDM 3C 27.2.1.3). */
    return (u32)(vectoring & (INTR_VALID | INTR_HAS_ERROR | INTR_TYPE | INTR_VECTOR));
}

#define CONTRIBUTORY (BIT(0) | BITS(13, 10) | BIT(21)) /* #DE, #TS, #NP, #SS, #GP, #CP */
#define PAGE_FAULT (BIT(14) | BIT(20))                 /* #PF, #VE */
#define DOUBLE_FAULT 8u

u32 exit_second_exception(u32 first, u32 vector)
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

/* Control-register accesses: SDM 3C table 28-3. */
#define CRQ_CR BITS(3, 0)
#define CRQ_TYPE BITS(5, 4)
#define CRQ_REG BITS(11, 8)

struct exit_cr exit_decode_cr(u64 q)
{
    return (struct exit_cr){
        .cr = (u8)FIELD_GET(CRQ_CR, q),
        .type = (u8)FIELD_GET(CRQ_TYPE, q),
        .reg = (u8)FIELD_GET(CRQ_REG, q),
    };
}

/* EPT violations: SDM 3C table 28-7. */
#define EPTQ_WRITE BIT(1)
#define EPTQ_FETCH BIT(2)
#define EPTQ_GLA_VALID BIT(7)
#define EPTQ_FINAL BIT(8)
#define EPTQ_NMI_UNBLOCK BIT(12)

struct exit_ept exit_decode_ept(u64 q)
{
    return (struct exit_ept){
        .write = q & EPTQ_WRITE,
        .fetch = q & EPTQ_FETCH,
        .gla_valid = q & EPTQ_GLA_VALID,
        .final = (q & EPTQ_GLA_VALID) && (q & EPTQ_FINAL),
        .nmi_unblock = q & EPTQ_NMI_UNBLOCK,
    };
}

/* APIC accesses: SDM 3C table 28-6. */
#define APICQ_OFFSET BITS(11, 0)
#define APICQ_TYPE BITS(15, 12)

struct exit_apic exit_decode_apic(u64 q)
{
    return (struct exit_apic){
        .offset = (u16)FIELD_GET(APICQ_OFFSET, q),
        .type = (u8)FIELD_GET(APICQ_TYPE, q),
    };
}
