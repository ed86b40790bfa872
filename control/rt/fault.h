/* A fault of this program: told with registers and a named backtrace, then the program ends. */
#ifndef BULKHEAD_CONTROL_RT_FAULT_H
#define BULKHEAD_CONTROL_RT_FAULT_H

void fault_init(void); /* first thing at the start */

#endif
