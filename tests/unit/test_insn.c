/* links: vmm/insn.c vmm/mmio_emulate.c vmm/guest_walk.c vmm/guest_mem.c */
/* The MMIO decoder and emulator: lengths, operands and effects of the forms that guests use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/insn.h"
#include "vmm/mmio_emulate.h"

struct form {
    const char *text;
    u8 bytes[16];
    u8 len, mode, op, size, reg, to_memory;
    u64 imm;
};

/* Bytes as GNU as makes them. */
static const struct form forms[] = {
    {"mov %eax,0xb0(%rax)", {0x89, 0x80, 0xb0, 0, 0, 0}, 6, INSN_64, INSN_MOV, 4, REG_RAX, 1, 0},
    {"mov (%rdi),%eax", {0x8b, 0x07}, 2, INSN_64, INSN_MOV, 4, REG_RAX, 0, 0},
    {"mov %esi,-0xa00000(%rdi)",
     {0x89, 0xb7, 0, 0, 0x60, 0xff},
     6,
     INSN_64,
     INSN_MOV,
     4,
     REG_RSI,
     1,
     0},
    {"mov %eax,0xffffffffff5fc0b0",
     {0x89, 0x04, 0x25, 0xb0, 0xc0, 0x5f, 0xff},
     7,
     INSN_64,
     INSN_MOV,
     4,
     REG_RAX,
     1,
     0},
    {"movl $0,0xffffffffff5fc0b0",
     {0xc7, 0x04, 0x25, 0xb0, 0xc0, 0x5f, 0xff, 0, 0, 0, 0},
     11,
     INSN_64,
     INSN_MOV,
     4,
     0,
     1,
     0},
    {"movl $-1,(%rax)", {0xc7, 0x00, 0xff, 0xff, 0xff, 0xff}, 6, INSN_64, INSN_MOV, 4, 0, 1, ~0ull},
    {"movb $0x5a,0x10(%rbx)", {0xc6, 0x43, 0x10, 0x5a}, 4, INSN_64, INSN_MOV, 1, 0, 1, 0x5a},
    {"movw $0x1234,(%rcx)", {0x66, 0xc7, 0x01, 0x34, 0x12}, 5, INSN_64, INSN_MOV, 2, 0, 1, 0x1234},
    {"movq $-2,(%rcx)",
     {0x48, 0xc7, 0x01, 0xfe, 0xff, 0xff, 0xff},
     7,
     INSN_64,
     INSN_MOV,
     8,
     0,
     1,
     ~1ull},
    {"mov %r9d,0x10(%r12)", {0x45, 0x89, 0x4c, 0x24, 0x10}, 5, INSN_64, INSN_MOV, 4, REG_R9, 1, 0},
    {"mov (%r8,%r15,8),%r10", {0x4f, 0x8b, 0x14, 0xf8}, 4, INSN_64, INSN_MOV, 8, REG_R10, 0, 0},
    {"movzbl (%rdx),%ecx", {0x0f, 0xb6, 0x0a}, 3, INSN_64, INSN_MOVZX, 1, REG_RCX, 0, 0},
    {"movzwl (%rdx),%ecx", {0x0f, 0xb7, 0x0a}, 3, INSN_64, INSN_MOVZX, 2, REG_RCX, 0, 0},
    {"movsbq (%rdx),%rcx", {0x48, 0x0f, 0xbe, 0x0a}, 4, INSN_64, INSN_MOVSX, 1, REG_RCX, 0, 0},
    {"movslq (%rdx),%rcx", {0x48, 0x63, 0x0a}, 3, INSN_64, INSN_MOVSX, 4, REG_RCX, 0, 0},
    {"movabs %al,0x1122334455667788",
     {0xa2, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11},
     9,
     INSN_64,
     INSN_MOV,
     1,
     REG_RAX,
     1,
     0},
    {"mov 0xfee00020,%eax (32)",
     {0xa1, 0x20, 0x00, 0xe0, 0xfe},
     5,
     INSN_32,
     INSN_MOV,
     4,
     REG_RAX,
     0,
     0},
    {"mov 0x1234(%bx,%si),%al (16)",
     {0x8a, 0x80, 0x34, 0x12},
     4,
     INSN_16,
     INSN_MOV,
     1,
     REG_RAX,
     0,
     0},
    {"addr32 mov %eax,(%edi) (16)",
     {0x67, 0x66, 0x89, 0x07},
     4,
     INSN_16,
     INSN_MOV,
     4,
     REG_RAX,
     1,
     0},
    {"andl $0x7f,0x8(%rax)", {0x83, 0x60, 0x08, 0x7f}, 4, INSN_64, INSN_AND, 4, 0, 1, 0x7f},
    {"orl $0x12345678,(%rax)",
     {0x81, 0x08, 0x78, 0x56, 0x34, 0x12},
     6,
     INSN_64,
     INSN_OR,
     4,
     0,
     1,
     0x12345678},
    {"orw $0x1234,(%rax)", {0x66, 0x81, 0x08, 0x34, 0x12}, 5, INSN_64, INSN_OR, 2, 0, 1, 0x1234},
    {"testb $1,0x2(%rsi)", {0xf6, 0x46, 0x02, 0x01}, 4, INSN_64, INSN_TEST, 1, 0, 1, 1},
    {"testl $0x1000,0x300(%rax)",
     {0xf7, 0x80, 0, 3, 0, 0, 0, 0x10, 0, 0},
     10,
     INSN_64,
     INSN_TEST,
     4,
     0,
     1,
     0x1000},
    {"notl (%rax)", {0xf7, 0x10}, 2, INSN_64, INSN_NOT, 4, 0, 1, 0},
    {"incl (%rax)", {0xff, 0x00}, 2, INSN_64, INSN_INC, 4, 0, 1, 0},
    {"lock btsl $3,(%rax)", {0xf0, 0x0f, 0xba, 0x28, 0x03}, 5, INSN_64, INSN_BTS, 4, 0, 1, 3},
    {"xchg %eax,(%rdi)", {0x87, 0x07}, 2, INSN_64, INSN_XCHG, 4, REG_RAX, 1, 0},
    {"lock cmpxchg %ecx,(%rdi)",
     {0xf0, 0x0f, 0xb1, 0x0f},
     4,
     INSN_64,
     INSN_CMPXCHG,
     4,
     REG_RCX,
     1,
     0},
    {"movnti %rax,(%rdi)", {0x48, 0x0f, 0xc3, 0x07}, 4, INSN_64, INSN_MOV, 8, REG_RAX, 1, 0},
    {"rep stos %eax", {0xf3, 0xab}, 2, INSN_64, INSN_STOS, 4, REG_RAX, 1, 0},
    {"rep movsb", {0xf3, 0xa4}, 2, INSN_64, INSN_MOVS, 1, REG_RAX, 1, 0},
    {"cmp %al,(%rax)", {0x38, 0x00}, 2, INSN_64, INSN_CMP, 1, REG_RAX, 1, 0},
    {"mov %fs:0x10,%eax",
     {0x64, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0},
     8,
     INSN_64,
     INSN_MOV,
     4,
     REG_RAX,
     0,
     0},
    {"rep outsb", {0xf3, 0x6e}, 2, INSN_64, INSN_IN_OUT, 1, REG_RAX, 0, 0},
    {"out %al,$0x80", {0xe6, 0x80}, 2, INSN_64, INSN_IN_OUT, 1, 0, 0, 0},
};

static void lengths_and_operands(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(forms); i++) {
        const struct form *f = &forms[i];
        struct insn in;
        print_message("%s\n", f->text);
        assert_int_equal(insn_decode(&in, f->bytes, sizeof(f->bytes), f->mode), INSN_DECODED);
        assert_int_equal(in.len, f->len);
        assert_int_equal(in.op, f->op);
        assert_int_equal(in.size, f->size);
        if (in.op != INSN_IN_OUT) {
            assert_int_equal(in.to_memory, f->to_memory);
            assert_int_equal(in.other == OPERAND_IMM ? in.imm : 0, f->imm);
        }
        if (in.other == OPERAND_REG)
            assert_int_equal(in.reg, f->reg);
        /* Exact: one byte less is too short, whatever follows does not matter. */
        for (u32 len = 0; len < f->len; len++)
            assert_int_equal(insn_decode(&in, f->bytes, len, f->mode), INSN_TRUNCATED);
    }
}

static void refused(void **state)
{
    static const u8 bad[][16] = {
        {0x8b, 0xc0},             /* mov %eax,%eax: no memory operand */
        {0x0f, 0x28, 0x00},       /* movaps */
        {0xc7, 0x48, 0, 0},       /* c7 /1 */
        {0xf7, 0x20},             /* mul */
        {0xff, 0x10},             /* call *(%rax) */
        {0x0f, 0xba, 0x00, 0x00}, /* 0f ba /0 */
        {0xcc},
        {0x66, 0x0f, 0xc3, 0x07}, /* no such MOVNTI */
        {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x8b,
         0x07},
    };
    struct insn in;
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(insn_decode(&in, bad[i], 16, INSN_64), INSN_UNSUPPORTED);
    assert_int_equal(insn_decode(&in, (const u8[]){0x63, 0x0a}, 2, INSN_32), INSN_UNSUPPORTED);
}

static void addresses(void **state)
{
    u64 regs[REG_COUNT] = {[REG_RBX] = 0x1000,
                           [REG_RSI] = 0xfffff,
                           [REG_R8] = 0x10000,
                           [REG_R15] = 3,
                           [REG_RBP] = 0x500};
    struct insn in;
    (void)state;
    assert_int_equal(insn_decode(&in, (const u8[]){0x4f, 0x8b, 0x14, 0xf8}, 4, INSN_64), 0);
    assert_int_equal(insn_offset(&in, regs, 0), 0x10018);
    /* mov 0x10(%rip),%eax */
    assert_int_equal(insn_decode(&in, (const u8[]){0x8b, 0x05, 0x10, 0, 0, 0}, 6, INSN_64), 0);
    assert_int_equal(insn_offset(&in, regs, 0xffffffff81000006), 0xffffffff81000016);
    /* mov (%bx,%si),%al: wraps at 64 KiB */
    assert_int_equal(insn_decode(&in, (const u8[]){0x8a, 0x00}, 2, INSN_16), 0);
    assert_int_equal(insn_offset(&in, regs, 0), 0x0fff);
    /* mov -1(%ebp),%al */
    assert_int_equal(insn_decode(&in, (const u8[]){0x8a, 0x45, 0xff}, 3, INSN_32), 0);
    assert_int_equal(insn_offset(&in, regs, 0), 0x4ff);
    /* mov %eax,0x5: SIB without base and index */
    assert_int_equal(insn_decode(&in, (const u8[]){0x89, 0x04, 0x25, 5, 0, 0, 0}, 7, INSN_64), 0);
    assert_int_equal(insn_offset(&in, regs, 0), 5);
}

/* A device of one page that keeps what is written and logs accesses. */
static u8 device[4096];
static u32 reads, writes;

static u64 dev_read(void *ctx, u64 gpa, u8 size)
{
    u64 v = 0;
    (void)ctx;
    reads++;
    memcpy(&v, device + (gpa & 0xfff), size);
    return v;
}

static void dev_write(void *ctx, u64 gpa, u8 size, u64 value)
{
    (void)ctx;
    writes++;
    memcpy(device + (gpa & 0xfff), &value, size);
}

static u8 ram[0x10000];
static struct guest_mem mem = {.base = ram, .count = 1, .range = {{0, sizeof(ram)}}};
static u64 regs[REG_COUNT];

static enum emulate_result run(const u8 *bytes, u32 len, u64 offset, bool write, u64 *rflags)
{
    struct insn in;
    struct mmio_emulate e = {.mem = &mem,
                             .bus = {NULL, dev_read, dev_write},
                             .gpa = 0xfed00000 + offset,
                             .write = write,
                             .regs = regs,
                             .rflags = *rflags};
    assert_int_equal(insn_decode(&in, bytes, len, INSN_64), INSN_DECODED);
    enum emulate_result r = mmio_emulate(&e, &in);
    *rflags = e.rflags;
    return r;
}
#define RUN(offset, write, ...)                                                                    \
    run((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), offset, write, &flags)

static void moves(void **state)
{
    u64 flags = 2;
    (void)state;
    memset(device, 0, sizeof(device));
    regs[REG_RAX] = 0x1122334455667788;
    assert_int_equal(RUN(0x10, true, 0x89, 0x07), EMULATE_DONE); /* mov %eax,(%rdi) */
    assert_int_equal(*(u32 *)(device + 0x10), 0x55667788);
    assert_int_equal(*(u32 *)(device + 0x14), 0);
    assert_int_equal(RUN(0x20, true, 0x88, 0x27), EMULATE_DONE); /* mov %ah,(%rdi) */
    assert_int_equal(device[0x20], 0x77);
    assert_int_equal(RUN(0x21, true, 0x40, 0x88, 0x27), EMULATE_DONE); /* mov %spl,(%rdi) */
    assert_int_equal(device[0x21], 0);
    regs[REG_RCX] = ~0ull;
    assert_int_equal(RUN(0x10, false, 0x8b, 0x0f), EMULATE_DONE); /* 32 bits clear the rest */
    assert_int_equal(regs[REG_RCX], 0x55667788);
    regs[REG_RCX] = ~0ull;
    assert_int_equal(RUN(0x10, false, 0x66, 0x8b, 0x0f), EMULATE_DONE);
    assert_int_equal(regs[REG_RCX], 0xffffffffffff7788);
    assert_int_equal(RUN(0x13, false, 0x0f, 0xb6, 0x0f), EMULATE_DONE);
    assert_int_equal(regs[REG_RCX], 0x55);
    device[0x30] = 0x80;
    assert_int_equal(RUN(0x30, false, 0x48, 0x0f, 0xbe, 0x0f), EMULATE_DONE);
    assert_int_equal(regs[REG_RCX], 0xffffffffffffff80);
    assert_int_equal(RUN(0x30, false, 0x0f, 0xbe, 0x0f), EMULATE_DONE);
    assert_int_equal(regs[REG_RCX], 0xffffff80);
    assert_int_equal(flags, 2);
    /* Across the page. */
    assert_int_equal(RUN(0xffe, true, 0x89, 0x07), EMULATE_BAD);
}

static void arithmetic_sets_flags(void **state)
{
    u64 flags = 2;
    (void)state;
    *(u32 *)device = 0xf0;
    RUN(0, true, 0x83, 0x27, 0x0f); /* andl $15,(%rdi) */
    assert_int_equal(*(u32 *)device, 0);
    assert_int_equal(flags & 0x8d5, 0x44); /* ZF, PF */
    *(u32 *)device = 0xffffffff;
    RUN(0, true, 0x83, 0x07, 0x01); /* addl $1,(%rdi) */
    assert_int_equal(*(u32 *)device, 0);
    assert_int_equal(flags & 0x8d5, 0x55); /* ZF PF AF CF */
    *(u32 *)device = 0x7fffffff;
    RUN(0, true, 0xff, 0x07); /* incl: CF stays */
    assert_int_equal(flags & 0x8d5, 0x895);
    *(u32 *)device = 5;
    RUN(0, false, 0x83, 0x3f, 0x07);       /* cmpl $7,(%rdi) */
    assert_int_equal(flags & 0x8d5, 0x91); /* CF SF AF */
    assert_int_equal(*(u32 *)device, 5);
    regs[REG_RAX] = 9;
    RUN(0, false, 0x3b, 0x07); /* cmp (%rdi),%eax: 9 - 5 */
    assert_int_equal(flags & 0x8d5, 0x00);
    RUN(0, true, 0x0f, 0xba, 0x2f, 0x03); /* btsl $3 */
    assert_int_equal(*(u32 *)device, 13);
    assert_int_equal(flags & 1, 0);
    RUN(0, true, 0x0f, 0xba, 0x37, 0x03); /* btrl $3 */
    assert_int_equal(*(u32 *)device, 5);
    assert_int_equal(flags & 1, 1);
}

static void exchanges(void **state)
{
    u64 flags = 2;
    (void)state;
    *(u32 *)device = 5;
    regs[REG_RAX] = 7;
    RUN(0, true, 0x87, 0x07); /* xchg */
    assert_int_equal(*(u32 *)device, 7);
    assert_int_equal(regs[REG_RAX], 5);
    regs[REG_RCX] = 99;
    RUN(0, true, 0xf0, 0x0f, 0xb1, 0x0f); /* cmpxchg: 5 != 7 */
    assert_int_equal(regs[REG_RAX], 7);
    assert_int_equal(flags & 0x40, 0);
    RUN(0, true, 0xf0, 0x0f, 0xb1, 0x0f);
    assert_int_equal(*(u32 *)device, 99);
    assert_int_equal(flags & 0x40, 0x40);
    RUN(0, true, 0xf0, 0x0f, 0xc1, 0x0f); /* xadd %ecx */
    assert_int_equal(*(u32 *)device, 198);
    assert_int_equal(regs[REG_RCX], 99);
}

static void strings(void **state)
{
    u64 flags = 2;
    (void)state;
    memset(device, 0, sizeof(device));
    regs[REG_RAX] = 0xabcd;
    regs[REG_RDI] = 0x7f00;
    regs[REG_RCX] = 3;
    assert_int_equal(RUN(0x100, true, 0xf3, 0xab), EMULATE_DONE);
    assert_int_equal(*(u32 *)(device + 0x108), 0xabcd);
    assert_int_equal(*(u32 *)(device + 0x10c), 0);
    assert_int_equal(regs[REG_RDI], 0x7f0c);
    assert_int_equal(regs[REG_RCX], 0);
    /* More than fits the page: the rest is done at the next exit. */
    regs[REG_RCX] = 10;
    regs[REG_RDI] = 0x7ffc;
    assert_int_equal(RUN(0xffc, true, 0xf3, 0xab), EMULATE_AGAIN);
    assert_int_equal(regs[REG_RCX], 9);
    assert_int_equal(regs[REG_RDI], 0x8000);
    /* rep movsb from RAM to the device, one element an exit. */
    memcpy(ram + 0x200, "xyz", 3);
    regs[REG_RSI] = 0x200;
    regs[REG_RDI] = 0xfed00040;
    regs[REG_RCX] = 2;
    assert_int_equal(RUN(0x40, true, 0xf3, 0xa4), EMULATE_AGAIN);
    assert_int_equal(RUN(0x41, true, 0xf3, 0xa4), EMULATE_DONE);
    assert_memory_equal(device + 0x40, "xy", 3);
    assert_int_equal(regs[REG_RSI], 0x202);
    /* Backwards, from the device to RAM. */
    flags |= BIT(10);
    regs[REG_RSI] = 0xfed00041;
    regs[REG_RDI] = 0x301;
    regs[REG_RCX] = 1;
    assert_int_equal(RUN(0x41, false, 0xf3, 0xa4), EMULATE_DONE);
    assert_int_equal(ram[0x301], 'y');
    assert_int_equal(regs[REG_RDI], 0x300);
    /* The RAM side outside memory. */
    flags = 2;
    regs[REG_RSI] = 0xfed00041;
    regs[REG_RDI] = 0xffff;
    regs[REG_RCX] = 1;
    assert_int_equal(RUN(0x41, false, 0x66, 0xa5), EMULATE_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_operands),
        cmocka_unit_test(refused),
        cmocka_unit_test(addresses),
        cmocka_unit_test(moves),
        cmocka_unit_test(arithmetic_sets_flags),
        cmocka_unit_test(exchanges),
        cmocka_unit_test(strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
