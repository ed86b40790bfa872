/* Frames as descriptors of Intel's gigabit cards; included by drivers/e1000.c alone. */
#pragma once

#include "drivers/e1000_card.h"

/* nic_ops.send */
u32 e1000_send(struct nic *n, struct nic_frame *const *frames, u32 count);
/* Gives back the frames that the card has read. */
void e1000_send_reclaim(struct e1000 *c);
static inline u32 e1000_send_room(const struct e1000 *c) /* descriptors */
{
    return (c->tx_oldest + RING - 1 - c->tx_next) % RING;
}

#define E1000_SEND_ADVANCED (BIT(20) | BIT(21) | BIT(29)) /* a data descriptor */

/* struct e1000_family's, of 8254x and 82574, and of 82576 and later. */
bool e1000_send_old_can(const struct nic_frame *f);
u32 e1000_send_old(struct e1000 *c, const struct nic_frame *f);
bool e1000_send_advanced_can(const struct nic_frame *f);
u32 e1000_send_advanced(struct e1000 *c, const struct nic_frame *f);
