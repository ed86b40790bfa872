/* The virtio console: port 0 is the VM's console, the others are lines between guest and host with
 * a scroll-back of their own.  Virtio 1.2, section 5.3. */
#pragma once

#include "vmm/text_ring.h"
#include "vmm/virtio_dev.h"
#include "vmm/vm.h"

extern const struct virtio_model virtio_dev_console_model;

/* Memory for what the ports beyond the first say.  E_NOMEM. */
MUST_CHECK bool virtio_dev_console_open(struct virtio_device *d, struct vm_error *e);
void virtio_dev_console_close(struct virtio_device *d);

/* The port of QEMU's guest agent, if the VM has one. */
bool virtio_dev_console_agent(const struct virtio_device *d, u32 *port);
/* Has a program in the guest opened this port? */
bool virtio_dev_console_heard(const struct virtio_device *d, u32 port);
/* Bytes typed at a port that is there; returns how many were taken. */
u32 virtio_dev_console_input(struct virtio_device *d, u32 port, const u8 *bytes, u32 len);
/* What a port beyond the first has said, since the control partition last started; NULL: there is
 * no such port. */
const struct text_ring *virtio_dev_console_ring(const struct virtio_device *d, u32 port);
