/* Polling of the queues of all guests; on the event loop, called by vm_sched.c. */
#include "vmm/virtio_poll.h"

#include "control/rt/clock.h"
#include "vmm/inventory.h"
#include "vmm/virtio_dev.h"
#include "vmm/vm_devices.h"

/* A driver rings again when some 32,000 entries were made available since it was told not to
 * (virtio_ring_want_doorbell()): in that time no queue has so many. */
static struct loop_timer mute_timer;

static bool look(void)
{
    bool any = false;
    for (u32 slot = 0; slot < VM_SLOTS; slot++) {
        const struct vm *vm = inventory_slots[slot];
        for (u32 i = 0; vm && vm->devices && i < vm->state->device_count; i++)
            any |= virtio_dev_poll(&vm->devices[i]);
    }
    return any;
}

static void mute_all(void)
{
    for (struct vm *vm = inventory_first(); vm; vm = vm->next)
        for (u32 i = 0; vm->devices && i < vm->state->device_count; i++)
            virtio_dev_mute(&vm->devices[i]);
}

static void on_mute(void *owner)
{
    mute_all();
    loop_timer_set(owner, clock_after(CLOCK_MS));
}

void virtio_poll_set(u32 cpu)
{
    bool on = cpu != LOOP_NO_CPU;
    virtio_dev_polls(on);
    loop_on_poll(look);
    loop_poll(cpu);
    mute_all();
    loop_timer_cancel(&mute_timer);
    mute_timer = (struct loop_timer){.fn = on_mute, .owner = &mute_timer};
    if (on)
        loop_timer_set(&mute_timer, clock_after(CLOCK_MS));
    else
        look(); /* what came before the drivers were told to ring again */
}
