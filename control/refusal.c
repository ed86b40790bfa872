/* Refusals become events within a rate; called on the event loop's thread. */
#include "control/refusal.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"

#define NAME 32u

struct limit {
    const char *what;
    u32 used;       /* of the burst */
    u64 refilled;   /* clock_ns(): up to when the burst was given back */
    u64 withheld;   /* since the last summary */
    char last[160]; /* the text of the last one of them */
    struct loop_timer timer;
};

static struct limit logins = {.what = "logins"}, connections = {.what = "connections"};

static void summary(void *owner)
{
    struct limit *l = owner;

    log_notice("%llu more %s were refused; the last: %s", (unsigned long long)l->withheld, l->what,
               l->last);
    l->withheld = 0;
}

static bool take(struct limit *l)
{
    const u64 each = REFUSAL_REFILL * CLOCK_SECOND;
    u64 now = clock_ns(), back = (now - l->refilled) / each;

    if (back >= l->used) { /* idle time is not saved up */
        l->used = 0;
        l->refilled = now;
    } else {
        l->used -= (u32)back;
        l->refilled += back * each;
    }
    if (l->used == REFUSAL_BURST)
        return false;
    l->used++;
    return true;
}

static void tell(struct limit *l, const char *text)
{
    if (take(l)) {
        log_notice("%s", text);
        return;
    }
    snprintf(l->last, sizeof(l->last), "%s", text);
    if (!l->withheld++) {
        l->timer.fn = summary;
        l->timer.owner = l;
        loop_timer_set(&l->timer, clock_after(REFUSAL_SUMMARY * CLOCK_SECOND));
    }
}

static void printable(const char *name, char out[NAME])
{
    u32 n = 0;

    for (; name[n] && n + 1 < NAME; n++)
        out[n] = name[n] >= 0x20 && name[n] < 0x7f ? name[n] : '?';
    out[n] = 0;
}

void refusal_login(const char *name, const char *from, const char *why)
{
    char text[sizeof(logins.last)], shown[NAME];

    printable(name, shown);
    snprintf(text, sizeof(text), "login of %s from %s refused: %s", shown, from, why);
    tell(&logins, text);
}

void refusal_connection(const char *from, const char *why)
{
    char text[sizeof(connections.last)];

    snprintf(text, sizeof(text), "connection of %s refused: %s", from, why);
    tell(&connections, text);
}
