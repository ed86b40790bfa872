/* A host behind a card's driver, for programs that feed the driver broken frames: the runtime, a
 * switch with an uplink, an interface with lwIP, and the frames. */
#pragma once

#include "drivers/nic.h"
#include "kernel/abi/types.h"

#define NIC_FUZZ_FRAMES 1000000u
#define NIC_FUZZ_LONGEST 16384u

/* ---- what the program has: its model of the card ----------------------------------------------
 */
/* The card gets a frame that is sound, and tells the driver. */
void nic_fuzz_deliver(const u8 *frame, u32 len);
/* It does what it was told to since. */
void nic_fuzz_card_runs(void);

/* ---- what it calls ----------------------------------------------------------------------------
 */
u64 nic_fuzz_random(u64 below); /* the same ones in every run, or those of FUZZ_SEED */
void nic_fuzz_start(void);
void nic_fuzz_attach(struct nic *n);
void nic_fuzz_detach(struct nic *n); /* all that was held is back when this returns */
/* The next frame, broken or not; returns its length, at least 1. */
u32 nic_fuzz_frame(u8 to[NIC_FUZZ_LONGEST]);
/* An echo request that must never be answered: its bytes reach the stack by a mistake alone. */
u32 nic_fuzz_trap(u8 *to);
void nic_fuzz_heard(const u8 *f, u32 len); /* the card sent this one */
void nic_fuzz_pass(u64 ns);                /* the stack, the driver's timers and fibers run */
/* ARP, ICMP, neighbour discovery and ICMPv6 are answered; a TCP connection echoes. */
void nic_fuzz_answers(void);
void nic_fuzz_connects(void);
/* Nothing is held any more: lwIP's memory, buffers of frames; `kept`: DMA memory that the cards
 * were given since the start. */
void nic_fuzz_end(u64 kept);
