/* Fixed-width types, bit helpers and address types that every image shares. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

#define BIT(n) (1ull << (n))
/* Mask of bits hi..lo, both included. */
#define BITS(hi, lo) ((~0ull >> (63 - (hi))) & (~0ull << (lo)))
#define FIELD_GET(mask, reg) (((u64)(reg) & (mask)) / ((mask) & -(mask)))
#define FIELD_PUT(mask, val) (((u64)(val) * ((mask) & -(mask))) & (mask))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define ROUND_UP(x, to) (((x) + ((to)-1)) & ~((to)-1)) /* `to` is a power of two */
#define ROUND_DOWN(x, to) ((x) & ~((to)-1))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MUST_CHECK __attribute__((warn_unused_result))
/* An argument that an interface has and a function may not need. */
#define UNUSED __attribute__((unused))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define PAGE_SIZE 4096ull
#define PAGE_2M (2 * MIB)
#define PAGE_1G (1 * GIB)

/* A guest-physical and a host-physical address: mixing them does not compile. */
typedef struct {
    u64 raw;
} gpa_t;
typedef struct {
    u64 raw;
} hpa_t;
#define GPA(x) ((gpa_t){(x)})
#define HPA(x) ((hpa_t){(x)})
#define HPA_NONE HPA(~0ull)
#define hpa_valid(h) ((h).raw != ~0ull)

_Static_assert(sizeof(gpa_t) == 8 && sizeof(hpa_t) == 8, "wrapping costs nothing");
