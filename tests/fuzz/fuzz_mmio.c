/* links: vmm/insn.c vmm/mmio_emulate.c vmm/guest_walk.c vmm/guest_mem.c */
/* Any bytes as an MMIO instruction, with any registers, page tables and faulting address. */
#include <stdlib.h>
#include <string.h>

#include "vmm/insn.h"
#include "vmm/mmio_emulate.h"

#define RAM (64 * KIB)
static u8 ram[RAM];
static u64 accesses;

static u64 bus_read(void *ctx, u64 gpa, u8 size)
{
    (void)ctx;
    if (size != 1 && size != 2 && size != 4 && size != 8)
        abort();
    if ((gpa & (PAGE_SIZE - 1)) > PAGE_SIZE - size)
        abort();
    accesses++;
    return ~0ull;
}

static void bus_write(void *ctx, u64 gpa, u8 size, u64 value)
{
    (void)value;
    (void)bus_read(ctx, gpa, size);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct {
        u8 mode, flags, bytes[16];
        struct guest_paging paging;
        u64 gpa, regs[REG_COUNT];
    } input;
    if (size < 20)
        return 0;
    memset(&input, 0, sizeof(input));
    memcpy(&input, data, size < sizeof(input) ? size : sizeof(input));
    memset(ram, 0, sizeof(ram));
    if (size > sizeof(input)) /* what is left becomes page tables */
        memcpy(ram, data + sizeof(input), MIN(size - sizeof(input), sizeof(ram)));

    struct guest_mem mem = {.base = ram, .count = 1, .range = {{0, RAM}}};
    u32 len = 1 + input.flags % 15;
    u8 *bytes = malloc(len); /* exactly as many as there are */
    memcpy(bytes, input.bytes, len);
    struct insn in;
    enum insn_result r = insn_decode(&in, bytes, len, input.mode % 3);
    free(bytes);
    if (r != INSN_DECODED)
        return 0;
    if (in.len == 0 || in.len > len || in.op == INSN_BAD || in.op >= INSN_OP_COUNT)
        abort();
    (void)insn_offset(&in, input.regs, 0x1000);
    (void)insn_name(in.op);
    struct mmio_emulate e = {
        .mem = &mem,
        .paging = input.paging,
        .bus = {NULL, bus_read, bus_write},
        .gpa = input.gpa,
        .write = in.to_memory,
        .user = input.flags & 0x80,
        .regs = input.regs,
        .rflags = input.paging.rflags,
    };
    accesses = 0;
    enum emulate_result result = mmio_emulate(&e, &in);
    if (result > EMULATE_BAD || accesses > 4096)
        abort();
    return 0;
}
