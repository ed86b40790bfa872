/* Work that takes its time, in a fiber of its own: `task list` shows it, `task cancel` ends it. */
#pragma once

#include "control/out.h"
#include "storage/merge.h"

struct task {
    struct task *next;
    u32 number;
    char text[80]; /* "vm snapshot delete web1 s1" */
    struct merge_job job;
    enum hv_status status; /* once it has ended */
    char error[300];       /* "E_CODE: what. Try: hint."; "" if it went well */
    bool ended, watched;
    void (*run)(struct task *t);
    void *owner; /* run()'s own, which frees it */
};

/* Starts run(t) in a fiber.  NULL: no memory; owner is the caller's then. */
struct task *task_start(void (*run)(struct task *t), void *owner, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* In a shell's fiber: shows how far it is until it ends, and ends with its error; Ctrl-C cancels
 * it. background: says its number and returns. */
enum hv_status task_watch(struct task *t, bool background, struct out *out);
