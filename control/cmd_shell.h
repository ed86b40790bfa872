/* Commands about the shell itself: help, history, echo, exit.  Nothing calls in: the schema's
 * section has them. */
#pragma once
