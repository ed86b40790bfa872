/* Doorbells: ports of a guest at which a write of 16 bits only tells ring 3 to look at a queue.
 *
 * Port DOORBELL_PORT + 2 * n is doorbell n.  SYS_VM_DOORBELLS names those that the kernel answers:
 * it sets bit n in control_page.doorbells and the guest goes on.  All others, and any other access,
 * are exits as on every port. */
#pragma once

#include "kernel/abi/types.h"

#define DOORBELL_PORT 0xc000u
#define DOORBELL_GROUPS 32u /* one a device */
#define DOORBELL_GROUP 16u  /* queues of a device */
#define DOORBELLS (DOORBELL_GROUPS * DOORBELL_GROUP)
#define DOORBELL_WORDS (DOORBELLS / 64)
