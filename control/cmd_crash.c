/* What a panic before this boot left in memory (kernel/abi/crash.h), and ways to provoke one.  Runs
 * in the shell's fiber; crash_boot_event() once at the start. */
#include "control/cmd_crash.h"

#include <string.h>
#include <time.h>

#include "control/console.h"
#include "control/rt/conf.h"
#include "control/rt/log.h"
#include "control/rt/port.h"
#include "control/rt/sys.h"
#include "control/schema.h"
#include "kernel/abi/crash.h"

/* NULL: none, or cleared. */
static const struct crash_record *record(void)
{
    const struct host_info *h = sys_host_info();

    for (u32 i = 0; i < h->module_count && i < BOOT_MODULES; i++) {
        const struct crash_record *r = (const struct crash_record *)h->modules[i].vaddr;
        if (!strcmp(h->modules[i].name, CRASH_MODULE) && r->magic == CRASH_MAGIC &&
            r->len <= sizeof(r->text))
            return r;
    }
    return NULL;
}

/* The line of a record that says why, behind its first word. */
static struct conf_span reason(const struct crash_record *r)
{
    static const char word[] = "\nPANIC ";
    const char *at = r->text, *end = r->text + r->len;

    if (r->len >= strlen(word) && !memcmp(at, word, strlen(word)))
        at += strlen(word);
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return (struct conf_span){at, (u32)((newline ? newline : end) - at)};
}

void crash_boot_event(void)
{
    const struct crash_record *r = record();

    if (!r || sys_host_info()->restart_count)
        return;
    struct conf_span why = reason(r);
    log_error("the machine was reset after a panic %.*s. Try: host crash show", (int)why.len,
              why.at);
    console_print("The machine was reset after a panic. Try: host crash show\n");
}

static enum hv_status run_crash(const struct schema_args *args, struct out *out)
{
    const struct crash_record *r = record();

    if (!r)
        return out_error(out, HV_ENOENT, "E_NOENT", "host log", "there is no record of a panic");
    if (!strcmp(args_text(args, "what"), "clear")) {
        sys_crash(CRASH_CLEAR, 0);
        return HV_OK;
    }
    time_t seconds = r->unix_time;
    struct tm tm;
    char when[40];
    if (seconds && gmtime_r(&seconds, &tm) &&
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm))
        out_printf(out, "%s UTC\n", when);
    for (u64 at = 0; at < r->len;) {
        const char *line = r->text + at, *end = memchr(line, '\n', r->len - at);
        u64 len = end ? (u64)(end - line) : r->len - at;
        if (len)
            out_printf(out, "%.*s\n", (int)len, line);
        at += len + 1;
    }
    return HV_OK;
}

static enum hv_status run_stop(const struct schema_args *args, struct out *out)
{
    bool hang = !strcmp(args_text(args, "how"), "hang");

    console_flush();
    i64 status = sys_crash(hang ? CRASH_HANG : CRASH_PANIC, CRASH_KEY);
    return out_error(out, (enum hv_status)status, "E_STATE", "report it", "the kernel goes on");
}

static const struct schema_arg crash_args[] = {
    {"what", PLACE_OPTIONAL, ARG_ENUM, "show|clear", "show", "print the record, or forget it"},
    {0},
};
static const struct schema_arg stop_args[] = {
    {"how", PLACE_OPTIONAL, ARG_ENUM, "panic|hang", "panic",
     "panic at once, or a CPU that stays in the kernel until the watchdog finds it"},
    {0},
};
static const struct schema_command commands[] = {
    {"host", "crash", "what a panic before the last reset said", "host crash show", ROLE_ADMIN,
     crash_args, NULL, run_crash},
    {"debug", "stop", "stop the kernel on purpose, and all VMs with it", "debug stop hang",
     ROLE_ADMIN, stop_args, NULL, run_stop},
};
SCHEMA_COMMANDS(commands);
