/* The first 16550 behind a base address of a PCI function: the second line of a machine whose
 * console is elsewhere, or its console where there is no other.  It carries the log unless somebody
 * takes it.  One thread; input comes on the loop. */
#pragma once

#include "control/rt/fiber.h"
#include "kernel/abi/types.h"

struct serial;

struct serial_user {
    void (*input)(void *owner, const u8 *bytes, u32 len); /* on the loop */
    void (*gone)(void *owner);                            /* it was pulled out */
    void *owner;
};

/* Called once, on the fiber that finds the port, before anything is sent.  NULL: the log has it. */
void serial_offer(const struct serial_user *(*take)(struct serial *s));
const char *serial_name(const struct serial *s);                /* "serial0" */
u32 serial_write(struct serial *s, const void *bytes, u32 len); /* stores what fits */
struct event *serial_room_event(struct serial *s); /* signalled when half of the room is free */
void serial_flush(struct serial *s);               /* sends everything, polling: last words */
