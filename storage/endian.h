/* Numbers in files: any alignment, big- or little-endian. */
#pragma once

#include <string.h>

#include "kernel/abi/types.h"

#define ENDIAN_ACCESS(bits, swap)                                                                  \
    static inline u##bits le##bits(const void *p)                                                  \
    {                                                                                              \
        u##bits v;                                                                                 \
                                                                                                   \
        memcpy(&v, p, sizeof(v));                                                                  \
        return v;                                                                                  \
    }                                                                                              \
    static inline u##bits be##bits(const void *p)                                                  \
    {                                                                                              \
        return swap(le##bits(p));                                                                  \
    }                                                                                              \
    static inline void put_le##bits(void *p, u##bits v)                                            \
    {                                                                                              \
        memcpy(p, &v, sizeof(v));                                                                  \
    }                                                                                              \
    static inline void put_be##bits(void *p, u##bits v)                                            \
    {                                                                                              \
        put_le##bits(p, swap(v));                                                                  \
    }

ENDIAN_ACCESS(16, __builtin_bswap16)
ENDIAN_ACCESS(32, __builtin_bswap32)
ENDIAN_ACCESS(64, __builtin_bswap64)
