/* The kernel's log ring and its polled serial output.
 *
 * Records go to the ring; until the control partition has taken the console (log_console_release)
 * they are printed as well.  Callable on any core in any context; takes the log lock. */
#pragma once

#include "kernel/abi/syscall.h"

void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)

/* The next record at or after c->seq into buf (NUL terminated); its length, 0: none yet. */
u64 log_read(struct log_cursor *c, char *buf, u64 len);
u64 log_next(void);             /* sequence number of the record to come */
void log_console_release(void); /* the control partition owns the UART from now on */
void log_console_take(void);    /* it crashed: messages are printed again */
bool log_is_free(void);         /* nobody holds its lock now */
void log_break_lock(void);      /* panic only: every other core has stopped */

/* Stops every core, prints reason, registers, named backtrace, last exits and the log's tail. */
void panic(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;
#define assert(x)                                                                                  \
    do {                                                                                           \
        if (!(x))                                                                                  \
            panic("%s:%d: %s", __FILE__, __LINE__, #x);                                            \
    } while (0)
