/* Causes of interrupts of Intel's gigabit cards, and the one MSI-X vector that all of them share.
 * Called by e1000.c, in a fiber and on the loop.
 *
 * 8254x SDM 13.4.17; 82574 datasheet 7.4 and 10.2.4; 82576 datasheet 7.3 and 8.8. */
#include "drivers/e1000_interrupt.h"

#define TX_DONE_CAUSE 0x01u
#define RX_LOW 0x10u
#define RX_OVERRUN 0x40u
#define RX_DONE_CAUSE 0x80u
#define WITHOUT_MSIX (TX_DONE_CAUSE | E1000_INT_LINK | RX_LOW | RX_OVERRUN | RX_DONE_CAUSE)

/* 82574. */
#define QUEUES (BIT(20) | BIT(22)) /* to receive, to send: the first of each */
#define OTHER BIT(24)
/* Vector 0 for these three; a cause at each descriptor that is written back. */
#define IVAR_ALL 0x80080808u
#define RFCTL_NO_ACKS 0x1000u /* no interrupts for TCP acknowledgements that come by the way */
#define CTRL_EXT_IAME BIT(27) /* reading ICR would mask */
#define CTRL_EXT_MSIX (BIT(31) | BIT(24)) /* pending bits; a message masks by EIAC */

/* 82576 and later. */
/* MSI-X; reading ICR clears it; a message masks by EIAM; pending bits. */
#define GPIE_MSIX 0xc0000011u
#define IVAR_MISC_OTHER 0x8000u
#define VECTOR_0 1u

struct msix {
    struct {
        u16 at;
        u32 kept, value; /* bits of the register that stay, and what is put to them */
    } begin[5];          /* at: 0 ends them */
    u32 unmask_at, unmask;
};

static const struct msix old = {.begin = {{REG_RFCTL, ~0u, RFCTL_NO_ACKS},
                                          {REG_IVAR_82574, 0, IVAR_ALL},
                                          {REG_EIAC_82574, 0, QUEUES},
                                          {REG_CTRL_EXT, (u32)~CTRL_EXT_IAME, (u32)CTRL_EXT_MSIX}},
                                .unmask_at = REG_IMS,
                                .unmask = (u32)(QUEUES | OTHER | E1000_INT_LINK | RX_OVERRUN)};
static const struct msix advanced = {.begin = {{REG_GPIE, 0, GPIE_MSIX},
                                               {REG_IVAR_MISC, 0, IVAR_MISC_OTHER},
                                               {REG_EIAC, 0, VECTOR_0},
                                               {REG_EIAM, 0, VECTOR_0},
                                               {REG_IMS, 0, E1000_INT_LINK}},
                                     .unmask_at = REG_EIMS,
                                     .unmask = VECTOR_0};

static const struct msix *msix_of(const struct e1000 *c)
{
    return c->family->queues ? &advanced : &old;
}

void e1000_interrupts_unmask(struct e1000 *c)
{
    const struct msix *m = msix_of(c);

    e1000_put(c, m->unmask_at, m->unmask);
}

void e1000_interrupts_start(struct e1000 *c)
{
    const struct msix *m = msix_of(c);

    if (!e1000_uses_msix(c)) {
        e1000_put(c, REG_IMS, WITHOUT_MSIX);
        return;
    }
    for (u32 i = 0; i < ARRAY_LEN(m->begin) && m->begin[i].at; i++) {
        u32 at = m->begin[i].at, kept = m->begin[i].kept;

        e1000_put(c, at, (kept ? e1000_get(c, at) & kept : 0) | m->begin[i].value);
    }
    e1000_interrupts_unmask(c);
}
