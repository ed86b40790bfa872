/* Doorbells: an exit that leaves a bit in the control page; the guest goes on at once. */
#pragma once

#include "kernel/exit.h"

/* True: that access of v, on its own core, is done. */
bool doorbell_ring(struct vcpu *v, struct exit_io io);
