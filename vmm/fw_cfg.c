/* Ports and DMA of the firmware configuration device; called from the port table of exits.c. */
#include "vmm/fw_cfg.h"

#include <string.h>

#include "vmm/exits.h"
#include "vmm/fw_cfg_items.h"
#include "vmm/vm.h"

/* Bits of a descriptor's first word. */
#define DMA_ERROR BIT(0)
#define DMA_READ BIT(1)
#define DMA_SKIP BIT(2)
#define DMA_SELECT BIT(3)
#define DMA_WRITE BIT(4)

struct descriptor { /* all big-endian */
    u32 control, length;
    u64 address;
};

static void choose(struct fw_cfg *f, u16 key)
{
    f->key = key;
    f->offset = 0;
}

static void skip(struct fw_cfg *f, u32 count)
{
    f->offset = count > ~0u - f->offset ? ~0u : f->offset + count;
}

/* `count` bytes from where the guest is in its item; zeros behind the end. */
static void take(struct vm *vm, struct fw_cfg *f, u8 *to, u32 count)
{
    struct fw_cfg_item item = fw_cfg_items_get(vm, f->key);
    u32 at = MIN(f->offset, item.len), part = MIN(count, item.len - at);
    if (part)
        memcpy(to, item.bytes + at, part);
    memset(to + part, 0, count - part);
    skip(f, count);
}

static bool dma_read(struct vm *vm, struct fw_cfg *f, u64 gpa, u32 count)
{
    if (!count)
        return true;
    u8 *to = count <= FW_CFG_DMA_MAX ? guest_ptr(&vm->mem, GPA(gpa), count) : NULL;
    if (to)
        take(vm, f, to, count);
    return to;
}

static void dma(struct vm *vm, struct fw_cfg *f, u64 gpa)
{
    struct descriptor d;
    bool done = true;
    if (!guest_read(&vm->mem, GPA(gpa), &d, sizeof(d)))
        return; /* there is no place for the error either */
    u32 control = __builtin_bswap32(d.control), length = __builtin_bswap32(d.length);
    if (control & DMA_SELECT)
        choose(f, (u16)(control >> 16));
    if (control & DMA_READ)
        done = dma_read(vm, f, __builtin_bswap64(d.address), length);
    else if (control & DMA_WRITE)
        done = false;
    else if (control & DMA_SKIP)
        skip(f, length);
    u32 result = done ? 0 : __builtin_bswap32(DMA_ERROR);
    if (!guest_write(&vm->mem, GPA(gpa), &result, sizeof(result)))
        return; /* it was memory a moment ago */
}

u32 fw_cfg_in(struct vm *vm, u16 port, u8 size)
{
    static const u8 signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};
    u8 byte = 0;
    u32 value = 0, at = port - FW_CFG_DMA_PORT;
    if (!vm->firmware) {
        exits_unclaimed_port(vm, port, size, "read");
        return ~0u;
    }
    if (port == FW_CFG_PORT + 1)
        take(vm, &vm->firmware->fw_cfg, &byte, 1);
    if (port < FW_CFG_DMA_PORT)
        return byte;
    memcpy(&value, signature + at, MIN((u32)size, (u32)sizeof(signature) - at));
    return value;
}

void fw_cfg_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    if (!vm->firmware) {
        exits_unclaimed_port(vm, port, size, "write");
        return;
    }
    struct fw_cfg *f = &vm->firmware->fw_cfg;
    if (port == FW_CFG_PORT && size == 2) {
        choose(f, (u16)value);
    } else if (port == FW_CFG_DMA_PORT && size == 4) {
        f->dma_high = __builtin_bswap32(value);
    } else if (port == FW_CFG_DMA_PORT + 4 && size == 4) {
        u64 gpa = (u64)f->dma_high << 32 | __builtin_bswap32(value);
        f->dma_high = 0;
        dma(vm, f, gpa);
    }
}
