/* Powers of two cut out of 2 MiB pieces from the kernel.  Called by drivers and by those who fill
 * buffers for them; one thread. */
#include "control/rt/dma.h"

#include <string.h>

#include "control/rt/sys.h"

#define LEAST 6 /* 64 bytes */
#define MOST 21 /* what the kernel gives */
#define CLASSES (MOST - LEAST + 1)

struct hole {
    struct hole *next;
};

static struct hole *holes[CLASSES]; /* by the logarithm of their size, less LEAST */
static u64 granted, used;

static u32 class_of(u64 len)
{
    u32 c = 0;

    while ((1ull << (LEAST + c)) < len)
        c++;
    return c;
}

static void put_hole(void *at, u32 c)
{
    struct hole *h = at;

    h->next = holes[c];
    holes[c] = h;
}

/* More from the kernel, as a hole of class c or above. */
static bool refill(u32 c)
{
    const u32 page = 12 - LEAST;
    u64 len = PAGE_2M;
    i64 at = sys_dma_map(len);

    if (at <= 0 && c <= page)
        at = sys_dma_map(len = PAGE_SIZE);
    if (at <= 0)
        return false;
    granted += len;
    put_hole((void *)at, class_of(len));
    return true;
}

void *dma_alloc_dirty(u64 len)
{
    if (len == 0 || len > DMA_ALLOC_MAX)
        return NULL;
    u32 want = class_of(len), c = want;
    while (c < CLASSES && !holes[c])
        c++;
    if (c == CLASSES) {
        if (!refill(want))
            return NULL;
        for (c = want; !holes[c];)
            c++;
    }
    u8 *at = (u8 *)holes[c];
    holes[c] = holes[c]->next;
    while (c > want) { /* the upper half stays */
        c--;
        put_hole(at + (1ull << (LEAST + c)), c);
    }
    used += 1ull << (LEAST + want);
    return at;
}

void *dma_alloc(u64 len)
{
    void *at = dma_alloc_dirty(len);

    return at ? memset(at, 0, 1ull << (LEAST + class_of(len))) : NULL;
}

void dma_free(void *p, u64 len)
{
    if (!p)
        return;
    u32 c = class_of(len);
    used -= 1ull << (LEAST + c);
    put_hole(p, c);
}

u64 dma_granted(void)
{
    return granted;
}

u64 dma_used(void)
{
    return used;
}
