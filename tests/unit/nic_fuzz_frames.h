/* Frames of a peer at 10.0.0.1, sound ones and ones that are broken, for nic_fuzz.c alone.
 *
 * What the host sent last is remembered, so that answers come to questions that it asked. */
#pragma once

#include "kernel/abi/types.h"

#define FRAMES_TRAP 0xdeadu /* id of an echo request that nobody may see */
enum { FRAMES_SYN = 2, FRAMES_RST = 4, FRAMES_PSH = 8, FRAMES_ACK = 16 };

struct frames_heard { /* of what answers the sound ones */
    u32 arps, echoes, advertised, echoes6, traps;
    u32 token;
    u16 port; /* the peer's, of its connection */
    u8 tcp_flags;
    u32 tcp_sequence, tcp_data;
};
extern struct frames_heard frames_heard;

u64 frames_random(u64 below);
void frames_for(u64 mac);                  /* the host's address ... */
void frames_address(const u32 address[4]); /* ... and its IPv6 one */
void frames_hear(const u8 *f, u32 len);
u32 frames_next(u8 *to);

/* Sound ones; each returns its length. */
u32 frames_arp_request(u8 *f);
u32 frames_echo(u8 *f, u16 id, u16 number);
u32 frames_solicitation(u8 *f);
u32 frames_echo6(u8 *f, u16 id, u16 number);
u32 frames_tcp(u8 *f, u8 flags, u32 sequence, u32 ack, u32 payload);
