/* Captured frames as a pcapng file (draft-ietf-opsawg-pcapng), little-endian, times in ns.
 *
 * Pure: each call writes one block into memory of the caller and returns its length, 0 when it does
 * not fit.  A file is a header, an interface block a port (numbered from 0), and packets. */
#pragma once

#include "net/frame.h"

#define PCAPNG_OVERHEAD 64u /* bytes a packet block takes beside the frame, at most */

u32 pcapng_header(u8 *to, u32 size);
u32 pcapng_interface(u8 *to, u32 size, const char *name, u32 snap_len);
/* The frame as it was on port `interface`, with that tag; `out`: it left the switch there.
 * `time`: ns since 1970.  At most snap_len bytes of it are stored. */
u32 pcapng_packet(u8 *to, u32 size, u32 interface, const struct net_frame *f, u16 tag, bool out,
                  u64 time, u32 snap_len);

/* The last block of a file: what was captured and lost, padded to `len` bytes, a multiple of 4 of
 * at least PCAPNG_STATISTICS_LEAST. */
#define PCAPNG_STATISTICS_LEAST 60u
void pcapng_statistics(u8 *to, u32 len, u32 interface, u64 time, u64 received, u64 dropped);
