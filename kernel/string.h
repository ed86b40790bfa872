/* The string functions that gcc may call by itself, and the few others the kernel uses. */
#pragma once

#include "kernel/abi/types.h"

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *at, int value, size_t n);
