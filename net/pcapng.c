/* pcapng blocks; called by `net capture`. */
#include "net/pcapng.h"

#include <string.h>

enum {
    SECTION = 0x0a0d0d0a,
    INTERFACE = 1,
    STATISTICS = 5,
    PACKET = 6,
    MAGIC = 0x1a2b3c4d,
    ETHERNET = 1
};
enum {
    OPTION_END = 0,
    COMMENT = 1,
    ISB_RECEIVED = 4,
    ISB_DROPPED = 5,
    IF_NAME = 2,
    IF_TSRESOL = 9,
    EPB_FLAGS = 2
};

struct writer {
    u8 *to;
    u32 size, at;
};

static void put(struct writer *w, const void *bytes, u32 len)
{
    if (w->at + len <= w->size)
        memcpy(w->to + w->at, bytes, len);
    w->at += len;
}

static void put32(struct writer *w, u32 value)
{
    put(w, &value, sizeof(value));
}

static void pad(struct writer *w)
{
    static const u8 zero[4];

    put(w, zero, ROUND_UP(w->at, 4u) - w->at);
}

static void option(struct writer *w, u32 code, const void *value, u32 len)
{
    put32(w, code | len << 16);
    put(w, value, len);
    pad(w);
}

/* The length stands at both ends of a block. */
static u32 finish(struct writer *w)
{
    u32 len = w->at + 4;

    put32(w, len);
    if (len > w->size)
        return 0;
    memcpy(w->to + 4, &len, sizeof(len));
    return len;
}

u32 pcapng_header(u8 *to, u32 size)
{
    struct writer w = {to, size, 0};

    put32(&w, SECTION);
    put32(&w, 0);
    put32(&w, MAGIC);
    put32(&w, 1); /* version 1.0 */
    put32(&w, ~0u);
    put32(&w, ~0u); /* length of the section: not said */
    return finish(&w);
}

u32 pcapng_interface(u8 *to, u32 size, const char *name, u32 snap_len)
{
    static const u8 nanoseconds = 9;
    struct writer w = {to, size, 0};

    put32(&w, INTERFACE);
    put32(&w, 0);
    put32(&w, ETHERNET);
    put32(&w, snap_len);
    option(&w, IF_NAME, name, (u32)strlen(name));
    option(&w, IF_TSRESOL, &nanoseconds, 1);
    option(&w, OPTION_END, "", 0);
    return finish(&w);
}

u32 pcapng_packet(u8 *to, u32 size, u32 interface, const struct net_frame *f, u16 tag, bool out,
                  u64 time, u32 snap_len)
{
    struct writer w = {to, size, 0};
    struct frame_part part[FRAME_PARTS];
    u8 tag_bytes[FRAME_TAG];
    u32 n = frame_parts(f, tag, tag_bytes, part), len = frame_out_len(f, tag),
        left = MIN(len, snap_len), direction = out ? 2 : 1;

    put32(&w, PACKET);
    put32(&w, 0);
    put32(&w, interface);
    put32(&w, (u32)(time >> 32));
    put32(&w, (u32)time);
    put32(&w, left);
    put32(&w, len);
    for (u32 i = 0; i < n && left; i++) {
        put(&w, part[i].at, MIN(part[i].len, left));
        left -= MIN(part[i].len, left);
    }
    pad(&w);
    option(&w, EPB_FLAGS, &direction, sizeof(direction));
    option(&w, OPTION_END, "", 0);
    return finish(&w);
}

void pcapng_statistics(u8 *to, u32 len, u32 interface, u64 time, u64 received, u64 dropped)
{
    struct writer w = {to, len, 0};

    put32(&w, STATISTICS);
    put32(&w, 0);
    put32(&w, interface);
    put32(&w, (u32)(time >> 32));
    put32(&w, (u32)time);
    option(&w, ISB_RECEIVED, &received, sizeof(received));
    option(&w, ISB_DROPPED, &dropped, sizeof(dropped));
    put32(&w, COMMENT | (len - w.at - 12) << 16); /* itself, the end and the block's length */
    memset(to + w.at, ' ', len - w.at - 8);
    w.at = len - 8;
    option(&w, OPTION_END, "", 0);
    finish(&w);
}
