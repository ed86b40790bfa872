/* Fiber stacks from the kernel; called by fiber.c.  control/rt/host/ has the twin for tests. */
#include "control/rt/stack.h"

#include "control/rt/sys.h"

void *stack_alloc(u64 size)
{
    i64 at = sys_mem_map(size); /* the page below belongs to nobody: see SYS_MEM_MAP */

    return at > 0 ? (void *)at : NULL;
}
