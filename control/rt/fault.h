/* A fault of this program: told with registers and a named backtrace, then the program ends. */
#pragma once

void fault_init(void); /* first thing at the start */
