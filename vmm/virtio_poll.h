/* A CPU of its own on which the control partition polls the queues of all guests, so that no driver
 * rings a doorbell. */
#pragma once

#include "control/rt/loop.h"
#include "kernel/abi/types.h"

/* The CPU; LOOP_NO_CPU: it sleeps and is woken by doorbells.  Who calls sees to it that no vCPU may
 * use that CPU: vm_sched_poll(). */
void virtio_poll_set(u32 cpu);
