/* Formats records for the kernel's log ring.  Called from anywhere in the control partition. */
#include "control/rt/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/rt/sys.h"

#define RECORD_MAX 240

static const char *const level_names[LOG_LEVELS] = {
    [LOG_PANIC] = "panic",   [LOG_ERROR] = "error", [LOG_WARN] = "warn",
    [LOG_NOTICE] = "notice", [LOG_INFO] = "info",   [LOG_DEBUG] = "debug",
};

const char *log_level_name(u32 level)
{
    return level < LOG_LEVELS ? level_names[level] : "?";
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char text[RECORD_MAX];
    va_list ap;

    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (len < 0)
        return;
    u64 n = MIN((u64)len, sizeof(text) - 1);
    if (n && text[n - 1] == '\n')
        n--;
    sys_log_write(level, text, n);
}

void log_assert_failed(const char *file, int line, const char *what)
{
    log_error("%s:%d: %s does not hold", file, line, what);
    __builtin_trap(); /* the kernel reports it with a backtrace and starts a new instance */
}
