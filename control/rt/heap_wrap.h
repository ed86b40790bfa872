/* The names that ld's --wrap makes of malloc() and its like; between heap.c and the linker. */
#pragma once

#include <stddef.h>

void *__real_malloc(size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void __real_free(void *p);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t bytes);
void __wrap_free(void *p);
