/* Records of the control partition in the kernel's log ring (`host log` reads them). */
#pragma once

#include "kernel/abi/syscall.h"
#include "kernel/abi/types.h"

/* One record, at most 240 bytes of it; a trailing newline is dropped. */
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)   /* our bug or broken hardware */
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)     /* something is lacking here */
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__) /* a guest or user did wrong */
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

const char *log_level_name(u32 level); /* "notice"; "?" out of range */

/* A check of our own code, on in every build: reports and ends this instance. */
#define rt_assert(x)                                                                               \
    do {                                                                                           \
        if (!(x))                                                                                  \
            log_assert_failed(__FILE__, __LINE__, #x);                                             \
    } while (0)
void log_assert_failed(const char *file, int line, const char *what) NORETURN;
