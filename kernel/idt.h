/* The interrupt descriptor table, one for all CPUs, and the first C code of every vector. */
#pragma once

#include "kernel/cpu.h"

void idt_early(void);    /* boot CPU: fill and load, while there is no TSS */
void idt_cpu_init(void); /* each CPU, its TSS loaded: load; NMI, #DF, #MC on their own stacks */
void idt_handle(struct user_frame *f); /* from vectors.S; returning resumes what was interrupted */

/* For a backend's host state. */
