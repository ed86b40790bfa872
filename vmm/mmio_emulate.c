/* Executes MMIO instructions; called by exits.c on the event loop.  Pure. */
#include "vmm/mmio_emulate.h"

#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_DF BIT(10)
#define FLAG_OF BIT(11)
#define FLAGS_ALU (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define STRING_BATCH 256 /* elements of a REP STOS done at one exit */

static u64 mask_of(u8 size)
{
    return size >= 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

static u64 sign_extend(u64 v, u8 size)
{
    u32 shift = 64 - 8 * size;
    return (u64)((i64)(v << shift) >> shift);
}

static u64 reg_read(const struct mmio_emulate *e, const struct insn *in)
{
    u64 v = e->regs[in->reg & 15];
    return (in->high ? v >> 8 : v) & mask_of(in->reg_size);
}

/* 32-bit results clear the upper half, smaller ones keep it (SDM 1, 3.4.1.1). */
static void reg_write_size(u64 *reg, u64 value, u8 size, bool high)
{
    u64 mask = mask_of(size);
    if (size == 4)
        *reg = value & mask;
    else if (high)
        *reg = (*reg & ~0xff00ull) | (value & 0xff) << 8;
    else
        *reg = (*reg & ~mask) | (value & mask);
}

static void reg_write(struct mmio_emulate *e, const struct insn *in, u64 value)
{
    reg_write_size(&e->regs[in->reg & 15], value, in->reg_size, in->high);
}

static u64 mem_read(struct mmio_emulate *e, u8 size)
{
    return e->bus.read(e->bus.ctx, e->gpa, size) & mask_of(size);
}

static void mem_write(struct mmio_emulate *e, u8 size, u64 value)
{
    e->bus.write(e->bus.ctx, e->gpa, size, value & mask_of(size));
}

static u64 result_flags(u64 v, u8 size)
{
    u64 sign = 1ull << (8 * size - 1), f = 0;
    v &= mask_of(size);
    f |= v == 0 ? FLAG_ZF : 0;
    f |= v & sign ? FLAG_SF : 0;
    f |= __builtin_parity((u8)v) ? 0 : FLAG_PF;
    return f;
}

/* a + b + carry_in, or a - b - carry_in, with all flags (SDM 1, 3.4.3.1). */
static u64 add_sub(u64 a, u64 b, bool subtract, bool carry, u8 size, u64 *flags)
{
    u64 mask = mask_of(size), sign = 1ull << (8 * size - 1);
    u64 r = (subtract ? a - b - carry : a + b + carry) & mask;
    *flags = result_flags(r, size);
    bool borrow = a < b || (carry && a == b);
    bool out = subtract ? borrow : r < a || (carry && r == a);
    u64 over = subtract ? (a ^ b) & (a ^ r) : ~(a ^ b) & (a ^ r);
    *flags |= out ? FLAG_CF : 0;
    *flags |= over & sign ? FLAG_OF : 0;
    *flags |= (a ^ b ^ r) & 0x10 ? FLAG_AF : 0;
    return r;
}

static u64 logic(u8 op, u64 a, u64 b, u8 size, u64 *flags)
{
    u64 r = op == INSN_OR ? a | b : op == INSN_XOR ? a ^ b : a & b;
    *flags = result_flags(r, size);
    return r;
}

/* Result of a two-operand operation; updates rflags. */
static u64 alu(struct mmio_emulate *e, u8 op, u64 a, u64 b, u8 size)
{
    u64 flags = 0, r, changed = FLAGS_ALU;
    bool carry = e->rflags & FLAG_CF;
    switch (op) {
    case INSN_ADD:
    case INSN_XADD:
        r = add_sub(a, b, false, false, size, &flags);
        break;
    case INSN_ADC:
        r = add_sub(a, b, false, carry, size, &flags);
        break;
    case INSN_SBB:
        r = add_sub(a, b, true, carry, size, &flags);
        break;
    case INSN_SUB:
    case INSN_CMP:
    case INSN_CMPXCHG:
        r = add_sub(a, b, true, false, size, &flags);
        break;
    case INSN_INC:
        r = add_sub(a, 1, false, false, size, &flags);
        changed &= ~FLAG_CF;
        break;
    case INSN_DEC:
        r = add_sub(a, 1, true, false, size, &flags);
        changed &= ~FLAG_CF;
        break;
    case INSN_NEG:
        r = add_sub(0, a, true, false, size, &flags);
        break;
    default:
        r = logic(op, a, b, size, &flags);
        break;
    }
    e->rflags = (e->rflags & ~changed) | (flags & changed);
    return r;
}

static u64 other_operand(const struct mmio_emulate *e, const struct insn *in)
{
    if (in->other == OPERAND_REG)
        return reg_read(e, in);
    return in->imm & mask_of(in->size);
}

static void bit_op(struct mmio_emulate *e, const struct insn *in)
{
    /* The faulting address already includes a register operand's offset of whole operands. */
    u64 bit = 1ull << (other_operand(e, in) & (8u * in->size - 1));
    u64 v = mem_read(e, in->size);
    e->rflags = (e->rflags & ~FLAG_CF) | (v & bit ? FLAG_CF : 0);
    if (in->op == INSN_BTS)
        mem_write(e, in->size, v | bit);
    else if (in->op == INSN_BTR)
        mem_write(e, in->size, v & ~bit);
    else if (in->op == INSN_BTC)
        mem_write(e, in->size, v ^ bit);
}

static void compare_exchange(struct mmio_emulate *e, const struct insn *in)
{
    u64 v = mem_read(e, in->size), acc = e->regs[REG_RAX] & mask_of(in->size);
    (void)alu(e, INSN_CMP, acc, v, in->size);
    if (acc == v) {
        mem_write(e, in->size, reg_read(e, in));
    } else {
        mem_write(e, in->size, v);
        reg_write_size(&e->regs[REG_RAX], v, in->size, false);
    }
}

void mmio_emulate_step(u64 *reg, i64 delta, u8 addr_size)
{
    reg_write_size(reg, *reg + (u64)delta, addr_size, false);
}

static u64 rep_count(const struct mmio_emulate *e, const struct insn *in)
{
    return in->rep ? e->regs[REG_RCX] & mask_of(in->addr_size) : 1;
}

static enum emulate_result rep_end(struct mmio_emulate *e, const struct insn *in, u64 done)
{
    if (!in->rep)
        return EMULATE_DONE;
    mmio_emulate_step(&e->regs[REG_RCX], -(i64)done, in->addr_size);
    return rep_count(e, in) ? EMULATE_AGAIN : EMULATE_DONE;
}

/* Only elements in the page that faulted: the next page may be anything. */
static enum emulate_result store_string(struct mmio_emulate *e, const struct insn *in)
{
    u64 count = MIN(rep_count(e, in), STRING_BATCH), done = 0, page = e->gpa & ~(PAGE_SIZE - 1);
    i64 step = e->rflags & FLAG_DF ? -(i64)in->size : in->size;
    while (done < count && (e->gpa & ~(PAGE_SIZE - 1)) == page &&
           (e->gpa & (PAGE_SIZE - 1)) <= PAGE_SIZE - in->size) {
        mem_write(e, in->size, e->regs[REG_RAX]);
        e->gpa += (u64)step;
        done++;
    }
    mmio_emulate_step(&e->regs[REG_RDI], step * (i64)done, in->addr_size);
    return rep_end(e, in, done);
}

static enum emulate_result load_string(struct mmio_emulate *e, const struct insn *in)
{
    if (!rep_count(e, in))
        return EMULATE_DONE;
    i64 step = e->rflags & FLAG_DF ? -(i64)in->size : in->size;
    reg_write_size(&e->regs[REG_RAX], mem_read(e, in->size), in->size, false);
    mmio_emulate_step(&e->regs[REG_RSI], step, in->addr_size);
    return rep_end(e, in, 1);
}

/* The side of a MOVS that did not fault: RAM or another device. */
static enum emulate_result far_side(struct mmio_emulate *e, u64 gla, u64 *value, u8 size,
                                    bool write)
{
    gpa_t gpa;
    u32 access = (write ? WALK_WRITE : 0) | (e->user ? WALK_USER : 0);
    enum walk_result r = guest_walk(e->mem, &e->paging, gla, access, &gpa, &e->fault_error);
    if (r == WALK_OK && !guest_ptr(e->mem, gpa, size) &&
        (gpa.raw & (PAGE_SIZE - 1)) <= PAGE_SIZE - size) {
        if (write)
            e->bus.write(e->bus.ctx, gpa.raw, size, *value);
        else
            *value = e->bus.read(e->bus.ctx, gpa.raw, size);
        return EMULATE_DONE;
    }
    if (r == WALK_OK)
        r = guest_linear_copy(e->mem, &e->paging, gla, value, size, access, &e->fault_address,
                              &e->fault_error);
    else
        e->fault_address = gla;
    return r == WALK_OK ? EMULATE_DONE : r == WALK_FAULT ? EMULATE_FAULT : EMULATE_BAD;
}

static enum emulate_result move_string(struct mmio_emulate *e, const struct insn *in)
{
    if (!rep_count(e, in))
        return EMULATE_DONE;
    u64 value = 0, mask = mask_of(in->addr_size);
    i64 step = e->rflags & FLAG_DF ? -(i64)in->size : in->size;
    u8 source = in->segment == INSN_NO_SEGMENT ? SEG_DS : in->segment;
    u64 from = e->seg_base[source] + (e->regs[REG_RSI] & mask);
    u64 to = e->seg_base[SEG_ES] + (e->regs[REG_RDI] & mask);
    enum emulate_result r = EMULATE_DONE;
    if (!e->write)
        value = mem_read(e, in->size);
    else
        r = far_side(e, from, &value, in->size, false);
    if (r != EMULATE_DONE)
        return r;
    if (e->write)
        mem_write(e, in->size, value);
    else
        r = far_side(e, to, &value, in->size, true);
    if (r != EMULATE_DONE)
        return r;
    mmio_emulate_step(&e->regs[REG_RSI], step, in->addr_size);
    mmio_emulate_step(&e->regs[REG_RDI], step, in->addr_size);
    return rep_end(e, in, 1);
}

/* add ... cmp, test, and the one-operand ones. */
static void arithmetic(struct mmio_emulate *e, const struct insn *in)
{
    u64 m = mem_read(e, in->size);
    if (in->op == INSN_NOT) {
        mem_write(e, in->size, ~m);
        return;
    }
    u64 b = other_operand(e, in);
    u64 r = in->to_memory ? alu(e, in->op, m, b, in->size) : alu(e, in->op, b, m, in->size);
    if (in->op == INSN_CMP || in->op == INSN_TEST)
        return;
    if (in->op == INSN_XADD)
        reg_write(e, in, m);
    if (in->to_memory)
        mem_write(e, in->size, r);
    else
        reg_write(e, in, r);
}

static void move(struct mmio_emulate *e, const struct insn *in)
{
    u64 m;
    if (in->to_memory) {
        mem_write(e, in->size, other_operand(e, in));
        return;
    }
    m = mem_read(e, in->size);
    reg_write(e, in, in->op == INSN_MOVSX ? sign_extend(m, in->size) : m);
}

enum emulate_result mmio_emulate(struct mmio_emulate *e, const struct insn *in)
{
    u64 m;
    /* Across a page the second half may be RAM or another device; no driver does that. */
    if ((e->gpa & (PAGE_SIZE - 1)) > PAGE_SIZE - in->size)
        return EMULATE_BAD;
    switch (in->op) {
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_MOVSX:
        move(e, in);
        return EMULATE_DONE;
    case INSN_XCHG:
        m = mem_read(e, in->size);
        mem_write(e, in->size, reg_read(e, in));
        reg_write(e, in, m);
        return EMULATE_DONE;
    case INSN_CMPXCHG:
        compare_exchange(e, in);
        return EMULATE_DONE;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        bit_op(e, in);
        return EMULATE_DONE;
    case INSN_STOS:
        return store_string(e, in);
    case INSN_LODS:
        return load_string(e, in);
    case INSN_MOVS:
        return move_string(e, in);
    case INSN_BAD:
    case INSN_IN_OUT:
        return EMULATE_BAD;
    default:
        arithmetic(e, in);
        return EMULATE_DONE;
    }
}
