/* A driver of a virtio network device that breaks the rules, as hostile_blk.c does on a disk: on
 * the sending queue, on the receiving one, whose chains the device takes only when a frame comes,
 * on the control queue, and in the headers of frames.  A second card on the same switch, well
 * driven, sends those frames and sees that after each reset the first one works. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/hostile_queue.h"
#include "tests/guests/lib/random.h"

#define BAR(slot) (0xc0004000ull + 0x10000 * (slot)) /* as Bulkhead places it */
#define FIRST_SLOT 4u
#define QUEUES 3u
#define HEADER 12u /* of virtio-net: 5.1.6 */
#define FRAME 60u
#define F_MAC BIT(5)
#define F_CTRL_VQ BIT(17)
#define F_INDIRECT BIT(28)

enum { RX, TX, CONTROL };

static struct nic {
    struct hostile_queue queue[QUEUES];
    u8 out[2048], in[2048];
    u64 bar;
    u8 mac[6];
} bad __attribute__((aligned(4096))), good __attribute__((aligned(4096)));

static volatile u32 phase; /* 1: the other vCPU scribbles, 2: it is to stop, 3: it has */

#define COMMON(n, offset, type) (*(volatile type *)((n)->bar + (offset)))
#define STATUS(n) COMMON(n, 20, u8)

static bool is_used(struct nic *n, u32 queue)
{
    return *(volatile u16 *)&n->queue[queue].used.idx == n->queue[queue].avail.idx;
}

static bool used_within(struct nic *n, u32 queue, u32 ms)
{
    u64 end = rdtsc() + ms * tsc_per_ms();
    while (!is_used(n, queue)) {
        if (rdtsc() > end)
            return false;
        asm volatile("pause");
    }
    return true;
}

static bool broken_within(struct nic *n, u32 ms)
{
    u64 end = rdtsc() + ms * tsc_per_ms();
    while (!(STATUS(n) & HOSTILE_NEEDS_RESET)) {
        if (rdtsc() > end)
            return false;
        asm volatile("pause");
    }
    return true;
}

static void post(struct nic *n, u32 queue, u16 head, u16 by)
{
    struct hostile_queue *q = &n->queue[queue];
    q->avail.ring[q->avail.idx % HOSTILE_ENTRIES] = head;
    asm volatile("" ::: "memory");
    q->avail.idx = (u16)(q->avail.idx + by);
    asm volatile("mfence" ::: "memory");
    *(volatile u16 *)(n->bar + 0x3000 + 2 * queue) = (u16)queue;
}

static void begin(struct nic *n)
{
    u64 end = rdtsc() + 60000 * tsc_per_ms();
    STATUS(n) = 0;
    while (STATUS(n))
        check(rdtsc() < end, "the device does not reset");
    STATUS(n) = 3;
    COMMON(n, 8, u32) = 0;
    COMMON(n, 12, u32) = F_MAC | F_CTRL_VQ | F_INDIRECT;
    COMMON(n, 8, u32) = 1;
    COMMON(n, 12, u32) = 1; /* version 1 */
    STATUS(n) = 11;
    check_equal(STATUS(n), 11, "status after the features");
    for (u16 i = 0; i < QUEUES; i++) {
        struct hostile_queue *q = &n->queue[i];
        q->avail.idx = q->used.idx = 0;
        COMMON(n, 22, u16) = i;
        COMMON(n, 24, u16) = HOSTILE_ENTRIES;
        COMMON(n, 32, u64) = (u64)q->desc;
        COMMON(n, 40, u64) = (u64)&q->avail;
        COMMON(n, 48, u64) = (u64)&q->used;
        COMMON(n, 28, u16) = 1;
    }
    STATUS(n) = 15;
    for (u32 i = 0; i < 6; i++)
        n->mac[i] = *(volatile u8 *)(n->bar + 0x2000 + i);
}

/* A frame for the other card, in descriptor 0. */
static void prepare(struct nic *n, const struct nic *to, u8 mark)
{
    for (u32 i = 0; i < HEADER; i++)
        n->out[i] = 0;
    for (u32 i = 0; i < 6; i++) {
        n->out[HEADER + i] = to->mac[i];
        n->out[HEADER + 6 + i] = n->mac[i];
    }
    n->out[HEADER + 12] = 0x88; /* 88B5H, for experiments */
    n->out[HEADER + 13] = 0xb5;
    n->out[HEADER + 14] = mark;
    n->queue[TX].desc[0] = (struct descriptor){(u64)n->out, HEADER + FRAME, 0, 0};
}

static void send(struct nic *n, const struct nic *to, u8 mark)
{
    prepare(n, to, mark);
    post(n, TX, 0, 1);
    check(used_within(n, TX, 60000), "a frame is not sent");
}

static void offer(struct nic *n)
{
    n->in[HEADER + 14] = 0;
    n->queue[RX].desc[0] = (struct descriptor){(u64)n->in, sizeof(n->in), DESC_WRITE, 0};
    post(n, RX, 0, 1);
}

static void arrives(struct nic *from, struct nic *at)
{
    static u8 mark;
    mark = (u8)(mark % 200 + 1);
    offer(at);
    send(from, at, mark);
    check(used_within(at, RX, 60000), "a frame does not come");
    check_equal(*(volatile u8 *)&at->in[HEADER + 14], mark, "what came");
}

static void works(void)
{
    arrives(&bad, &good);
    arrives(&good, &bad);
}

static void mend(const char *what)
{
    check(broken_within(&bad, 60000), "%s: the device goes on", what);
    begin(&bad);
    works();
}

static void breaks_sending(const char *what, u16 head, u16 by)
{
    post(&bad, TX, head, by);
    mend(what);
}

static void sending(void)
{
    static const u64 places[] = {~0ull, ~0ull - FRAME, 0xc0044000, 1ull << 52, 0xfee00000};
    struct hostile_queue *q = &bad.queue[TX];
    prepare(&bad, &good, 1);
    q->desc[0].flags = DESC_NEXT;
    breaks_sending("a loop of one", 0, 1);
    for (u32 i = 0; i < HOSTILE_ENTRIES; i++)
        q->table[i] =
            (struct descriptor){(u64)bad.out, 1, DESC_NEXT, (u16)((i + 1) % HOSTILE_ENTRIES)};
    q->desc[0] = (struct descriptor){(u64)q->table, sizeof(q->table), DESC_INDIRECT, 0};
    breaks_sending("a loop in a table", 0, 1);
    q->table[0] = (struct descriptor){(u64)q->table, sizeof(q->table), DESC_INDIRECT, 0};
    q->desc[0] = (struct descriptor){(u64)q->table, sizeof(q->table), DESC_INDIRECT, 0};
    breaks_sending("a table in a table", 0, 1);
    for (u32 i = 0; i < ARRAY_LEN(places); i++) {
        prepare(&bad, &good, 1);
        q->desc[0].addr = places[i];
        breaks_sending("a frame outside of memory", 0, 1);
    }
    prepare(&bad, &good, 1);
    q->desc[0].len = ~0u;
    breaks_sending("a frame larger than memory", 0, 1);
    prepare(&bad, &good, 1);
    breaks_sending("a head beyond the queue", HOSTILE_ENTRIES, 1);
    breaks_sending("an index that jumps", 0, HOSTILE_ENTRIES + 1);
    breaks_sending("an index that goes back", 0, 0xffff);
    q->desc[0] = (struct descriptor){(u64)bad.out, HEADER, DESC_WRITE | DESC_NEXT, 1};
    q->desc[1] = (struct descriptor){(u64)bad.out, FRAME, 0, 0};
    breaks_sending("written before read", 0, 1);
}

/* The device looks at these chains when the other card's frame comes. */
static void breaks_receiving(const char *what)
{
    post(&bad, RX, 0, 1);
    send(&good, &bad, 9);
    mend(what);
}

static void receiving(void)
{
    struct hostile_queue *q = &bad.queue[RX];
    q->desc[0] = (struct descriptor){(u64)bad.in, 64, DESC_WRITE | DESC_NEXT, 0};
    breaks_receiving("a loop of one to receive");
    q->desc[0] = (struct descriptor){1ull << 52, 2048, DESC_WRITE, 0};
    breaks_receiving("a buffer outside of memory");
    q->desc[0] = (struct descriptor){(u64)q->table, 17, DESC_INDIRECT, 0};
    breaks_receiving("a table and a half to receive");
    /* Nothing that can be written, and too little: the frame is lost, and that is all. */
    q->desc[0] = (struct descriptor){(u64)bad.in, 64, 0, 0};
    post(&bad, RX, 0, 1);
    send(&good, &bad, 9);
    q->desc[0] = (struct descriptor){(u64)bad.in, 5, DESC_WRITE, 0};
    post(&bad, RX, 0, 1);
    send(&good, &bad, 9);
    check_equal(STATUS(&bad) & HOSTILE_NEEDS_RESET, 0, "broken by buffers that are too small");
    begin(&bad);
    works();
}

/* Frames that are none, and headers that claim anything: dropped, and the device goes on. */
static void frames(void)
{
    static const u32 lengths[] = {0,           1,           HEADER - 1,     HEADER,
                                  HEADER + 13, HEADER + 14, sizeof(bad.out)};
    for (u32 i = 0; i < ARRAY_LEN(lengths); i++) {
        prepare(&bad, &good, 2);
        bad.queue[TX].desc[0].len = lengths[i];
        post(&bad, TX, 0, 1);
        check(used_within(&bad, TX, 60000), "a frame of %u bytes is kept", lengths[i]);
    }
    random_start(7, 1);
    for (u32 i = 0; i < 300; i++) {
        prepare(&bad, &good, 3);
        for (u32 k = 0; k < HEADER; k++)
            bad.out[k] = random_below(3) ? (u8)random_next() : (u8)random_below(6);
        if (i % 2)
            bad.out[HEADER + 12] = 8, bad.out[HEADER + 13] = 0; /* IPv4 */
        for (u32 k = HEADER + 14; i % 2 && k < HEADER + 100; k++)
            bad.out[k] = random_below(2) ? (u8)random_next() : 0x45;
        bad.queue[TX].desc[0].len = HEADER + FRAME + random_below(1000);
        post(&bad, TX, 0, 1);
        check(used_within(&bad, TX, 60000), "frame %u is kept", i);
    }
    check_equal(STATUS(&bad) & HOSTILE_NEEDS_RESET, 0, "broken by contents");
    begin(&good); /* whose buffer may have been used */
    works();
}

static void commands(void)
{
    struct hostile_queue *q = &bad.queue[CONTROL];
    for (u32 i = 0; i < 64; i++) {
        bad.out[0] = (u8)(i / 8); /* class */
        bad.out[1] = (u8)(i % 8);
        q->desc[0] = (struct descriptor){(u64)bad.out, i % 5, DESC_NEXT, 1};
        q->desc[1] = (struct descriptor){(u64)bad.in, i % 2, DESC_WRITE, 0};
        post(&bad, CONTROL, 0, 1);
        check(used_within(&bad, CONTROL, 60000), "command %u is kept", i);
    }
    q->desc[0] = (struct descriptor){(u64)bad.out, 8, DESC_NEXT, 0};
    post(&bad, CONTROL, 0, 1);
    mend("a command that is a loop");
}

static void scribble(unsigned index)
{
    (void)index;
    random_start(1, 1);
    while (phase == 0)
        asm volatile("pause");
    while (phase == 1) {
        struct hostile_queue *q = &bad.queue[random_below(2)];
        struct descriptor *d = &q->desc[0];
        switch (random_below(5)) {
        case 0:
            d->addr = random_below(2) ? random_next() : (u64)bad.out;
            break;
        case 1:
            d->len = random_below(2) ? (u32)random_next() : FRAME;
            break;
        case 2:
            d->flags = (u16)(random_next() & 7);
            break;
        case 3:
            bad.out[random_below(HEADER + 14)] = (u8)random_next();
            break;
        default:
            q->avail.ring[random_below(HOSTILE_ENTRIES)] = (u16)(random_next() & 15);
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
        prepare(&bad, &good, 4);
        post(&bad, RX, 0, 1);
        post(&bad, TX, 0, 1);
        send(&good, &bad, 5);
        if (STATUS(&bad) & HOSTILE_NEEDS_RESET) {
            broken++;
            begin(&bad);
        }
    }
    phase = 2;
    while (phase != 3)
        asm volatile("pause");
    print("broken %u times\n", broken);
    begin(&bad);
    begin(&good);
    works();
}

void guest_main(void)
{
    bad.bar = BAR(FIRST_SLOT);
    good.bar = BAR(FIRST_SLOT + 1);
    begin(&bad);
    begin(&good);
    works();
    sending();
    receiving();
    frames();
    commands();
    change_while_read();
    guest_pass();
}
