/* Logging in at the console. */
#pragma once

#include "control/schema.h"
#include "control/terminal.h"

/* Whether the console asks who is there: `host login console=yes`, and there are users. */
bool login_wanted(void);
/* Asks for name and password, once.  In the console's fiber.  The user's id; 0: refused, or nobody
 * typed. */
MUST_CHECK u64 login_console(struct terminal *t, char *user, u32 len);
/* Asks for a line of text; `shown`: what is typed appears.  False: Ctrl-C, Ctrl-D, the deadline
 * (TSC) has passed or the terminal has ended. */
MUST_CHECK bool login_read(struct terminal *t, const char *question, bool shown, u64 deadline,
                           char *buf, u32 len);
