/* Is this machine well: a watchdog over each CPU, NMIs, machine checks. */
#pragma once

#include "kernel/cpu.h"

void health_cpu_init(void); /* each CPU: machine checks on, what the banks have is logged */
void health_start(void);    /* each CPU, before it schedules: the watchdog */
void health_alive(void);    /* in long work: this CPU is not stuck */
void health_waiting(void);  /* in a loop that waits for other CPUs */
void health_nmi(const struct user_frame *f);
void health_machine_check(const struct user_frame *f);
