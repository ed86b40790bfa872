/* The list of tasks, and the commands for it; run in the shell's fiber. */
#include "control/task.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/schema.h"

typedef unsigned long long ull;

#define KEPT 16u /* that have ended */
#define LOOK (20 * CLOCK_MS)

static struct task *first;
static u32 last_number;

/* The oldest of those that have ended, if there are too many. */
static void forget_old(void)
{
    u32 ended = 0;

    for (struct task *t = first; t; t = t->next)
        ended += t->ended && !t->watched;
    for (struct task **at = &first; *at && ended > KEPT;) {
        struct task *t = *at;

        if (t->ended && !t->watched) {
            *at = t->next;
            free(t);
            ended--;
        } else {
            at = &t->next;
        }
    }
}

static void fiber_main(void *arg)
{
    struct task *t = arg;

    t->run(t);
    t->ended = true;
    if (t->error[0] && !t->watched)
        log_notice("task %u, %s: %s", t->number, t->text, t->error);
    forget_old();
}

struct task *task_start(void (*run)(struct task *t), void *owner, const char *fmt, ...)
{
    struct task *t = calloc(1, sizeof(*t)), **at = &first;
    va_list ap;

    if (!t)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(t->text, sizeof(t->text), fmt, ap);
    va_end(ap);
    t->run = run;
    t->owner = owner;
    t->number = ++last_number;
    if (!fiber_spawn("task", fiber_main, t)) {
        free(t);
        return NULL;
    }
    while (*at)
        at = &(*at)->next;
    *at = t;
    return t;
}

static u32 percent(const struct task *t)
{
    u64 total = t->job.total;

    return t->ended ? 100 : total ? (u32)(MIN(t->job.done, total) * 99 / total) : 0;
}

enum hv_status task_watch(struct task *t, bool background, struct out *out)
{
    u32 shown = 0;

    if (background) {
        out_printf(out, "task %u\n", t->number);
        return HV_OK;
    }
    t->watched = true;
    while (!t->ended) {
        fiber_sleep_until(clock_after(LOOK));
        t->job.cancel |= out_cancelled(out);
        if (percent(t) >= shown + 10 && !t->ended) {
            shown = percent(t);
            out_printf(out, "%u %%\n", shown);
        }
    }
    t->watched = false;
    if (t->error[0])
        out_printf(out, "%s\n", t->error);
    return t->status;
}

static enum hv_status run_task(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"TASK", "STATE", "DONE", "WHAT"};
    static const u8 widths[] = {4, 10, 5, 0};
    u64 number = args_number(args, "number", 0);
    bool cancel = args_text(args, "action")[0] == 'c', any = false;

    if (!cancel)
        out_table(out, columns, widths, ARRAY_LEN(columns));
    for (struct task *t = first; t; t = t->next) {
        if (cancel && t->number == number && !t->ended) {
            t->job.cancel = any = true;
        } else if (!cancel) {
            const char *state = t->error[0] ? "failed" : "done";

            out_cell(out, "%u", t->number);
            out_cell(out, "%s", t->ended ? state : t->job.cancel ? "ending" : "running");
            out_cell(out, "%u %%", percent(t));
            out_cell(out, "%s%s%s", t->text, t->error[0] ? ": " : "", t->error);
        }
    }
    if (cancel && !any)
        return out_error(out, HV_ENOENT, "E_NOENT", "task list", "no task %llu is running",
                         (ull)number);
    return HV_OK;
}

static const struct schema_arg task_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|cancel", .help = "what to do"},
    {"number", PLACE_OPTIONAL, ARG_NUMBER, .help = "of the task to cancel"},
    {0},
};
static const struct schema_command commands[] = {
    {"task", "", "work in the background: merges, clones", "task list", ROLE_OPERATE, task_args,
     NULL, run_task},
};
SCHEMA_COMMANDS(commands);
