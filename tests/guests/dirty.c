/* Writes known pages whenever a key arrives, for the dirty log: some by the boot CPU, some by a
 * second vCPU; their neighbours are only read.  Never ends. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define COM1 0x3f8
#define KEY 0x60
#define WAKE 0x61
#define FIELD_BASE 0x1000000ull /* 16 MiB: nothing of ours is there */
#define PAGE(n) ((volatile u8 *)(FIELD_BASE + (n)*PAGE_SIZE))

static volatile u64 keys, round, peer_done;

/* Odd rounds write these pages, even ones the page after each. */
static const u32 pages[] = {0, 3, 5, 511, 514, 1022};
static const u32 peer_pages[] = {700, 1500};

static void on_key(struct frame *f)
{
    (void)f;
    (void)inb(COM1);
    keys++;
    apic_eoi();
}

static void on_wake(struct frame *f)
{
    (void)f;
    apic_eoi();
}

static void write_all(const u32 *list, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        (*PAGE(list[i] + (round & 1 ? 0 : 1)))++;
        (void)*PAGE(list[i] + 2);
    }
}

static void peer(unsigned index)
{
    (void)index;
    apic_enable_x2();
    for (;;) {
        while (peer_done == round)
            sti_hlt_cli();
        write_all(peer_pages, ARRAY_LEN(peer_pages));
        peer_done = round;
    }
}

void guest_main(void)
{
    guest_handlers[KEY] = on_key;
    guest_handlers[WAKE] = on_wake;
    apic_enable_x2();
    guest_start_cpus(peer);
    outb(COM1 + 4, 0x0b); /* OUT2 lets the interrupt out */
    ioapic_route(4, KEY, apic_id());
    outb(COM1 + 1, 1); /* a character has come */
    for (;;) {
        print("round %lu is done\n", round);
        while (keys == round)
            sti_hlt_cli();
        round++;
        wrmsr(0x830, (u64)guest_apic_id_of(1) << 32 | APIC_ICR_ASSERT | WAKE);
        write_all(pages, ARRAY_LEN(pages));
        while (peer_done != round)
            pause();
    }
}
