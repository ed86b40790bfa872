/* What the runtime gives the network stack, for programs on the host: a clock that stands until it
 * is set, numbers that repeat, no log, memory that cards would reach. */
#include "tests/unit/net_lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "control/rt/random.h"
#include "net/shape.h"

#define BETWEEN 64u /* bytes behind each allocation that nobody may touch */

u64 net_lab_now = 1000000000, net_lab_dma_used;
static u64 seed = 1;

u64 clock_ns(void)
{
    return net_lab_now;
}

u64 clock_unix_ns(void)
{
    return 0;
}

i64 clock_unix(void)
{
    return 0;
}

void clock_set_unix_ns(u64 unix_ns)
{
    (void)unix_ns;
}

void clock_text(u64 unix_ns, char buf[CLOCK_TEXT])
{
    (void)unix_ns;
    buf[0] = 0;
}

u64 random_u64(void)
{
    return shape_random(&seed);
}

/* Where dma_reaches() looks, in powers of two; what is free is poisoned. */
static u8 *dma_next, *dma_holes[32];

static u32 dma_class(u64 len)
{
    u32 c = 6;

    while ((1ull << c) < len)
        c++;
    return c;
}

void *dma_alloc_dirty(u64 len)
{
    u32 c = dma_class(len);
    u8 *at = len <= DMA_ALLOC_MAX ? dma_holes[c] : NULL;

    if (!dma_next)
        dma_next = mmap((void *)DMA_BASE, DMA_END, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (at) {
        ASAN_UNPOISON_MEMORY_REGION(at, 1ull << c);
        dma_holes[c] = *(u8 **)(void *)at;
    } else if (len <= DMA_ALLOC_MAX &&
               (u64)dma_next + (1ull << c) + BETWEEN <= DMA_BASE + DMA_END) {
        at = dma_next;
        dma_next += (1ull << c) + BETWEEN;
    }
    if (!at)
        return NULL;
    ASAN_POISON_MEMORY_REGION(at + len, (1ull << c) + BETWEEN - len);
    net_lab_dma_used += len;
    return at;
}

void *dma_alloc(u64 len)
{
    void *at = dma_alloc_dirty(len);

    return at ? memset(at, 0, len) : NULL;
}

void dma_free(void *p, u64 len)
{
    u32 c = dma_class(len);

    if (!p)
        return;
    net_lab_dma_used -= len;
    ASAN_UNPOISON_MEMORY_REGION(p, 1ull << c);
    *(u8 **)p = dma_holes[c];
    dma_holes[c] = p;
    ASAN_POISON_MEMORY_REGION(p, 1ull << c);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level;
    (void)fmt;
}

void log_assert_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}
