/* Fiber stacks from the kernel; called by fiber.c.  control/rt/host/ has the twin for tests. */
#include "control/rt/stack.h"

#include "control/rt/sys.h"

void *stack_alloc(u64 size)
{
    i64 at = sys_mem_map(size + PAGE_SIZE);

    if (at <= 0)
        return NULL;
    sys_mem_unmap((void *)at, PAGE_SIZE);
    return (u8 *)at + PAGE_SIZE;
}
