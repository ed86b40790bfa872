/* Swallows accesses to POST-code, delay and DMA page ports; called from the port table. */
#include "vmm/debug_port.h"

u32 debug_port_in(struct vm *vm, u16 port, u8 size)
{
    (void)vm;
    (void)port;
    (void)size;
    return ~0u;
}

void debug_port_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)vm;
    (void)port;
    (void)size;
    (void)value;
}
