/* The pages for a panic's record, at the same address in every boot. */
#pragma once

#include "kernel/abi/boot_info.h"

void crash_reserve(struct boot_info *bi);   /* before anything else is allocated */
void crash_hand_over(struct boot_info *bi); /* a sound record becomes a module, after the others */
