/* The port of lwIP; called by net/net.c and, through net/lwip/arch/cc.h, by lwIP. */
#include "net/stack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/init.h>
#include <lwip/sys.h>
#include <lwip/timeouts.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "control/rt/random.h"
#include "net/isn.h"

#define REACHED_MOST (16 * MIB)

/* In front of what lwIP has. */
struct block {
    u64 len, unused;
};

static u64 reached; /* bytes of blocks that cards reach */

static char host_name[STACK_HOST_NAME] = "bulkhead";
static bool time_known;

u32_t sys_now(void)
{
    return (u32_t)(clock_ns() / CLOCK_MS);
}

/* ---- memory: cards read segments where TCP has put them --------------------------------------
 */
void *stack_malloc(size_t len)
{
    u64 all = len + sizeof(struct block);
    struct block *b = reached + all <= REACHED_MOST ? dma_alloc_dirty(all) : NULL;

    if (b)
        reached += all;
    else
        b = malloc(all);
    if (!b)
        return NULL;
    b->len = all;
    return b + 1;
}

void *stack_calloc(size_t count, size_t len)
{
    void *p = stack_malloc(count * len);

    return p ? memset(p, 0, count * len) : NULL;
}

void stack_free(void *p)
{
    struct block *b = (struct block *)p - 1;

    if (!dma_reaches(b, 1)) {
        free(b);
        return;
    }
    reached -= b->len;
    dma_free(b, b->len);
}

u32 stack_random(void)
{
    return (u32)random_u64();
}

void stack_assert(const char *text, const char *file, int line)
{
    log_assert_failed(file, line, text);
}

/* The host's clock follows the network's; a step that people would see is told of. */
void stack_set_time(u32 seconds, u32 microseconds)
{
    u64 before = clock_unix_ns(), now = seconds * CLOCK_SECOND + microseconds * CLOCK_US;
    u64 step = before > now ? before - now : now - before;
    char text[CLOCK_TEXT];

    clock_set_unix_ns(now);
    time_known = true;
    clock_text(now, text);
    if (!before)
        log_notice("the clock was set by NTP: %s", text);
    else if (step >= CLOCK_SECOND)
        log_notice("the clock was set by NTP, %llu s %s: %s",
                   (unsigned long long)(step / CLOCK_SECOND), now > before ? "forward" : "back",
                   text);
}

u64 stack_time(void)
{
    return time_known ? (u64)clock_unix() : 0;
}

const char *stack_host_name(void)
{
    return host_name;
}

void stack_set_host_name(const char *name)
{
    snprintf(host_name, sizeof(host_name), "%s", name);
}

void stack_init(void)
{
    isn_init();
    lwip_init();
}

u64 stack_poll(void)
{
    u32 ms;

    sys_check_timeouts();
    ms = sys_timeouts_sleeptime();
    return ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? ~0ull : ms * CLOCK_MS;
}
