/* links: vmm/insn.c vmm/mmio_emulate.c vmm/guest_walk.c vmm/guest_mem.c */
/* Any bytes as an instruction, any registers and page tables behind it: decoding and execution
 * stay inside their memory, and a decoded length is exact. */
#include <stdlib.h>
#include <string.h>

#include "vmm/mmio_emulate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static u64 bus_read(void *ctx, u64 gpa, u8 size)
{
    if (size != 1 && size != 2 && size != 4 && size != 8)
        abort();
    if ((gpa & (PAGE_SIZE - 1)) > PAGE_SIZE - size)
        abort();
    return *(u64 *)ctx;
}

static void bus_write(void *ctx, u64 gpa, u8 size, u64 value)
{
    (void)bus_read(ctx, gpa, size);
    *(u64 *)ctx ^= value;
}

static void execute(const struct insn *in, const u8 *data, size_t size)
{
    static u8 ram[16 * 4096];
    u64 words[32] = {0}, latch = 0x0123456789abcdef;
    memcpy(words, data, MIN(size, sizeof(words)));
    for (size_t i = 0; i < sizeof(ram); i += sizeof(words))
        memcpy(ram + i, words, sizeof(words));
    struct guest_mem mem = {.base = ram, .count = 1, .range = {{0, sizeof(ram)}}};
    struct mmio_emulate e = {
        .mem = &mem,
        .paging = {words[16], words[17], words[18], words[19], words[20]},
        .bus = {&latch, bus_read, bus_write},
        .gpa = words[21],
        .write = words[22] & 1,
        .user = words[22] & 2,
        .seg_base = {words[23], words[24]},
        .regs = words,
        .rflags = words[25],
    };
    if (mmio_emulate(&e, in) == EMULATE_FAULT && !(e.fault_error & WALK_PRESENT) &&
        e.paging.cr0 == 0)
        abort(); /* no page fault without paging */
    (void)insn_offset(in, words, words[26]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct insn in, again;
    if (size < 2)
        return 0;
    enum insn_mode mode = data[0] % 3;
    u32 len = (u32)MIN(size - 1, (size_t)INSN_MAX);
    enum insn_result r = insn_decode(&in, data + 1, len, mode);
    if (r != INSN_DECODED)
        return 0;
    if (in.len == 0 || in.len > len || in.op == INSN_BAD || in.op >= INSN_OP_COUNT)
        abort();
    if (insn_decode(&again, data + 1, in.len, mode) != INSN_DECODED || again.len != in.len)
        abort();
    if (insn_decode(&again, data + 1, in.len - 1u, mode) == INSN_DECODED)
        abort();
    execute(&in, data + 1 + in.len, size - 1 - in.len);
    return 0;
}
