/* Finds and keeps the record of a panic before a warm reset.  Called by main.c on the boot CPU,
 * before ExitBootServices. */
#include "boot/crash.h"

#include "boot/memory.h"
#include "kernel/abi/crash.h"

/* Far from where firmware lies, at the bottom and at the top; the first that is free. */
static const u64 places[] = {64 * MIB, 48 * MIB, 96 * MIB, 128 * MIB, 192 * MIB, 512 * MIB};

void crash_reserve(struct boot_info *bi)
{
    for (u32 i = 0; i < ARRAY_LEN(places) && !bi->crash_record; i++)
        if (memory_keep(places[i], CRASH_BYTES, BOOT_MEM_IMAGE))
            bi->crash_record = places[i];
}

/* The length is what memory has after power-up, too. */
void crash_hand_over(struct boot_info *bi)
{
    struct crash_record *r = (struct crash_record *)bi->crash_record;

    if (!r || r->magic != CRASH_MAGIC)
        return;
    if (r->len > sizeof(r->text) || crash_sum(CRASH_SUM, r->text, r->len) != r->sum ||
        bi->module_count == BOOT_MODULES) {
        r->magic = 0;
        return;
    }
    struct boot_module *m = &bi->modules[bi->module_count++];
    __builtin_memcpy(m->name, CRASH_MODULE, sizeof(CRASH_MODULE));
    m->paddr = (u64)r;
    m->len = CRASH_BYTES;
}
