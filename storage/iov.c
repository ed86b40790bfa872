/* Slices and copies of scatter-gather lists; called by the backends. */
#include "storage/iov.h"

#include <string.h>

/* One way through the list: calls of step() with each piece of skip..skip+len. */
static u32 walk(const struct disk_iov *iov, u32 count, u64 skip, u64 len,
                void (*step)(void *arg, u8 *at, u64 n), void *arg)
{
    u32 pieces = 0;

    for (u32 i = 0; i < count && len; i++) {
        if (skip >= iov[i].len) {
            skip -= iov[i].len;
            continue;
        }
        u64 n = MIN(len, iov[i].len - skip);
        if (step)
            step(arg, (u8 *)iov[i].base + skip, n);
        pieces++;
        len -= n;
        skip = 0;
    }
    return pieces;
}

static void step_slice(void *arg, u8 *at, u64 n)
{
    struct disk_iov **out = arg;

    **out = (struct disk_iov){at, n};
    (*out)++;
}

static void step_read(void *arg, u8 *at, u64 n)
{
    u8 **dst = arg;

    memcpy(*dst, at, n);
    *dst += n;
}

static void step_write(void *arg, u8 *at, u64 n)
{
    const u8 **src = arg;

    memcpy(at, *src, n);
    *src += n;
}

static void step_zero(void *arg, u8 *at, u64 n)
{
    (void)arg;
    memset(at, 0, n);
}

u32 iov_pieces(const struct disk_iov *iov, u32 count, u64 skip, u64 len)
{
    return walk(iov, count, skip, len, NULL, NULL);
}

u32 iov_slice(const struct disk_iov *iov, u32 count, u64 skip, u64 len, struct disk_iov *out)
{
    return walk(iov, count, skip, len, step_slice, &out);
}

void iov_read(const struct disk_iov *iov, u32 count, u64 skip, void *dst, u64 len)
{
    walk(iov, count, skip, len, step_read, &dst);
}

void iov_write(const struct disk_iov *iov, u32 count, u64 skip, const void *src, u64 len)
{
    walk(iov, count, skip, len, step_write, &src);
}

void iov_zero(const struct disk_iov *iov, u32 count, u64 skip, u64 len)
{
    walk(iov, count, skip, len, step_zero, NULL);
}
