/* Decoder of MMIO instructions; called by mmio_emulate.c and exits.c.  Pure. */
#include "vmm/insn.h"

#include "kernel/abi/vcpu_page.h"

/* How an opcode's operands are encoded. */
enum form {
    FORM_NONE,
    FORM_MR,  /* memory op= register */
    FORM_RM,  /* register op= memory */
    FORM_MI8, /* memory op= imm8, sign-extended */
    FORM_MI,  /* memory op= immediate of the operand size, at most 32 bits */
    FORM_M,   /* memory alone */
    FORM_AM,  /* accumulator = moffs */
    FORM_MA,  /* moffs = accumulator */
    FORM_STRING,
    FORM_GROUP1_8,
    FORM_GROUP1,
    FORM_GROUP1_S, /* 80/82, 81, 83 */
    FORM_GROUP3,   /* f6, f7 */
    FORM_GROUP4,   /* fe, ff */
    FORM_GROUP8,   /* 0f ba */
    FORM_MOV_IMM,  /* c6, c7: /0 only */
    FORM_IO_IMM,   /* e4.. */
    FORM_IO,
};

#define BYTE BIT(0)  /* byte operand; else 2, 4 or 8 by prefixes */
#define SRC8 BIT(1)  /* memory operand is a byte, register is not */
#define SRC16 BIT(2) /* memory operand is a word, register is not */
#define SRC32 BIT(3) /* memory operand is a doubleword (MOVSXD) */
#define ONLY64 BIT(4)
#define NOT16 BIT(5)  /* no word form (MOVNTI) */
#define NO_REP BIT(6) /* another instruction with f2 or f3 */

struct opcode {
    u8 op, form, flags;
};

#define ALU_ROW(base, insn)                                                                        \
    [(base)] = {insn, FORM_MR, BYTE}, [(base) + 1] = {insn, FORM_MR, 0},                           \
    [(base) + 2] = {insn, FORM_RM, BYTE}, [(base) + 3] = {insn, FORM_RM, 0}

static const struct opcode one_byte[256] = {
    ALU_ROW(0x00, INSN_ADD),
    ALU_ROW(0x08, INSN_OR),
    ALU_ROW(0x10, INSN_ADC),
    ALU_ROW(0x18, INSN_SBB),
    ALU_ROW(0x20, INSN_AND),
    ALU_ROW(0x28, INSN_SUB),
    ALU_ROW(0x30, INSN_XOR),
    ALU_ROW(0x38, INSN_CMP),
    [0x63] = {INSN_MOVSX, FORM_RM, SRC32 | ONLY64},
    [0x6c] = {INSN_IN_OUT, FORM_IO, BYTE},
    [0x6d] = {INSN_IN_OUT, FORM_IO, 0},
    [0x6e] = {INSN_IN_OUT, FORM_IO, BYTE},
    [0x6f] = {INSN_IN_OUT, FORM_IO, 0},
    [0x80] = {0, FORM_GROUP1_8, BYTE},
    [0x81] = {0, FORM_GROUP1, 0},
    [0x83] = {0, FORM_GROUP1_S, 0},
    [0x84] = {INSN_TEST, FORM_MR, BYTE},
    [0x85] = {INSN_TEST, FORM_MR, 0},
    [0x86] = {INSN_XCHG, FORM_MR, BYTE},
    [0x87] = {INSN_XCHG, FORM_MR, 0},
    [0x88] = {INSN_MOV, FORM_MR, BYTE},
    [0x89] = {INSN_MOV, FORM_MR, 0},
    [0x8a] = {INSN_MOV, FORM_RM, BYTE},
    [0x8b] = {INSN_MOV, FORM_RM, 0},
    [0xa0] = {INSN_MOV, FORM_AM, BYTE},
    [0xa1] = {INSN_MOV, FORM_AM, 0},
    [0xa2] = {INSN_MOV, FORM_MA, BYTE},
    [0xa3] = {INSN_MOV, FORM_MA, 0},
    [0xa4] = {INSN_MOVS, FORM_STRING, BYTE},
    [0xa5] = {INSN_MOVS, FORM_STRING, 0},
    [0xaa] = {INSN_STOS, FORM_STRING, BYTE},
    [0xab] = {INSN_STOS, FORM_STRING, 0},
    [0xac] = {INSN_LODS, FORM_STRING, BYTE},
    [0xad] = {INSN_LODS, FORM_STRING, 0},
    [0xc6] = {INSN_MOV, FORM_MOV_IMM, BYTE},
    [0xc7] = {INSN_MOV, FORM_MOV_IMM, 0},
    [0xe4] = {INSN_IN_OUT, FORM_IO_IMM, BYTE},
    [0xe5] = {INSN_IN_OUT, FORM_IO_IMM, 0},
    [0xe6] = {INSN_IN_OUT, FORM_IO_IMM, BYTE},
    [0xe7] = {INSN_IN_OUT, FORM_IO_IMM, 0},
    [0xec] = {INSN_IN_OUT, FORM_IO, BYTE},
    [0xed] = {INSN_IN_OUT, FORM_IO, 0},
    [0xee] = {INSN_IN_OUT, FORM_IO, BYTE},
    [0xef] = {INSN_IN_OUT, FORM_IO, 0},
    [0xf6] = {0, FORM_GROUP3, BYTE},
    [0xf7] = {0, FORM_GROUP3, 0},
    [0xfe] = {0, FORM_GROUP4, BYTE},
    [0xff] = {0, FORM_GROUP4, 0},
};

static const struct opcode two_byte[256] = {
    [0xa3] = {INSN_BT, FORM_MR, 0},
    [0xab] = {INSN_BTS, FORM_MR, 0},
    [0xb0] = {INSN_CMPXCHG, FORM_MR, BYTE},
    [0xb1] = {INSN_CMPXCHG, FORM_MR, 0},
    [0xb3] = {INSN_BTR, FORM_MR, 0},
    [0xb6] = {INSN_MOVZX, FORM_RM, SRC8},
    [0xb7] = {INSN_MOVZX, FORM_RM, SRC16},
    [0xba] = {0, FORM_GROUP8, 0},
    [0xbb] = {INSN_BTC, FORM_MR, 0},
    [0xbe] = {INSN_MOVSX, FORM_RM, SRC8},
    [0xbf] = {INSN_MOVSX, FORM_RM, SRC16},
    [0xc0] = {INSN_XADD, FORM_MR, BYTE},
    [0xc1] = {INSN_XADD, FORM_MR, 0},
    [0xc3] = {INSN_MOV, FORM_MR, NOT16 | NO_REP}, /* MOVNTI */
};

/* Group members by ModRM.reg; INSN_BAD: not ours. */
static const u8 group1[8] = {INSN_ADD, INSN_OR,  INSN_ADC, INSN_SBB,
                             INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP};
static const u8 group3[8] = {INSN_TEST, INSN_TEST, INSN_NOT, INSN_NEG};
static const u8 group4[8] = {INSN_INC, INSN_DEC};
static const u8 group8[8] = {0, 0, 0, 0, INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC};

static const char *const names[INSN_OP_COUNT] = {
    [INSN_BAD] = "?",     [INSN_ADD] = "add",   [INSN_OR] = "or",       [INSN_ADC] = "adc",
    [INSN_SBB] = "sbb",   [INSN_AND] = "and",   [INSN_SUB] = "sub",     [INSN_XOR] = "xor",
    [INSN_CMP] = "cmp",   [INSN_MOV] = "mov",   [INSN_MOVZX] = "movzx", [INSN_MOVSX] = "movsx",
    [INSN_TEST] = "test", [INSN_NOT] = "not",   [INSN_NEG] = "neg",     [INSN_INC] = "inc",
    [INSN_DEC] = "dec",   [INSN_XCHG] = "xchg", [INSN_XADD] = "xadd",   [INSN_CMPXCHG] = "cmpxchg",
    [INSN_BT] = "bt",     [INSN_BTS] = "bts",   [INSN_BTR] = "btr",     [INSN_BTC] = "btc",
    [INSN_STOS] = "stos", [INSN_MOVS] = "movs", [INSN_LODS] = "lods",   [INSN_IN_OUT] = "in/out",
};

const char *insn_name(u8 op)
{
    return op < INSN_OP_COUNT ? names[op] : names[INSN_BAD];
}

struct reader {
    const u8 *p;
    u32 at, len;
    bool overrun;
};

/* Little-endian, sign-extended; 0 and overrun set past the end. */
static u64 take(struct reader *r, u32 bytes)
{
    u64 v = 0;
    if (r->len - r->at < bytes) {
        r->overrun = true;
        r->at = r->len;
        return 0;
    }
    for (u32 i = 0; i < bytes; i++)
        v |= (u64)r->p[r->at + i] << (8 * i);
    r->at += bytes;
    u32 shift = 64 - 8 * bytes;
    return bytes && bytes < 8 ? (u64)((i64)(v << shift) >> shift) : v;
}

static u8 take_byte(struct reader *r)
{
    return (u8)take(r, 1);
}

struct prefixes {
    bool opsize, addrsize;
    u8 rex;
};

/* Legacy prefixes, then REX; returns the first opcode byte. */
static u8 take_prefixes(struct reader *r, struct insn *in, struct prefixes *pf, enum insn_mode mode)
{
    static const u8 segment_of[0x40] = {
        [0x26] = 1 + SEG_ES, [0x2e] = 1 + SEG_CS, [0x36] = 1 + SEG_SS, [0x3e] = 1 + SEG_DS};
    for (;;) {
        u8 b = take_byte(r);
        if (r->overrun)
            return 0;
        if (b == 0x66) {
            pf->opsize = true;
        } else if (b == 0x67) {
            pf->addrsize = true;
        } else if (b == 0xf0) {
            in->lock = 1;
        } else if (b == 0xf2 || b == 0xf3) {
            in->rep = b;
        } else if (b == 0x64 || b == 0x65) {
            in->segment = b == 0x64 ? SEG_FS : SEG_GS;
        } else if (b < 0x40 && segment_of[b]) {
            if (mode != INSN_64) /* ignored in 64-bit mode */
                in->segment = segment_of[b] - 1;
        } else if (mode == INSN_64 && (b & 0xf0) == 0x40) {
            pf->rex = b;
            continue;
        } else {
            return b;
        }
        pf->rex = 0; /* a REX prefix counts only right before the opcode */
    }
}

static void address_16(struct insn *in, struct reader *r, u8 mod, u8 rm)
{
    static const u8 bases[8] = {REG_RBX, REG_RBX, REG_RBP, REG_RBP,
                                REG_RSI, REG_RDI, REG_RBP, REG_RBX};
    static const u8 indexes[8] = {REG_RSI,     REG_RDI,     REG_RSI,     REG_RDI,
                                  INSN_NO_REG, INSN_NO_REG, INSN_NO_REG, INSN_NO_REG};
    if (mod == 0 && rm == 6) {
        in->disp = take(r, 2);
        return;
    }
    in->base = bases[rm];
    in->index = indexes[rm];
    in->disp = take(r, mod == 1 ? 1 : mod == 2 ? 2 : 0);
}

static void address_32(struct insn *in, struct reader *r, u8 mod, u8 rm, u8 rex,
                       enum insn_mode mode)
{
    u8 base = rm;
    if (rm == 4) {
        u8 sib = take_byte(r);
        u8 index = ((sib >> 3) & 7) | (rex & 2 ? 8 : 0);
        in->scale = sib >> 6;
        in->index = index == 4 ? INSN_NO_REG : index;
        base = sib & 7;
    }
    in->base = base | (rex & 1 ? 8 : 0);
    if (mod == 0 && base == 5) { /* also with REX.B: the low three bits decide */
        in->base = INSN_NO_REG;
        in->rip_relative = mode == INSN_64 && rm == 5;
        in->disp = take(r, 4);
        return;
    }
    in->disp = take(r, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* ModRM and what belongs to it; false: the operand is a register. */
static bool take_modrm(struct reader *r, struct insn *in, const struct prefixes *pf,
                       enum insn_mode mode, u8 *reg_field)
{
    u8 modrm = take_byte(r);
    u8 mod = modrm >> 6, rm = modrm & 7;
    *reg_field = (modrm >> 3) & 7;
    if (mod == 3)
        return false;
    if (in->addr_size == 2)
        address_16(in, r, mod, rm);
    else
        address_32(in, r, mod, rm, pf->rex, mode);
    return true;
}

static u8 operand_size(const struct prefixes *pf, enum insn_mode mode)
{
    if (pf->rex & 8)
        return 8;
    return (mode == INSN_16) != pf->opsize ? 2 : 4;
}

static void set_sizes(struct insn *in, const struct prefixes *pf, enum insn_mode mode, u8 flags)
{
    static const u8 addr_sizes[3][2] = {{2, 4}, {4, 2}, {8, 4}};
    u8 full = flags & BYTE ? 1 : operand_size(pf, mode);
    in->addr_size = addr_sizes[mode][pf->addrsize];
    in->reg_size = full;
    in->size = flags & SRC8 ? 1 : flags & SRC16 ? 2 : flags & SRC32 ? MIN(4, full) : full;
}

static void set_register(struct insn *in, u8 field, const struct prefixes *pf)
{
    in->other = OPERAND_REG;
    in->reg = field | (pf->rex & 4 ? 8 : 0);
    in->high = 0;
    if (in->reg_size == 1 && !pf->rex && field >= 4) {
        in->high = 1;
        in->reg = field - 4;
    }
}

static void set_immediate(struct insn *in, struct reader *r, u32 bytes)
{
    in->other = OPERAND_IMM;
    in->imm = take(r, bytes);
}

/* The forms without ModRM. */
static void take_plain(struct reader *r, struct insn *in, enum form form)
{
    in->other = OPERAND_REG;
    in->reg = REG_RAX;
    in->to_memory = form == FORM_MA;
    if (form == FORM_AM || form == FORM_MA)
        in->disp = take(r, in->addr_size);
    if (form == FORM_IO_IMM)
        set_immediate(in, r, 1);
    if (form == FORM_STRING)
        in->to_memory = in->op != INSN_LODS;
}

/* The forms with ModRM; false: not one of ours. */
static bool take_operands(struct reader *r, struct insn *in, enum form form,
                          const struct prefixes *pf, enum insn_mode mode)
{
    u8 field;
    u32 imm_size = MIN(in->size, 4);
    if (!take_modrm(r, in, pf, mode, &field))
        return false;
    in->to_memory = form != FORM_RM;
    switch (form) {
    case FORM_MR:
    case FORM_RM:
        set_register(in, field, pf);
        break;
    case FORM_GROUP1_8:
    case FORM_GROUP1_S:
        in->op = group1[field];
        set_immediate(in, r, 1);
        break;
    case FORM_GROUP1:
        in->op = group1[field];
        set_immediate(in, r, imm_size);
        break;
    case FORM_GROUP3:
        in->op = group3[field];
        if (in->op == INSN_TEST)
            set_immediate(in, r, imm_size);
        break;
    case FORM_GROUP4:
        in->op = group4[field];
        break;
    case FORM_GROUP8:
        in->op = group8[field];
        set_immediate(in, r, 1);
        break;
    case FORM_MOV_IMM:
        in->op = field == 0 ? INSN_MOV : INSN_BAD;
        set_immediate(in, r, imm_size);
        break;
    default:
        return false;
    }
    return true;
}

enum insn_result insn_decode(struct insn *out, const u8 *bytes, u32 len, enum insn_mode mode)
{
    struct reader r = {bytes, 0, MIN(len, (u32)INSN_MAX), false};
    struct prefixes pf = {0};
    *out = (struct insn){.segment = INSN_NO_SEGMENT, .base = INSN_NO_REG, .index = INSN_NO_REG};
    const struct opcode *op;
    u8 byte = take_prefixes(&r, out, &pf, mode);
    if (byte == 0x0f)
        op = &two_byte[take_byte(&r)];
    else
        op = &one_byte[byte];
    /* 15 bytes of prefixes are #GP on the processor, so they are never ours. */
    if (r.overrun)
        return r.len == INSN_MAX ? INSN_UNSUPPORTED : INSN_TRUNCATED;
    if (op->form == FORM_NONE || ((op->flags & ONLY64) && mode != INSN_64))
        return INSN_UNSUPPORTED;
    if (((op->flags & NOT16) && pf.opsize) || ((op->flags & NO_REP) && out->rep))
        return INSN_UNSUPPORTED;
    set_sizes(out, &pf, mode, op->flags);
    out->op = op->op;
    bool plain = op->form == FORM_AM || op->form == FORM_MA || op->form == FORM_STRING ||
                 op->form == FORM_IO || op->form == FORM_IO_IMM;
    if (plain)
        take_plain(&r, out, op->form);
    else if (!take_operands(&r, out, op->form, &pf, mode))
        return INSN_UNSUPPORTED;
    if (r.overrun)
        return r.len == INSN_MAX ? INSN_UNSUPPORTED : INSN_TRUNCATED;
    if (out->op == INSN_BAD)
        return INSN_UNSUPPORTED;
    out->len = (u8)r.at;
    return INSN_DECODED;
}

static u64 clip(u64 v, u32 bytes)
{
    return bytes >= 8 ? v : v & ((1ull << (8 * bytes)) - 1);
}

u64 insn_offset(const struct insn *in, const u64 *regs, u64 next_rip)
{
    u64 at = in->disp;
    if (in->base != INSN_NO_REG)
        at += regs[in->base & 15];
    if (in->index != INSN_NO_REG)
        at += regs[in->index & 15] << in->scale;
    if (in->rip_relative)
        at += next_rip;
    return clip(at, in->addr_size);
}
