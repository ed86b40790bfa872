/* The log ring: the oldest record is overwritten.  Any core, any context but NMI; one lock. */
#include "kernel/log.h"

#include "kernel/control.h"
#include "kernel/lib/fmt.h"
#include "kernel/spinlock.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/uart.h"

#define RECORDS 256
#define TEXT_MAX 240
/* The UART takes 87 us a character, so only what a user must see is printed at boot; the rest is
 * in the ring for `host log` and the panic report. */
#define CONSOLE_LEVEL LOG_NOTICE

struct record {
    u64 tsc;
    u8 level, cpu, len;
    char text[TEXT_MAX];
};

static struct {
    struct spinlock lock;
    bool released; /* the UART belongs to the control partition */
    u64 next;      /* sequence number of the record to come */
    struct timer wake[CPU_MAX];
    struct record records[RECORDS]; /* by sequence number */
} ring;

static void wake_control(struct timer *t)
{
    (void)t;
    control_post(EVENT_LOG);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    struct record r = {.tsc = tsc_read(), .level = (u8)level, .cpu = (u8)this_cpu()->id};
    va_list ap;

    va_start(ap, fmt);
    r.len = (u8)MIN(fmt_vsnprintf(r.text, sizeof(r.text), fmt, ap), sizeof(r.text) - 1);
    va_end(ap);

    spin_lock(&ring.lock);
    ring.records[ring.next % RECORDS] = r;
    __atomic_store_n(&ring.next, ring.next + 1, __ATOMIC_RELEASE);
    bool released = ring.released;
    if (!released && level <= CONSOLE_LEVEL) {
        uart_write(r.text, r.len);
        uart_write("\n", 1);
    }
    spin_unlock(&ring.lock);

    /* The caller may hold any lock, so waking waits for the next timer check. */
    if (released && level <= LOG_NOTICE)
        timer_set(&ring.wake[r.cpu], r.tsc);
}

u64 log_read(struct log_cursor *c, char *buf, u64 len)
{
    u64 n = 0;

    spin_lock(&ring.lock);
    if (c->seq + RECORDS < ring.next) {
        c->lost += ring.next - RECORDS - c->seq;
        c->seq = ring.next - RECORDS;
    }
    if (c->seq < ring.next && len > 0) {
        const struct record *r = &ring.records[c->seq++ % RECORDS];
        n = MIN(r->len, len - 1);
        memcpy(buf, r->text, n);
        buf[n] = 0;
        c->tsc = r->tsc;
        c->level = r->level;
        c->cpu = r->cpu;
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

bool log_is_free(void)
{
    return ring.lock.next == ring.lock.owner;
}
