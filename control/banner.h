/* At which addresses the host is: told when a network that set itself up has got one, and at the
 * beginning of each session. */
#pragma once

#include "control/terminal.h"

/* From now on. */
void banner_start(void);
/* One line; nothing while there is no kernel interface. */
void banner_session(struct terminal *t);
