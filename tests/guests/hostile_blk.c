/* A driver of a virtio block device that breaks the rules: loops, addresses outside of memory,
 * indexes that jump, descriptors that another vCPU changes meanwhile.  Each time the device must
 * ask for a reset, or refuse the request, and work after the reset. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/hostile_queue.h"
#include "tests/guests/lib/random.h"

#define BAR 0xc0084000ull /* slot 8, as Bulkhead places it: common, ISR, device, notify by page */
#define SECTOR 512u

#define COMMON(offset, type) (*(volatile type *)(BAR + (offset)))
#define STATUS COMMON(20, u8)

static struct {
    struct hostile_queue ring;
    struct {
        u32 type, reserved;
        u64 sector;
    } header;
    u8 data[2 * SECTOR];
    u8 answer;
} q __attribute__((aligned(4096)));

static volatile u32 phase; /* 1: the other vCPU scribbles, 2: it has stopped */

static void notify(void)
{
    *(volatile u16 *)(BAR + 0x3000) = 0;
}

static bool within(u32 ms, bool (*fn)(void))
{
    u64 end = rdtsc() + ms * tsc_per_ms();
    while (!fn()) {
        if (rdtsc() > end)
            return false;
        asm volatile("pause");
    }
    return true;
}

static bool is_reset(void)
{
    return STATUS == 0;
}

static bool is_used(void)
{
    return *(volatile u16 *)&q.ring.used.idx == q.ring.avail.idx;
}

static bool is_broken(void)
{
    return STATUS & HOSTILE_NEEDS_RESET;
}

static void negotiate(void)
{
    STATUS = 0;
    check(within(60000, is_reset), "the device does not reset");
    STATUS = 3;
    COMMON(8, u32) = 0;
    COMMON(12, u32) = BIT(28); /* indirect descriptors */
    COMMON(8, u32) = 1;
    COMMON(12, u32) = 1; /* version 1 */
    STATUS = 11;
    check_equal(STATUS, 11, "status after the features");
}

static void open_queue(u64 desc)
{
    COMMON(22, u16) = 0;
    COMMON(24, u16) = HOSTILE_ENTRIES;
    COMMON(32, u64) = desc;
    COMMON(40, u64) = (u64)&q.ring.avail;
    COMMON(48, u64) = (u64)&q.ring.used;
    COMMON(28, u16) = 1;
    STATUS = 15;
}

static void begin(void)
{
    negotiate();
    q.ring.avail.idx = q.ring.used.idx = 0;
    open_queue((u64)q.ring.desc);
}

/* Header, `len` bytes of data, answer, in descriptors 0 to 2. */
static void prepare(u32 type, u64 sector, u32 len)
{
    bool in = type == 0 || type == 8;
    q.header.type = type;
    q.header.sector = sector;
    q.ring.desc[0] = (struct descriptor){(u64)&q.header, 16, DESC_NEXT, 1};
    q.ring.desc[1] =
        (struct descriptor){(u64)q.data, len, (u16)(DESC_NEXT | (in ? DESC_WRITE : 0)), 2};
    q.ring.desc[2] = (struct descriptor){(u64)&q.answer, 1, DESC_WRITE, 0};
    q.answer = 0xee;
}

static void post(u16 head, u16 by)
{
    q.ring.avail.ring[q.ring.avail.idx % HOSTILE_ENTRIES] = head;
    asm volatile("" ::: "memory");
    q.ring.avail.idx = (u16)(q.ring.avail.idx + by);
    asm volatile("mfence" ::: "memory");
    notify();
}

static u8 request(u32 type, u64 sector, u32 len)
{
    prepare(type, sector, len);
    post(0, 1);
    check(within(60000, is_used), "request %u is not answered", type);
    return *(volatile u8 *)&q.answer;
}

static void works(u8 seed)
{
    for (u32 i = 0; i < sizeof(q.data); i++)
        q.data[i] = (u8)(i + seed);
    check_equal(request(1, 5, sizeof(q.data)), 0, "answer to a write");
    for (u32 i = 0; i < sizeof(q.data); i++)
        q.data[i] = 0;
    check_equal(request(0, 5, sizeof(q.data)), 0, "answer to a read");
    for (u32 i = 0; i < sizeof(q.data); i++)
        check_equal(q.data[i], (u8)(i + seed), "what was read");
}

/* The request as the caller has spoilt it; the device breaks, and a reset mends it. */
static void breaks(const char *what, u16 head, u16 by)
{
    static u8 seed;
    post(head, by);
    check(within(60000, is_broken), "%s: the device goes on", what);
    begin();
    works(seed++);
}

static void loops(void)
{
    prepare(0, 0, SECTOR);
    q.ring.desc[1].next = 1;
    breaks("a loop of one", 0, 1);
    prepare(0, 0, SECTOR);
    q.ring.desc[2].flags = DESC_WRITE | DESC_NEXT;
    breaks("a loop of three", 0, 1);
    for (u32 i = 0; i < HOSTILE_ENTRIES; i++)
        q.ring.table[i] =
            (struct descriptor){(u64)q.data, 1, DESC_NEXT, (u16)((i + 1) % HOSTILE_ENTRIES)};
    q.ring.desc[0] = (struct descriptor){(u64)q.ring.table, sizeof(q.ring.table), DESC_INDIRECT, 0};
    breaks("a loop in a table", 0, 1);
    q.ring.table[0] =
        (struct descriptor){(u64)q.ring.table, sizeof(q.ring.table), DESC_INDIRECT, 0};
    q.ring.desc[0] = (struct descriptor){(u64)q.ring.table, sizeof(q.ring.table), DESC_INDIRECT, 0};
    breaks("a table in a table", 0, 1);
}

static void outside(void)
{
    static const u64 places[] = {~0ull, ~0ull - SECTOR + 1, 0xc0084000, 1ull << 52, 0xfee00000};
    for (u32 i = 0; i < ARRAY_LEN(places); i++) {
        prepare(0, 0, SECTOR);
        q.ring.desc[1].addr = places[i];
        breaks("data outside of memory", 0, 1);
        q.ring.desc[0] = (struct descriptor){places[i], 64, DESC_INDIRECT, 0};
        breaks("a table outside of memory", 0, 1);
    }
    prepare(0, 0, ~0u);
    breaks("more data than memory", 0, 1);
    q.ring.desc[0] = (struct descriptor){(u64)q.ring.table, 17, DESC_INDIRECT, 0};
    breaks("a table and a half", 0, 1);
    q.ring.desc[0] = (struct descriptor){(u64)q.ring.table, 0, DESC_INDIRECT, 0};
    breaks("an empty table", 0, 1);
}

static void misshapen(void)
{
    prepare(0, 0, SECTOR);
    q.ring.desc[0].len = 15;
    q.ring.desc[1].flags = DESC_WRITE;
    breaks("half a header", 0, 1);
    prepare(1, 0, SECTOR);
    q.ring.desc[1].flags = 0;
    breaks("no room for the answer", 0, 1);
    prepare(0, 0, SECTOR);
    q.ring.desc[0].flags = DESC_NEXT | DESC_WRITE;
    q.ring.desc[1].flags = DESC_NEXT;
    breaks("written before read", 0, 1);
    prepare(0, 0, SECTOR);
    breaks("a head beyond the queue", HOSTILE_ENTRIES, 1);
    prepare(0, 0, SECTOR);
    breaks("an index that jumps", 0, HOSTILE_ENTRIES + 1);
    prepare(0, 0, SECTOR);
    breaks("an index that goes back", 0, 0xffff);
    negotiate();
    open_queue(1ull << 52);
    check(within(60000, is_broken), "a queue outside of memory is taken");
    begin();
}

static void refused(void)
{
    check_equal(request(0, 1ull << 60, SECTOR), 1, "answer beyond the end");
    check_equal(request(0, ~0ull, SECTOR), 1, "answer far beyond the end");
    check_equal(request(1, 1ull << 30, SECTOR), 1, "answer to a write beyond the end");
    check_equal(request(1, 0, 100), 1, "answer to a part of a sector");
    check_equal(request(77, 0, SECTOR), 2, "answer to an unknown request");
    for (u32 i = 0; i < sizeof(q.data); i++)
        q.data[i] = 0xff;
    check_equal(request(13, 0, 16), 1, "answer to zeroing all there is");
    check_equal(request(11, 0, 17), 1, "answer to a range of 17 bytes");
    works(99);
}

/* The other vCPU changes what the device is reading. */
static void scribble(unsigned index)
{
    (void)index;
    random_start(1, 1);
    while (phase == 0)
        asm volatile("pause");
    while (phase == 1) {
        struct descriptor *d = &q.ring.desc[random_below(3)];
        switch (random_below(5)) {
        case 0:
            d->addr = random_next();
            break;
        case 1:
            d->len = (u32)random_next();
            break;
        case 2:
            d->flags = (u16)(random_next() & 7);
            break;
        case 3:
            d->next = (u16)(random_next() & 7);
            break;
        default:
            q.ring.avail.ring[random_below(HOSTILE_ENTRIES)] = (u16)(random_next() & 15);
        }
    }
    phase = 3;
    for (;;)
        asm volatile("cli; hlt");
}

static void change_while_read(void)
{
    u32 broken = 0;
    if (guest_cpu_count() < 2)
        return;
    guest_start_cpus(scribble);
    phase = 1;
    for (u32 i = 0; i < 300; i++) {
        prepare(0, i % 64, SECTOR);
        post(0, 1);
        if (STATUS & HOSTILE_NEEDS_RESET) {
            broken++;
            begin();
        }
    }
    phase = 2;
    while (phase != 3)
        asm volatile("pause");
    print("broken %u times\n", broken);
    begin();
    works(7);
}

void guest_main(void)
{
    begin();
    works(3);
    loops();
    outside();
    misshapen();
    refused();
    change_while_read();
    guest_pass();
}
