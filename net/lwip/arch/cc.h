/* What lwIP wants to know of compiler and system; included by lwIP alone. */
#pragma once

#include <stdint.h>

/* musl's has a PAGE_SIZE, and so has kernel/abi/types.h. */
#pragma push_macro("PAGE_SIZE")
#undef PAGE_SIZE
#include <limits.h>
#pragma pop_macro("PAGE_SIZE")

/* net/stack.c has these; net/checksum.c the sums. */
uint32_t stack_random(void);
void stack_assert(const char *text, const char *file, int line) __attribute__((noreturn));
void stack_set_time(uint32_t seconds, uint32_t microseconds);
uint16_t checksum_sum(const void *data, int len);
uint16_t checksum_copy(void *to, const void *from, uint16_t len);

#define LWIP_RAND() stack_random()
#define LWIP_PLATFORM_ASSERT(text) stack_assert(text, __FILE__, __LINE__)
#define LWIP_PLATFORM_DIAG(x)
#define BYTE_ORDER LITTLE_ENDIAN
