/* Measures intercepted instructions; called by svm_exit.c. */
#include "kernel/svm_insn.h"

#define REX_B 1u

static bool is_legacy_prefix(u8 b)
{
    switch (b) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

static bool is_rex(u8 b, bool mode64)
{
    return mode64 && (b & 0xf0) == 0x40;
}

/* Second opcode bytes after 0FH, and how many bytes the instruction has from 0FH on. */
static u32 two_byte_length(u8 opcode)
{
    switch (opcode) {
    case 0x08: /* INVD */
    case 0x09: /* WBINVD */
    case 0x30: /* WRMSR */
    case 0x32: /* RDMSR */
    case 0x33: /* RDPMC */
    case 0xa2: /* CPUID */
        return 2;
    case 0x01: /* XSETBV, VMMCALL and others of that group: register forms */
    case 0x22: /* MOV to CRn: always the register form */
        return 3;
    default:
        return 0;
    }
}

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
    u32 length = two_byte_length(bytes[at + 1]);
    if (!length || at + length > count || at + length > SVM_INSN_MAX)
        return 0;
    if (bytes[at + 1] == 0x22)
        *reg = (bytes[at + 2] & 7) | (rex & REX_B ? 8 : 0);
    return at + length;
}
