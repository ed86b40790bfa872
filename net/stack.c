/* The port of lwIP; called by net/net.c and, through net/lwip/arch/cc.h, by lwIP. */
#include "net/stack.h"

#include <stdio.h>

#include <lwip/init.h>
#include <lwip/sys.h>
#include <lwip/timeouts.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/random.h"

static char host_name[STACK_HOST_NAME] = "bulkhead";
static bool time_known;

u32_t sys_now(void)
{
    return (u32_t)(clock_ns() / CLOCK_MS);
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
    lwip_init();
}

u64 stack_poll(void)
{
    u32 ms;

    sys_check_timeouts();
    ms = sys_timeouts_sleeptime();
    return ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? ~0ull : ms * CLOCK_MS;
}
