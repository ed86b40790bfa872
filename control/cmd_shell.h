/* Commands about the shell itself: help, history, echo, exit.  Nothing calls in: the schema's
 * section has them. */
#ifndef BULKHEAD_CONTROL_CMD_SHELL_H
#define BULKHEAD_CONTROL_CMD_SHELL_H
#endif
