/* A 16550A for the guest's console; called from the port table and by `vm console`, on the event
 * loop. */
#include "vmm/uart16550.h"

#include "vmm/platform.h"
#include "vmm/vm.h"

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RDA BIT(0)
#define IER_THRE BIT(1)
#define IER_RLS BIT(2)
#define IER_MSR BIT(3)
#define IIR_NONE 0x01
#define IIR_THRE 0x02
#define IIR_RDA 0x04
#define IIR_RLS 0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO 0xc0
#define FCR_ENABLE BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define LCR_DLAB BIT(7)
#define MCR_DTR BIT(0)
#define MCR_RTS BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3) /* on a PC: gate of the interrupt line */
#define MCR_LOOP BIT(4)
#define LSR_DR BIT(0)
#define LSR_OE BIT(1)
#define LSR_THRE BIT(5)
#define LSR_TEMT BIT(6)
#define MSR_CTS BIT(4)
#define MSR_DSR BIT(5)
#define MSR_RI BIT(6)
#define MSR_DCD BIT(7)

static u8 interrupt_id(const struct uart16550 *u)
{
    if ((u->ier & IER_RLS) && u->lsr_errors)
        return IIR_RLS;
    if ((u->ier & IER_RDA) && u->fifo_len)
        return u->fifo_len >= u->trigger ? IIR_RDA : IIR_TIMEOUT;
    if ((u->ier & IER_THRE) && u->thre_pending)
        return IIR_THRE;
    return IIR_NONE;
}

static void update_irq(struct vm *vm, struct uart16550 *u)
{
    u8 level = interrupt_id(u) != IIR_NONE && (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOP);
    if (level == u->irq_level)
        return;
    u->irq_level = level;
    platform_irq(vm, UART_IRQ, level);
}

/* One byte into the receive FIFO, which has one place when it is switched off. */
static bool receive(struct uart16550 *u, u8 byte)
{
    u8 room = u->fcr & FCR_ENABLE ? UART_FIFO : 1;
    if (u->fifo_len >= room)
        return false;
    u->fifo[(u->fifo_head + u->fifo_len) % UART_FIFO] = byte;
    u->fifo_len++;
    return true;
}

static void refill(struct uart16550 *u)
{
    if (u->mcr & MCR_LOOP)
        return;
    while (u->queue_len && receive(u, u->queue[u->queue_head])) {
        u->queue_head = (u->queue_head + 1) % UART_QUEUE;
        u->queue_len--;
    }
}

u32 uart_input(struct vm *vm, const u8 *bytes, u32 len)
{
    struct uart16550 *u = &vm->state->uart;
    u32 taken = 0;
    while (taken < len && u->queue_len < UART_QUEUE) {
        u->queue[(u->queue_head + u->queue_len) % UART_QUEUE] = bytes[taken++];
        u->queue_len++;
    }
    u->bytes_in += taken;
    refill(u);
    update_irq(vm, u);
    return taken;
}

static void transmit(struct vm *vm, struct uart16550 *u, u8 byte)
{
    if (u->mcr & MCR_LOOP) {
        if (!receive(u, byte))
            u->lsr_errors |= LSR_OE;
    } else {
        platform_console_put(vm, byte);
        u->bytes_out++;
        u->tokens -= u->tokens > 0;
    }
    /* Sent at once: the interrupt falls and rises again, so that an edge is seen. */
    u->thre_pending = 0;
    update_irq(vm, u);
    u->thre_pending = 1;
    update_irq(vm, u);
}

u64 uart_throttle(struct vm *vm, u64 now)
{
    struct uart16550 *u = &vm->state->uart;
    if (u->tokens)
        return 0;
    u64 earned = MIN((now - u->tokens_at) / 1000 * UART_RATE / 1000000, UART_BURST);
    if (earned >= UART_BURST / 16) {
        u->tokens = (u32)earned;
        u->tokens_at = now;
        return 0;
    }
    u->throttled++;
    return u->tokens_at + NS_PER_SEC / UART_RATE * (UART_BURST / 16 + 1);
}

static u8 modem_status(const struct uart16550 *u)
{
    if (!(u->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (u8)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static u8 read_data(struct uart16550 *u)
{
    u8 byte = u->fifo[u->fifo_head];
    if (!u->fifo_len)
        return 0;
    u->fifo_head = (u->fifo_head + 1) % UART_FIFO;
    u->fifo_len--;
    refill(u);
    return byte;
}

static u8 read_register(struct uart16550 *u, u32 reg)
{
    u8 v;
    switch (reg) {
    case REG_DATA:
        return u->lcr & LCR_DLAB ? u->dll : read_data(u);
    case REG_IER:
        return u->lcr & LCR_DLAB ? u->dlm : u->ier;
    case REG_IIR:
        v = interrupt_id(u);
        if (v == IIR_THRE)
            u->thre_pending = 0;
        return v | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        v = LSR_THRE | LSR_TEMT | u->lsr_errors | (u->fifo_len ? LSR_DR : 0);
        u->lsr_errors = 0;
        return v;
    case REG_MSR:
        return modem_status(u);
    default:
        return u->scr;
    }
}

static void write_fcr(struct uart16550 *u, u8 v)
{
    static const u8 triggers[4] = {1, 4, 8, 14};
    if ((v ^ u->fcr) & FCR_ENABLE)
        v |= FCR_CLEAR_RX; /* switching the FIFOs empties them */
    if (v & FCR_CLEAR_RX)
        u->fifo_len = 0;
    u->fcr = v & FCR_ENABLE;
    u->trigger = u->fcr ? triggers[v >> 6] : 1;
    refill(u);
}

static void write_register(struct vm *vm, struct uart16550 *u, u32 reg, u8 v)
{
    switch (reg) {
    case REG_DATA:
        if (u->lcr & LCR_DLAB)
            u->dll = v;
        else
            transmit(vm, u, v);
        break;
    case REG_IER:
        if (u->lcr & LCR_DLAB) {
            u->dlm = v;
            break;
        }
        if ((v & IER_THRE) && !(u->ier & IER_THRE))
            u->thre_pending = 1; /* enabling it while THR is empty interrupts at once */
        u->ier = v & 0x0f;
        break;
    case REG_IIR:
        write_fcr(u, v);
        break;
    case REG_LCR:
        u->lcr = v;
        break;
    case REG_MCR:
        u->mcr = v & 0x1f;
        refill(u);
        break;
    case REG_SCR:
        u->scr = v;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
}

u32 uart_in(struct vm *vm, u16 port, u8 size)
{
    struct uart16550 *u = &vm->state->uart;
    u32 reg = port & 7;
    u8 v = read_register(u, reg);
    (void)size;
    if (reg != REG_LSR || u->irq_level) /* polling LSR is the hot path */
        update_irq(vm, u);
    return v;
}

void uart_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    struct uart16550 *u = &vm->state->uart;
    (void)size;
    write_register(vm, u, port & 7, (u8)value);
    update_irq(vm, u);
    if (!u->tokens)
        platform_hold(vm);
}

void uart_reset(struct vm *vm)
{
    struct uart16550 *u = &vm->state->uart;
    *u = (struct uart16550){
        .dll = 12, .lcr = 3, .trigger = 1, .tokens = UART_BURST, .tokens_at = platform_now()};
}
