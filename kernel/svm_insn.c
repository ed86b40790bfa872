/* Measures intercepted instructions; called by svm_exit.c. */
#include "kernel/svm_insn.h"

#define REX_B 1u

static bool is_legacy_prefix(u8 b)
{
    static const u8 prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};

    for (u32 i = 0; i < sizeof(prefixes); i++)
        if (b == prefixes[i])
            return true;
    return false;
}

static bool is_rex(u8 b, bool mode64)
{
    return mode64 && (b & 0xf0) == 0x40;
}

/* Bytes from 0FH on, by the second opcode byte; 01H and 22H are register forms here. */
static const u8 two_byte_length[256] = {
    [0x08] = 2 /* INVD */,
    [0x09] = 2 /* WBINVD */,
    [0x30] = 2 /* WRMSR */,
    [0x32] = 2 /* RDMSR */,
    [0x33] = 2 /* RDPMC */,
    [0xa2] = 2 /* CPUID */,
    [0x01] = 3 /* XSETBV, VMMCALL and others of that group */,
    [0x22] = 3 /* MOV to CRn */,
};

u32 svm_insn_length(const u8 *bytes, u32 count, bool mode64, u32 *reg)
{
    u32 at = 0, rex = 0;

    *reg = 0;
    /* REX counts right before the opcode only. */
    for (; at < count && (is_legacy_prefix(bytes[at]) || is_rex(bytes[at], mode64)); at++)
        rex = is_legacy_prefix(bytes[at]) ? 0 : bytes[at];
    if (at >= count || at >= SVM_INSN_MAX)
        return 0;
    if (bytes[at] == 0xf4 || bytes[at] == 0x90) /* HLT, PAUSE */
        return at + 1;
    if (bytes[at] != 0x0f || at + 1 >= count)
        return 0;
    u32 length = two_byte_length[bytes[at + 1]];
    if (!length || at + length > count || at + length > SVM_INSN_MAX)
        return 0;
    if (bytes[at + 1] == 0x22)
        *reg = (bytes[at + 2] & 7) | (rex & REX_B ? 8 : 0);
    return at + length;
}
