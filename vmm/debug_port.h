/* Ports that guests touch for their side effects on old hardware: nothing is there, and nothing
 * needs to be said about it.  On the event loop. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

u32 debug_port_in(struct vm *vm, u16 port, u8 size); /* all ones */
void debug_port_out(struct vm *vm, u16 port, u8 size, u32 value);
