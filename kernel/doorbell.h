/* Doorbells: an exit that leaves a bit in the control page; the guest goes on at once. */
#ifndef BULKHEAD_KERNEL_DOORBELL_H
#define BULKHEAD_KERNEL_DOORBELL_H

#include "kernel/exit.h"

/* True: that access of v, on its own core, is done. */
bool doorbell_ring(struct vcpu *v, struct exit_io io);

#endif
