/* Starting the other CPUs. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/cpu.h"

void smp_init(const struct boot_info *bi);                  /* boot CPU: start all, wait for each */
void smp_release(void);                                     /* boot is over: they may schedule */
void smp_cpu_main(struct cpu *c) __attribute__((noreturn)); /* from trampoline.S */
