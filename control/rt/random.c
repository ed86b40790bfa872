/* The random generator; called by anyone in the control partition. */
#include "control/rt/random.h"

#include <cpuid.h>
#include <string.h>

#define ROUNDS 10 /* double rounds */
#define SOURCE_TRIES 10

static u32 key[8];
static u64 calls;
static bool seeded, has_source;

static inline u32 rotate(u32 x, u32 n)
{
    return x << n | x >> (32 - n);
}

static void quarter(u32 *s, u32 a, u32 b, u32 c, u32 d)
{
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 7);
}

void random_chacha20(const u32 k[8], u32 counter, const u32 nonce[3], u32 out[16])
{
    u32 in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* "expand 32-byte k" */
    memcpy(in + 4, k, 32);
    in[12] = counter;
    memcpy(in + 13, nonce, 12);
    memcpy(out, in, sizeof(in));
    for (u32 i = 0; i < ROUNDS; i++) {
        for (u32 c = 0; c < 4; c++)
            quarter(out, c, 4 + c, 8 + c, 12 + c);
        for (u32 c = 0; c < 4; c++)
            quarter(out, c, 4 + (c + 1) % 4, 8 + (c + 2) % 4, 12 + (c + 3) % 4);
    }
    for (u32 i = 0; i < 16; i++)
        out[i] += in[i];
}

/* SDM 1, 7.3.17: both may have nothing for a moment. */
static bool rdrand(u64 *out)
{
    u8 ok = 0;
    for (u32 i = 0; i < SOURCE_TRIES && !ok; i++)
        __asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=qm"(ok) : : "cc");
    return ok;
}

static bool rdseed(u64 *out)
{
    u8 ok = 0;
    for (u32 i = 0; i < SOURCE_TRIES && !ok; i++)
        __asm__ volatile("rdseed %0; setc %1" : "=r"(*out), "=qm"(ok) : : "cc");
    return ok;
}

void random_feed(const void *bytes, u32 len)
{
    const u8 *p = bytes;
    while (len) {
        u32 n = MIN(len, (u32)sizeof(key)), block[16];
        for (u32 i = 0; i < n; i++)
            key[i / 4] ^= (u32)p[i] << (8 * (i % 4));
        random_chacha20(key, 0, (const u32[3]){1}, block);
        memcpy(key, block, sizeof(key));
        p += n;
        len -= n;
    }
}

static void seed(void)
{
    u32 a, b = 0, c = 0, d;
    u64 words[8] = {0};
    bool has_rdrand = __get_cpuid(1, &a, &b, &c, &d) && (c & BIT(30));
    bool has_rdseed = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & BIT(18));
    for (u32 i = 0; i < ARRAY_LEN(words); i++)
        has_source |= (has_rdseed && rdseed(&words[i])) || (has_rdrand && rdrand(&words[i]));
    random_feed(words, sizeof(words));
    seeded = true;
}

bool random_has_source(void)
{
    if (!seeded)
        seed();
    return has_source;
}

void random_bytes(void *out, u32 len)
{
    u8 *p = out;
    u32 block[16], counter = 0;
    u64 now[2] = {__builtin_ia32_rdtsc(), ++calls};
    if (!seeded)
        seed();
    random_feed(now, sizeof(now));
    for (; len; counter++) {
        u32 n = MIN(len, (u32)sizeof(block));
        random_chacha20(key, counter, (const u32[3]){2}, block);
        memcpy(p, block, n);
        p += n;
        len -= n;
    }
    random_chacha20(key, 0, (const u32[3]){3}, block);
    memcpy(key, block, sizeof(key)); /* what was given out cannot be computed back */
}

u64 random_u64(void)
{
    u64 value;
    random_bytes(&value, sizeof(value));
    return value;
}
