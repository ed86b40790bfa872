/* What becomes of two exceptions at once; pure, called by both backends. */
#include "kernel/exit_decode.h"

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
