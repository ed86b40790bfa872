/* What a frame between two guests and a disk request cost, in TSC ticks; the command line says
 * which:
 *
 *   receive SIZE BURST          answers every BURST frames with a small one
 *   send SIZE BURST COUNT       COUNT bursts, each when the last one was answered
 *   disk DEPTH COUNT            COUNT reads of 4 KiB, DEPTH at a time, in batches
 *
 * Drivers as Linux's: event index, interrupts by MSI-X, a doorbell only if it is asked for, HLT
 * when there is nothing to do.  Prints "BENCH WHAT least TICKS worst TICKS of N", of its bursts or
 * batches of N, and stays halted. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"
#include "tests/guests/lib/virtio.h"

#define VECTOR 0x60
#define QUIET 60000000 /* ticks: longer than it takes to attach its console */
#define HEADER 12u     /* of virtio-net: 5.1.6 */
#define ETHERNET 14u
#define TYPE 0xb588 /* 88B5H, for experiments */
#define BLOCK 4096u
#define NEVER 0x8000 /* used_event this far ahead: no interrupts */
enum { RX, TX };
enum { HELLO = 1, DATA, ANSWER };

struct packet {
    u8 header[HEADER];
    u8 to[6], from[6];
    u16 type;
    u8 kind;
    u8 body[1501];
} __attribute__((packed));

static struct virtio device;
static u64 began, least = ~0ull, worst; /* of a burst or batch */
static struct packet in[VIRTIO_ENTRIES], out[VIRTIO_ENTRIES];
static u8 own[6];
static u16 next_out;

static void ended(struct frame *f)
{
    (void)f;
    wrmsr(0x80b, 0); /* EOI */
}

static u32 number(u32 index)
{
    const char *at = platform_command_line();
    u32 n = 0;

    for (u32 i = 0; i <= index; i++)
        while (*at && *at++ != ' ')
            ;
    for (; *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (u32)(*at - '0');
    return n;
}

static void batch_begins(void)
{
    began = rdtsc();
}

static void batch_ends(void)
{
    u64 ticks = rdtsc() - began;

    least = MIN(least, ticks);
    worst = MAX(worst, ticks);
}

static void report(const char *what, u32 of)
{
    print("BENCH %s least %012lu worst %012lu of %06u\n", what, least, worst, of);
}

static void open_device(u32 type, u32 queues)
{
    for (u32 i = 0; i < queues; i++)
        guest_handlers[VECTOR + i] = ended;
    check(virtio_open(&device, type, queues, VIRTIO_F_EVENT_IDX, VECTOR), "there is no device");
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void offer_in(u16 entry)
{
    u16 before = device.queue[RX].avail.index;

    virtio_put(&device, RX, entry, &in[entry], sizeof(in[entry]), true);
    if (virtio_wants_kick(&device, RX, before))
        virtio_kick(&device, RX);
}

static void open_net(void)
{
    open_device(1, 2);
    for (u32 i = 0; i < sizeof(own); i++)
        own[i] = *(volatile u8 *)(device.device + i);
    device.queue[TX].avail.ring[device.queue[TX].size] = NEVER;
    for (u16 i = 0; i < device.queue[RX].size; i++)
        offer_in(i);
}

/* `size`: of the frame.  Its memory is free again when the peer has answered the burst before. */
static void send_frame(const u8 to[6], u8 kind, u32 size)
{
    u16 entry = next_out++ % device.queue[TX].size, before = device.queue[TX].avail.index;
    struct packet *p = &out[entry];
    u32 len;

    while (virtio_take(&device, TX, &len) != ~0u)
        ;
    device.queue[TX].avail.ring[device.queue[TX].size] = (u16)(device.queue[TX].seen + NEVER);
    for (u32 i = 0; i < 6; i++) {
        p->to[i] = to[i];
        p->from[i] = own[i];
    }
    p->type = TYPE;
    p->kind = kind;
    virtio_put(&device, TX, entry, p, HEADER + size, false);
    if (virtio_wants_kick(&device, TX, before))
        virtio_kick(&device, TX);
}

/* The next of ours; others are dropped.  ticks: at most so long.  Its kind, 0: none came. */
static u8 receive_frame(u8 from[6], u64 ticks)
{
    u64 end = rdtsc() + ticks;
    u32 len;

    for (;;) {
        u32 entry = virtio_take(&device, RX, &len);
        if (entry == ~0u) {
            if (ticks && rdtsc() > end)
                return 0;
            if (ticks)
                asm volatile("sti; pause; cli");
            else
                sti_hlt_cli();
            continue;
        }
        struct packet *p = &in[entry % VIRTIO_ENTRIES];
        u8 kind = p->type == TYPE ? p->kind : 0;
        for (u32 i = 0; i < 6; i++)
            from[i] = p->from[i];
        offer_in((u16)entry);
        if (kind)
            return kind;
    }
}

static void receive(void)
{
    u32 burst = number(1), got = 0;
    u8 from[6];

    open_net();
    print("BENCH receive ready\n");
    for (;;) {
        u8 kind = receive_frame(from, 0);
        got += kind == DATA;
        if (kind == DATA && got % burst)
            continue;
        send_frame(from, ANSWER, 60);
    }
}

static void send(void)
{
    static const u8 all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    u32 size = number(0), burst = number(1), count = number(2);
    u8 peer[6], from[6];

    open_net();
    do
        send_frame(all, HELLO, 60);
    while (receive_frame(peer, 100000000) != ANSWER);
    for (u64 quiet = rdtsc() + QUIET; rdtsc() < quiet;)
        ;
    for (u32 n = 0; n < count; n++) {
        batch_begins();
        for (u32 i = 0; i < burst; i++)
            send_frame(peer, DATA, size);
        while (receive_frame(from, 0) != ANSWER)
            ;
        batch_ends();
    }
    report("send", burst);
}

/* ---- disk ------------------------------------------------------------------------------------ */

static struct {
    u32 type, reserved;
    u64 sector;
} heads[VIRTIO_ENTRIES];
static u8 blocks[VIRTIO_ENTRIES / 3][BLOCK] __attribute__((aligned(4096)));
static u8 answers[VIRTIO_ENTRIES];

static void ask(u32 slot, u32 n)
{
    u16 before = device.queue[0].avail.index;

    heads[slot].sector = n % 64 * (BLOCK / 512);
    answers[slot] = 0xff;
    virtio_request_at(&device, 0, (u16)(3 * slot), &heads[slot], 16, blocks[slot], BLOCK, true,
                      &answers[slot]);
    if (virtio_wants_kick(&device, 0, before))
        virtio_kick(&device, 0);
}

/* In batches, each when the last one is done: so every run is the same. */
static void disk(void)
{
    u32 depth = number(0), count = number(1), len;

    open_device(2, 1);
    for (u64 quiet = rdtsc() + QUIET; rdtsc() < quiet;)
        ;
    for (u32 asked = 0; asked < count; asked += depth) {
        batch_begins();
        for (u32 i = 0; i < depth; i++)
            ask(i, asked + i);
        for (u32 done = 0; done < depth;) {
            u32 entry = virtio_take(&device, 0, &len);
            if (entry == ~0u) {
                sti_hlt_cli();
                continue;
            }
            check_equal(answers[entry / 3], 0, "answer to a read");
            done++;
        }
        if (asked) /* the first one has memory allocated that the others use again */
            batch_ends();
    }
    report("disk", depth);
}

void guest_main(void)
{
    const char *line = platform_command_line();

    apic_enable_x2();
    cli();
    if (*line == 'r')
        receive();
    else if (*line == 's')
        send();
    else
        disk();
    for (;;)
        asm volatile("cli; hlt");
}
