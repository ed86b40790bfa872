/* links: vmm/insn.c vmm/mmio_emulate.c vmm/guest_walk.c vmm/guest_mem.c */
/* MMIO decoder and emulation together against the processor that the test runs on: the same random
 * instruction, once on memory, once on a device that behaves like memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "vmm/insn.h"
#include "vmm/mmio_emulate.h"

struct machine { /* layout known to the assembly below */
    u64 regs[REG_COUNT], flags;
};
static void *native_code; /* an instruction, then the way back */

void native_run(struct machine *m);
void native_back(void);
asm(".text\n.globl native_run, native_back\n"
    "native_run:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
    "push 128(%rdi); popfq\n"
    "mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
    "mov 40(%rdi), %rbp; mov 48(%rdi), %rsi; mov 64(%rdi), %r8; mov 72(%rdi), %r9\n"
    "mov 80(%rdi), %r10; mov 88(%rdi), %r11; mov 96(%rdi), %r12; mov 104(%rdi), %r13\n"
    "mov 112(%rdi), %r14; mov 120(%rdi), %r15; mov 56(%rdi), %rdi\n"
    "jmp *native_code_address(%rip)\n"
    "native_back:\n"
    "pushfq; cld; push %rdi; mov 16(%rsp), %rdi\n"
    "mov %rax, 0(%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
    "mov %rbp, 40(%rdi); mov %rsi, 48(%rdi); mov %r8, 64(%rdi); mov %r9, 72(%rdi)\n"
    "mov %r10, 80(%rdi); mov %r11, 88(%rdi); mov %r12, 96(%rdi); mov %r13, 104(%rdi)\n"
    "mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
    "pop %rax; mov %rax, 56(%rdi); pop %rax; mov %rax, 128(%rdi)\n"
    "pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
    ".data\n.globl native_code_address\nnative_code_address: .quad 0\n.text\n");
extern u64 native_code_address;

static void native_setup(void)
{
    native_code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(native_code, MAP_FAILED);
    native_code_address = (u64)native_code;
}

static void native(struct machine *m, const u8 *bytes, u32 len)
{
    u8 *p = native_code;
    u64 back = (u64)native_back;
    static const u8 jump[6] = {0xff, 0x25};
    memcpy(p, bytes, len);
    memcpy(p + len, jump, 6); /* jmp *0(%rip) */
    memcpy(p + len + 6, &back, 8);
    native_run(m);
}

static u8 device[256];
#define DEVICE_GPA 0xd0000000ull

static u64 device_read(void *ctx, u64 gpa, u8 size)
{
    (void)ctx;
    u64 v = 0;
    assert_in_range(gpa, DEVICE_GPA, DEVICE_GPA + sizeof(device) - size);
    memcpy(&v, device + (gpa - DEVICE_GPA), size);
    return v;
}

static void device_write(void *ctx, u64 gpa, u8 size, u64 value)
{
    (void)ctx;
    assert_in_range(gpa, DEVICE_GPA, DEVICE_GPA + sizeof(device) - size);
    memcpy(device + (gpa - DEVICE_GPA), &value, size);
}

static u64 seed = 88172645463325252ull;
static u64 random_u64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Interesting values as often as any. */
static u64 random_value(void)
{
    static const u64 edges[] = {0,
                                1,
                                ~0ull,
                                0x80,
                                0x8000,
                                0x80000000,
                                0x8000000000000000,
                                0x7f,
                                0x7fff,
                                0x7fffffff,
                                0x7fffffffffffffff,
                                0xff,
                                0xffff,
                                0xffffffff};
    u64 v = random_u64();
    return v & 1 ? v : edges[(v >> 1) % ARRAY_LEN(edges)];
}

#define STATUS (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(7) | BIT(11))

/* Flags that the processor leaves undefined, SDM 2 at each instruction. */
static u64 undefined_flags(const struct insn *in)
{
    switch (in->op) {
    case INSN_AND:
    case INSN_OR:
    case INSN_XOR:
    case INSN_TEST:
        return BIT(4);
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        return BIT(2) | BIT(4) | BIT(7) | BIT(11);
    default:
        return 0;
    }
}

/* [rdi] is the memory operand: ModRM mod 0, rm 7. */
static u32 random_instruction(u8 *bytes)
{
    static const u8 one[] = {0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12,
                             0x13, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x21, 0x22, 0x23, 0x28, 0x29,
                             0x2a, 0x2b, 0x30, 0x31, 0x32, 0x33, 0x38, 0x39, 0x3a, 0x3b, 0x63,
                             0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b,
                             0xaa, 0xab, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff};
    static const u8 two[] = {0xa3, 0xab, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7,
                             0xba, 0xbb, 0xbe, 0xbf, 0xc0, 0xc1, 0xc3};
    u32 n = 0;
    if (random_u64() % 4 == 0)
        bytes[n++] = 0x66;
    if (random_u64() % 2)
        bytes[n++] = 0x40 | (random_u64() & 0xc); /* REX: W and R */
    bool escape = random_u64() % 4 == 0;
    if (escape) {
        bytes[n++] = 0x0f;
        bytes[n++] = two[random_u64() % sizeof(two)];
    } else {
        bytes[n++] = one[random_u64() % sizeof(one)];
    }
    u8 op = bytes[n - 1];
    if (escape || (op != 0xaa && op != 0xab))
        bytes[n++] = 7 | (random_u64() & 7) << 3;
    for (u32 i = 0; i < 8; i++) /* an immediate, if it takes one */
        bytes[n + i] = (u8)random_u64();
    return n + 8;
}

static bool comparable(const struct insn *in)
{
    /* Its result in RSP, or in the register with the address, is not for this test. */
    if (in->other == OPERAND_REG && !in->high && (in->reg == REG_RSP || in->reg == REG_RDI))
        return in->op == INSN_STOS;
    return true;
}

static void does_what_the_processor_does(void **state)
{
    (void)state;
    native_setup();
    u32 tried = 0, ops[INSN_OP_COUNT] = {0};
    static u8 memory[256];
    for (u32 round = 0; round < 1000000; round++) {
        u8 bytes[32];
        struct insn in;
        u32 len = random_instruction(bytes);
        if (insn_decode(&in, bytes, len, INSN_64) != INSN_DECODED || !comparable(&in))
            continue;
        struct machine before, hardware;
        for (u32 i = 0; i < REG_COUNT; i++)
            before.regs[i] = random_value();
        before.regs[REG_RDI] = (u64)memory + 64;
        before.regs[REG_RSP] = 0;
        if (in.op >= INSN_BT && in.op <= INSN_BTC && in.other == OPERAND_REG)
            before.regs[in.reg] %= 8u * in.size; /* else it is another address that faults */
        before.flags = 0x202 | (random_u64() & STATUS);
        u64 m = random_value();
        if (in.op == INSN_CMPXCHG && random_u64() & 1)
            m = before.regs[REG_RAX];
        memset(memory, 0x5a, sizeof(memory));
        memcpy(memory + 64, &m, 8);
        memcpy(device, memory, sizeof(device));
        hardware = before;
        native(&hardware, bytes, in.len);

        struct mmio_emulate e = {
            .bus = {NULL, device_read, device_write},
            .gpa = DEVICE_GPA + 64,
            .write = in.to_memory,
            .regs = before.regs,
            .rflags = before.flags,
        };
        assert_int_equal(mmio_emulate(&e, &in), EMULATE_DONE);
        u64 care = ~undefined_flags(&in) & STATUS;
        hardware.regs[REG_RSP] = before.regs[REG_RSP];
        if (memcmp(before.regs, hardware.regs, sizeof(before.regs)) ||
            memcmp(memory, device, sizeof(device)) || ((e.rflags ^ hardware.flags) & care))
            fail_msg("%s, size %u, bytes %02x %02x %02x %02x: memory %llx/%llx flags %llx/%llx",
                     insn_name(in.op), in.size, bytes[0], bytes[1], bytes[2], bytes[3],
                     *(unsigned long long *)(device + 64), *(unsigned long long *)(memory + 64),
                     (unsigned long long)e.rflags, (unsigned long long)hardware.flags);
        tried++;
        ops[in.op]++;
    }
    assert_true(tried > 500000);
    for (u32 op = INSN_ADD; op <= INSN_STOS; op++)
        if (!ops[op])
            fail_msg("%s was never tried", insn_name((u8)op));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_what_the_processor_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
