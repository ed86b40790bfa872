/* Random bytes that cannot be guessed: for guests' entropy devices, sequence numbers, keys.
 *
 * A ChaCha20 generator that forgets its key with every call, fed from RDSEED and RDRAND where the
 * CPU has them and from the time stamp counter at each call.  One thread. */
#pragma once

#include "kernel/abi/types.h"

void random_bytes(void *out, u32 len);
u64 random_u64(void);
/* Mixes in what an attacker does not know: arrival times, typed keys. */
void random_feed(const void *bytes, u32 len);
/* True if a hardware generator feeds it. */
bool random_has_source(void);

/* One block of RFC 8439's ChaCha20, section 2.3, for the tests. */
void random_chacha20(const u32 key[8], u32 counter, const u32 nonce[3], u32 out[16]);
