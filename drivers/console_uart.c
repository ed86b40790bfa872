/* 16550 of the console: registers per the National Semiconductor PC16550D data sheet, sections 8.0
 * and on.  Called by control/console.c, and by the loop for interrupt and timers; one thread. */
#include "drivers/console_uart.h"

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/port.h"
#include "control/rt/ring.h"
#include "control/rt/sys.h"

enum uart_register {
    RBR = 0,
    THR = 0,
    IER = 1,
    IIR = 2,
    FCR = 2,
    LCR = 3,
    MCR = 4,
    LSR = 5,
    SCR = 7
};

#define IER_RX BIT(0)
#define IER_TX BIT(1)
#define IIR_NONE BIT(0)
#define FCR_ENABLE_CLEAR 0x07 /* FIFOs on and emptied, trigger at one byte */
#define LCR_8N1 0x03
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt line on a PC */
#define LSR_DATA BIT(0)
#define LSR_THR_EMPTY BIT(5)
#define LSR_ALL_EMPTY BIT(6)
#define FIFO_SIZE 16

#define RX_SIZE 4096
#define TX_SIZE 16384
#define POLL_INPUT (10 * CLOCK_MS)
#define POLL_OUTPUT (1 * CLOCK_MS) /* about a FIFO at 115200 baud */
#define LOST_INTERRUPT (50 * CLOCK_MS)

static u8 rx_bytes[RX_SIZE], tx_bytes[TX_SIZE];
static struct ring rx, tx;
static u16 base;
static bool polled;
static u8 ier;
static struct event room;
static struct loop_timer timer;
static void (*input_fn)(void *owner);
static void *input_owner;

static u8 get(enum uart_register r)
{
    return port_in8((u16)(base + r));
}

static void put(enum uart_register r, u8 value)
{
    port_out8((u16)(base + r), value);
}

static void set_ier(u8 value)
{
    if (polled || value == ier)
        return;
    ier = value;
    put(IER, value);
}

static void receive(void)
{
    bool any = false;

    /* Bounded: a line that is stuck at "data ready" must not hold the loop. */
    for (u32 i = 0; i < 256 && (get(LSR) & LSR_DATA); i++) {
        u8 byte = get(RBR);

        any = true;
        ring_put_byte(&rx, byte); /* a full ring loses the byte, as hardware would */
    }
    if (any && input_fn)
        input_fn(input_owner);
}

static void send(void)
{
    if (ring_used(&tx) && (get(LSR) & LSR_THR_EMPTY)) {
        for (u32 i = 0; i < FIFO_SIZE && ring_used(&tx); i++)
            put(THR, (u8)ring_get_byte(&tx));
        if (room.waiters && ring_room(&tx) >= TX_SIZE / 2)
            event_signal(&room);
    }
    set_ier(ring_used(&tx) ? IER_RX | IER_TX : IER_RX);
}

/* With interrupts the timer only stands by for a lost one, and only while there is output. */
static void arm_timer(void)
{
    if (polled)
        loop_timer_set(&timer, clock_after(ring_used(&tx) ? POLL_OUTPUT : POLL_INPUT));
    else if (ring_used(&tx))
        loop_timer_set(&timer, clock_after(LOST_INTERRUPT));
    else
        loop_timer_cancel(&timer);
}

static void on_timer(void *owner)
{
    (void)owner;
    receive();
    send();
    arm_timer();
}

static void on_interrupt(void *owner)
{
    (void)owner;
    /* The interrupt is an edge: go on until the chip says that nothing is pending. */
    for (u32 i = 0; i < 16; i++) {
        receive();
        send();
        if (get(IIR) & IIR_NONE)
            break;
    }
    arm_timer();
}

enum hv_status console_uart_init(u16 port, u32 gsi, void (*on_input)(void *owner), void *owner)
{
    base = port;
    input_fn = on_input;
    input_owner = owner;
    ring_init(&rx, rx_bytes, RX_SIZE);
    ring_init(&tx, tx_bytes, TX_SIZE);
    put(SCR, 0x5a);
    if (get(SCR) != 0x5a)
        return HV_EIO;
    put(IER, 0);
    put(LCR, LCR_8N1); /* the speed stays what the firmware or the kernel set */
    put(FCR, FCR_ENABLE_CLEAR);
    put(MCR, MCR_DTR_RTS_OUT2);
    timer.fn = on_timer;
    loop_on_irq(CONSOLE_UART_IRQ, on_interrupt, NULL);
    polled = gsi == ~0u || sys_irq_bind(gsi, CONSOLE_UART_IRQ, NULL) < 0;
    if (polled)
        log_warn("console: no interrupt, polling port 0x%x", port);
    ier = 0;
    set_ier(IER_RX);
    arm_timer();
    return HV_OK;
}

u32 console_uart_write(const void *bytes, u32 len)
{
    if (!base)
        return len;
    u32 n = ring_put(&tx, bytes, len);
    send();
    if (!timer.armed || polled)
        arm_timer();
    return n;
}

u32 console_uart_room(void)
{
    return base ? ring_room(&tx) : TX_SIZE;
}

struct event *console_uart_room_event(void)
{
    return &room;
}

u32 console_uart_read(void *bytes, u32 len)
{
    return base ? ring_get(&rx, bytes, len) : 0;
}

void console_uart_flush(void)
{
    u64 end = clock_after(CLOCK_SECOND * 2);

    while (base && ring_used(&tx) && clock_tsc() < end)
        send();
    while (base && !(get(LSR) & LSR_ALL_EMPTY) && clock_tsc() < end)
        ;
}
