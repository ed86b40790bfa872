/* The log ring: variable-size records in a byte ring, the oldest overwritten.  Any core, any
 * context but NMI; one lock. */
#include "kernel/log.h"

#include "kernel/control.h"
#include "kernel/lib/fmt.h"
#include "kernel/spinlock.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/uart.h"

#define RING_BYTES 32768ull
#define RING_RECORDS 512
#define TEXT_MAX 240
/* The UART takes 87 us a character, so only what a user must see is printed at boot; the rest is
 * in the ring for `host log` and the panic report. */
#define CONSOLE_LEVEL LOG_NOTICE

struct record {
    u64 tsc;
    u16 len;
    u8 level;
    u8 cpu;
};

static struct {
    struct spinlock lock;
    bool released;           /* the UART belongs to the control partition */
    u64 first, next;         /* sequence numbers of the oldest record and the one to come */
    u64 head;                /* bytes ever written */
    u64 start[RING_RECORDS]; /* where a record starts, in bytes ever written */
    struct timer wake[CPU_MAX];
    u8 bytes[RING_BYTES];
} ring;

static const char *const level_names[LOG_LEVELS] = {
    [LOG_PANIC] = "panic: ", [LOG_ERROR] = "error: ", [LOG_WARN] = "warning: ",
    [LOG_NOTICE] = "",       [LOG_INFO] = "",         [LOG_DEBUG] = "",
};

static void ring_put(u64 at, const void *from, u64 len)
{
    u64 offset = at % RING_BYTES, part = MIN(len, RING_BYTES - offset);
    memcpy(ring.bytes + offset, from, part);
    memcpy(ring.bytes, (const u8 *)from + part, len - part);
}

static void ring_get(void *to, u64 at, u64 len)
{
    u64 offset = at % RING_BYTES, part = MIN(len, RING_BYTES - offset);
    memcpy(to, ring.bytes + offset, part);
    memcpy((u8 *)to + part, ring.bytes, len - part);
}

static void ring_append(const struct record *r, const char *text)
{
    u64 size = sizeof(*r) + r->len;
    while (ring.first < ring.next &&
           (ring.next - ring.first == RING_RECORDS ||
            ring.head + size - ring.start[ring.first % RING_RECORDS] > RING_BYTES))
        ring.first++;
    ring_put(ring.head, r, sizeof(*r));
    ring_put(ring.head + sizeof(*r), text, r->len);
    ring.start[ring.next % RING_RECORDS] = ring.head;
    ring.head += size;
    __atomic_store_n(&ring.next, ring.next + 1, __ATOMIC_RELEASE);
}

static void wake_control(struct timer *t)
{
    (void)t;
    control_post(EVENT_LOG);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char text[TEXT_MAX];
    struct record r = {.tsc = tsc_read(), .level = (u8)level, .cpu = (u8)this_cpu()->id};
    va_list ap;

    va_start(ap, fmt);
    r.len = (u16)MIN(fmt_vsnprintf(text, sizeof(text), fmt, ap), sizeof(text) - 1);
    va_end(ap);

    spin_lock(&ring.lock);
    ring_append(&r, text);
    bool released = ring.released;
    if (!released && level <= CONSOLE_LEVEL) {
        uart_write(level_names[level], strlen(level_names[level]));
        uart_write(text, r.len);
        uart_write("\n", 1);
    }
    spin_unlock(&ring.lock);

    /* The caller may hold any lock, so waking waits for the next timer check. */
    if (released && level <= LOG_NOTICE)
        timer_set(&ring.wake[r.cpu], r.tsc);
}

u64 log_read(struct log_cursor *c, char *buf, u64 len)
{
    struct record r;
    u64 n = 0;

    spin_lock(&ring.lock);
    if (c->seq < ring.first) {
        c->lost += ring.first - c->seq;
        c->seq = ring.first;
    }
    if (c->seq < ring.next && len > 0) {
        u64 at = ring.start[c->seq % RING_RECORDS];
        ring_get(&r, at, sizeof(r));
        n = MIN(r.len, len - 1);
        ring_get(buf, at + sizeof(r), n);
        buf[n] = 0;
        c->tsc = r.tsc;
        c->level = r.level;
        c->cpu = r.cpu;
        c->seq++;
    }
    spin_unlock(&ring.lock);
    return n;
}

u64 log_next(void)
{
    return __atomic_load_n(&ring.next, __ATOMIC_ACQUIRE);
}

void log_console_release(void)
{
    ring.released = true;
    for (unsigned i = 0; i < CPU_MAX; i++)
        ring.wake[i].fire = wake_control;
}

void log_console_take(void)
{
    ring.released = false;
}

void log_break_lock(void)
{
    ring.lock.next = ring.lock.owner;
}
