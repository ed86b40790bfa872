/* The shell: reads lines, runs commands in its fiber, pages what they say. */
#ifndef BULKHEAD_CONTROL_SHELL_H
#define BULKHEAD_CONTROL_SHELL_H

#include "kernel/abi/types.h"

void shell_start(void); /* prints the first prompt at the loop's next iteration */

const char *shell_history(u32 i); /* 0 the oldest kept; NULL past the end */
bool shell_break(void);           /* Ctrl-C was typed since the command began */
/* Rows and columns of the terminal; rows 0: it did not tell, nothing is paged by itself. */
void shell_terminal(u32 *rows, u32 *columns);
/* Asks "question [y/N] " in the shell's fiber. */
bool shell_confirm(const char *question);

#endif
