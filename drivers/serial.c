/* A 16550 behind a base address of a PCI function: whoever took it speaks and listens there, else
 * it carries the log, from the first record on, and does not listen.  Registers as of PC16550D,
 * section
 * 8.  Called by pci.c, by console.c, by its interrupt and its timer on the loop. */
#include "drivers/serial.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "control/rt/port.h"
#include "control/rt/ring.h"
#include "control/rt/sys.h"
#include "drivers/driver.h"
#include "drivers/pci.h"

typedef unsigned long long ull;

enum uart_register {
    RBR = 0,
    THR = 0,
    IER = 1,
    FCR = 2,
    IIR = 2,
    LCR = 3,
    MCR = 4,
    LSR = 5,
    SCR = 7
};
#define REGISTERS 8
#define DIVISOR 0         /* and 1, while LCR_DIVISOR is on */
#define DIVISOR_115200 1u /* of the usual clock, 1.8432 MHz */
#define IER_RX BIT(0)
#define FCR_ENABLE_CLEAR 0x07
#define IIR_FIFO 0xc0
#define LCR_8N1 0x03
#define LCR_DIVISOR 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2: some cards gate their interrupt by it, as a PC does */
#define LSR_DATA BIT(0)
#define LSR_THR_EMPTY BIT(5)
#define LSR_ALL_EMPTY BIT(6)
#define LSR_ABSENT 0xff
#define FIFO_SIZE 16u

#define TX_SIZE 16384
#define RX_MOST 256u /* bytes at once: a line that is stuck must not hold the loop */
#define LINE_MOST 320
#define LOOK_EVERY (100 * CLOCK_MS)
#define FLUSH_WITHIN (2 * CLOCK_SECOND)
#define SEND_EVERY (1 * CLOCK_MS) /* fewer bytes than a FIFO at 115200 baud */

struct serial {
    const struct pci_bar *bar;
    const char *name;
    const struct serial_user *user; /* NULL: it carries the log */
    struct event room;
    bool gone;
    u32 burst; /* bytes that it takes at once */
    struct log_cursor at;
    struct ring tx;
    u8 tx_bytes[TX_SIZE];
    struct loop_timer timer;
};

static const struct serial_user *(*offer)(struct serial *s);

static u8 get(const struct serial *s, u32 r)
{
    return s->bar->registers ? mmio_read8(s->bar->registers + r)
                             : port_in8((u16)(s->bar->port + r));
}

static void put(const struct serial *s, u32 r, u8 value)
{
    if (s->bar->registers)
        mmio_write8(s->bar->registers + r, value);
    else
        port_out8((u16)(s->bar->port + r), value);
}

/* What finds no room waits in the kernel's ring. */
static void take_records(struct serial *s)
{
    char text[256], line[LINE_MOST];

    while (ring_room(&s->tx) >= LINE_MOST && sys_log_read(&s->at, text, sizeof(text)) > 0) {
        u64 us = clock_ticks_to_ns(s->at.tsc - sys_host_info()->boot_tsc) / 1000;
        int n = snprintf(line, sizeof(line), "[%5llu.%06llu] %-6s %s\r\n", (ull)(us / 1000000),
                         (ull)(us % 1000000), log_level_name(s->at.level), text);

        for (int i = 0; i < n - 2 && i < (int)LINE_MOST - 1; i++)
            if (line[i] < ' ' || line[i] > '~') /* no escape sequences for whoever watches */
                line[i] = '?';
        ring_put(&s->tx, line, MIN((u32)n, LINE_MOST - 1u));
    }
}

static void receive(struct serial *s)
{
    u8 bytes[RX_MOST];
    u8 status;
    u32 n = 0;

    while (n < RX_MOST && (status = get(s, LSR)) != LSR_ABSENT && (status & LSR_DATA))
        bytes[n++] = get(s, RBR);
    if (n)
        s->user->input(s->user->owner, bytes, n);
}

static void send(struct serial *s, u8 status)
{
    for (u32 i = 0; (status & LSR_THR_EMPTY) && i < s->burst && ring_used(&s->tx); i++)
        put(s, THR, (u8)ring_get_byte(&s->tx));
}

static void on_timer(void *owner)
{
    struct serial *s = owner;
    u8 status = get(s, LSR);

    if (status == LSR_ABSENT) {
        log_error("%s: it was pulled out", s->name);
        s->gone = true;
        if (s->user)
            s->user->gone(s->user->owner);
        event_signal(&s->room);
        return;
    }
    if (s->user)
        receive(s); /* should an interrupt get lost */
    else
        take_records(s);
    send(s, status);
    if (s->room.waiters && ring_room(&s->tx) >= TX_SIZE / 2)
        event_signal(&s->room);
    loop_timer_set(&s->timer, clock_after(ring_used(&s->tx) ? SEND_EVERY : LOOK_EVERY));
}

static void on_interrupt(void *owner)
{
    struct serial *s = owner;

    if (!s->gone)
        receive(s);
}

/* ---- for its user ------------------------------------------------------------------------------
 */
void serial_offer(const struct serial_user *(*take)(struct serial *s))
{
    offer = take;
}

const char *serial_name(const struct serial *s)
{
    return s->name;
}

u32 serial_write(struct serial *s, const void *bytes, u32 len)
{
    if (s->gone)
        return len;
    if (!ring_used(&s->tx))
        loop_timer_set(&s->timer, clock_tsc());
    return ring_put(&s->tx, bytes, len);
}

void serial_flush(struct serial *s)
{
    u64 end = clock_after(FLUSH_WITHIN);

    while (ring_used(&s->tx) && !s->gone && clock_tsc() < end)
        send(s, get(s, LSR));
    while (!(get(s, LSR) & LSR_ALL_EMPTY) && clock_tsc() < end)
        ;
}

struct event *serial_room_event(struct serial *s)
{
    return &s->room;
}

/* ---- bringing up ------------------------------------------------------------------------------
 */
/* False: what answers is no 16550. */
static bool set_up(struct serial *s)
{
    put(s, SCR, 0x5a);
    if (get(s, SCR) != 0x5a)
        return false;
    put(s, IER, 0);
    put(s, LCR, LCR_DIVISOR);
    put(s, DIVISOR, DIVISOR_115200);
    put(s, DIVISOR + 1, 0);
    put(s, LCR, LCR_8N1);
    put(s, FCR, FCR_ENABLE_CLEAR);
    put(s, MCR, MCR_DTR_RTS_OUT2);
    s->burst = (get(s, IIR) & IIR_FIFO) == IIR_FIFO ? FIFO_SIZE : 1;
    return true;
}

static enum hv_status probe(struct pci_device *pci)
{
    static bool there;
    enum hv_status status = pci_map(pci, 0, REGISTERS);

    if (status != HV_OK)
        return status;
    if (there) {
        log_info("%s: not used, another serial port is", pci->name);
        return HV_OK;
    }
    struct serial *s = calloc(1, sizeof(*s));
    if (!s)
        return HV_ENOMEM;
    s->bar = &pci->bars[0];
    s->name = pci->name;
    pci_enable(pci);
    if (!set_up(s)) {
        free(s);
        return HV_EIO;
    }
    there = true;
    pci->state = s;
    ring_init(&s->tx, s->tx_bytes, TX_SIZE);
    s->timer.fn = on_timer;
    s->timer.owner = s;
    loop_timer_set(&s->timer, clock_after(SEND_EVERY));
    s->user = offer ? offer(s) : NULL;
    log_info("%s: %s, 115200 8N1", s->name, s->user ? "a console" : "the log goes to it");
    if (s->user) {
        pci_interrupts(pci, 1);
        pci_on_interrupt(pci, 0, on_interrupt, s);
        put(s, IER, IER_RX);
    }
    return HV_OK;
}

static const struct driver_id ids[] = {
    {DRIVER_ANY, DRIVER_ANY, 0x070000, 0xffff00, "serial port (16550)"},
    {0},
};
static const struct driver serial = {.name = "serial", .ids = ids, .probe = probe};
DRIVER(serial);
