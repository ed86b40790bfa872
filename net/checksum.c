/* The checksum routine of the TCP/IP stack; called by lwIP for each segment that no card sums. */
#include "net/checksum.h"

#include <string.h>

/* Adds `blocks` times 64 bytes, with the carry of each addition in the next. */
static u64 sum_blocks(const u8 *at, u64 blocks, u64 sum)
{
    __asm__("1:\n\t"
            "addq 0(%[at]), %[sum]\n\t"
            "adcq 8(%[at]), %[sum]\n\t"
            "adcq 16(%[at]), %[sum]\n\t"
            "adcq 24(%[at]), %[sum]\n\t"
            "adcq 32(%[at]), %[sum]\n\t"
            "adcq 40(%[at]), %[sum]\n\t"
            "adcq 48(%[at]), %[sum]\n\t"
            "adcq 56(%[at]), %[sum]\n\t"
            "adcq $0, %[sum]\n\t"
            "addq $64, %[at]\n\t"
            "decq %[n]\n\t"
            "jnz 1b"
            : [sum] "+r"(sum), [at] "+r"(at), [n] "+r"(blocks)
            :
            : "cc", "memory");
    return sum;
}

static u64 add(u64 sum, u64 value)
{
    sum += value;
    return sum + (sum < value);
}

u16 checksum_sum(const void *data, int len)
{
    const u8 *at = data;
    u64 sum = 0, word;
    u32 left = len > 0 ? (u32)len : 0;

    if (left >= 64) {
        sum = sum_blocks(at, left / 64, 0);
        at += left & ~63u;
        left &= 63;
    }
    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        sum = add(sum, word);
    }
    if (left) {
        word = 0;
        memcpy(&word, at, left);
        sum = add(sum, word);
    }
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

u16 checksum_copy(void *to, const void *from, u16 len)
{
    memcpy(to, from, len);
    return checksum_sum(to, len);
}
