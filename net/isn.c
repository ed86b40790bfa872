/* Initial sequence numbers; called by lwIP.  The hash: Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF", section 2. */
#include "net/isn.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/random.h"

static u64 secret[2];

void isn_init(void)
{
    secret[0] = random_u64();
    secret[1] = random_u64();
}

static u64 rotate(u64 x, u32 n)
{
    return x << n | x >> (64 - n);
}

static void rounds(u64 v[4], u32 count)
{
    while (count--) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

u64 isn_hash(const u64 key[2], const void *data, u32 len)
{
    u64 v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    const u8 *at = data;

    for (u32 i = 0; i <= len / 8; i++) { /* the last word has what is left, and the length */
        u64 word = i == len / 8 ? (u64)len << 56 : 0;

        for (u32 b = 8 * i; b < MIN(len, 8 * i + 8); b++)
            word |= (u64)at[b] << (8 * (b % 8));
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

u32 isn_next(const struct ip_addr *local, u16 local_port, const struct ip_addr *remote,
             u16 remote_port)
{
    struct {
        u32 local[4], remote[4];
        u16 local_port, remote_port;
    } pair = {.local_port = local_port, .remote_port = remote_port};

    memcpy(pair.local, ip_2_ip6(local)->addr, IP_IS_V6(local) ? 16 : 4);
    memcpy(pair.remote, ip_2_ip6(remote)->addr, IP_IS_V6(remote) ? 16 : 4);
    return (u32)isn_hash(secret, &pair, sizeof(pair)) + (u32)(clock_ns() / ISN_TICK);
}
