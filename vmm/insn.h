/* Decoder of the x86 instructions that guests use on device registers.
 *
 * Pure and length-exact; the bytes are hostile.  Forms: SDM 2, opcode maps in appendix A.  What is
 * not in its tables is refused: an MMIO access by it stops the guest. */
#pragma once

#include "kernel/abi/types.h"

#define INSN_MAX 15

enum insn_mode { INSN_16, INSN_32, INSN_64 };

enum insn_op {
    INSN_BAD,
    /* The eight of opcodes 00..3f and group 1, in the order of their encoding. */
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_MOV,
    INSN_MOVZX,
    INSN_MOVSX,
    INSN_TEST,
    INSN_NOT,
    INSN_NEG,
    INSN_INC,
    INSN_DEC,
    INSN_XCHG,
    INSN_XADD,
    INSN_CMPXCHG,
    INSN_BT,
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    INSN_STOS,
    INSN_MOVS,
    INSN_LODS,
    INSN_IN_OUT, /* IN, OUT, INS, OUTS: only length, address size and prefixes are of use */
    INSN_OP_COUNT
};

enum insn_operand { OPERAND_NONE, OPERAND_REG, OPERAND_IMM };

#define INSN_NO_REG 0xff
#define INSN_NO_SEGMENT 0xff

struct insn {
    u8 op;        /* enum insn_op */
    u8 len;       /* bytes */
    u8 size;      /* of the memory operand: 1, 2, 4, 8 */
    u8 reg_size;  /* of the register operand; differs from size for MOVZX and MOVSX */
    u8 addr_size; /* 2, 4, 8 */
    u8 rep;       /* 0, 0xf2 or 0xf3 */
    u8 lock;
    u8 segment;     /* enum vcpu_segment_index of an override, or INSN_NO_SEGMENT */
    u8 to_memory;   /* the memory operand is the destination */
    u8 other;       /* enum insn_operand: the operand that is not in memory */
    u8 reg;         /* its register */
    u8 high;        /* register is AH, CH, DH or BH of `reg` */
    u8 base, index; /* of the address; INSN_NO_REG: none */
    u8 scale;       /* 0..3 */
    u8 rip_relative;
    u64 disp; /* sign-extended */
    u64 imm;  /* sign-extended to 64 bits */
};

enum insn_result {
    INSN_DECODED,
    INSN_TRUNCATED,   /* more bytes are needed than were given */
    INSN_UNSUPPORTED, /* valid perhaps, but not one of ours, or without a memory operand */
};

MUST_CHECK enum insn_result insn_decode(struct insn *out, const u8 *bytes, u32 len,
                                        enum insn_mode mode);

/* Offset of the memory operand in its segment: regs[] in encoding order; next_rip is the address
 * of the following instruction. */
u64 insn_offset(const struct insn *in, const u64 *regs, u64 next_rip);

/* "mov", ... for messages. */
const char *insn_name(u8 op);
