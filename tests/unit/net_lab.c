/* What the runtime gives the network stack, for programs on the host: a clock that stands until it
 * is set, numbers that repeat, no log, memory from the heap. */
#include "tests/unit/net_lab.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/random.h"
#include "net/shape.h"

u64 net_lab_now = 1000000000;
static u64 seed = 1;

void *dma_alloc(u64 len);

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

void *dma_alloc(u64 len)
{
    return calloc(1, len);
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
