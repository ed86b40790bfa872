/* A load for a block device, run in a Linux guest: writes, zeroes, discards and reads in random
 * order, several at a time, each read compared with what must be there.
 *
 *   blkload run DEVICE SEED OPERATIONS WORKERS   changes the first MiBs of the device
 *   blkload check DEVICE SEED OPERATIONS WORKERS the same operations in thought, then compares
 *
 * Each worker has a region of its own, of BLOCKS blocks.  Ends in "blkload: ok ..." or "blkload:
 * WRONG ...". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS 512u /* of a worker: 2 MiB */
#define RUN 16u     /* blocks of one operation, at most */
#define ANY 0xffffffffu

static uint32_t generation[BLOCKS]; /* what a block holds: 0 zeros, ANY unknown */
static uint64_t state;
static bool dry;
static int fd;
static unsigned worker;
static uint8_t *buffer;

static uint32_t random32(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33);
}

static uint64_t place(uint32_t block)
{
    return ((uint64_t)worker * BLOCKS + block) * BLOCK;
}

static void fill(uint8_t *at, uint32_t block, uint32_t what)
{
    uint64_t *words = (uint64_t *)at;
    for (unsigned i = 0; i < BLOCK / 8; i++)
        words[i] = what ? (place(block) + i) * 0x9e3779b97f4a7c15ull ^ (uint64_t)what << 32 : 0;
}

static void fail(const char *what, uint32_t block)
{
    printf("blkload: WRONG %s, worker %u, byte %llu: %s\n", what, worker,
           (unsigned long long)place(block), errno ? strerror(errno) : "other contents");
    exit(1);
}

static void compare(uint32_t block, uint32_t count)
{
    static uint8_t want[BLOCK];
    errno = 0;
    if (pread(fd, buffer, count * BLOCK, (off_t)place(block)) != (ssize_t)(count * BLOCK))
        fail("read", block);
    for (uint32_t i = 0; i < count; i++) {
        if (generation[block + i] == ANY)
            continue;
        fill(want, block + i, generation[block + i]);
        if (memcmp(want, buffer + i * BLOCK, BLOCK))
            fail("contents", block + i);
    }
}

static void write_blocks(uint32_t block, uint32_t count, uint32_t number)
{
    for (uint32_t i = 0; i < count; i++) {
        generation[block + i] = number;
        if (!dry)
            fill(buffer + i * BLOCK, block + i, number);
    }
    if (!dry && pwrite(fd, buffer, count * BLOCK, (off_t)place(block)) != (ssize_t)(count * BLOCK))
        fail("write", block);
}

static void range(unsigned long request, uint32_t block, uint32_t count, uint32_t becomes)
{
    uint64_t r[2] = {place(block), count * BLOCK};
    for (uint32_t i = 0; i < count; i++)
        generation[block + i] = becomes;
    if (!dry && ioctl(fd, request, r))
        fail(request == BLKDISCARD ? "discard" : "zeroing", block);
}

static void operate(uint32_t number)
{
    uint32_t block = random32() % BLOCKS, count = random32() % RUN + 1, what = random32() % 20;
    if (count > BLOCKS - block)
        count = BLOCKS - block;
    errno = 0;
    if (what < 9)
        write_blocks(block, count, number);
    else if (what < 16 && !dry)
        compare(block, count);
    else if (what == 16)
        range(BLKZEROOUT, block, count, 0);
    else if (what == 17)
        range(BLKDISCARD, block, count, ANY);
    else if (what == 18 && !dry && fsync(fd))
        fail("flush", block);
}

static void work(unsigned long seed, unsigned operations)
{
    state = seed * 1000 + worker;
    for (unsigned i = 0; i < BLOCKS; i++)
        generation[i] = ANY;
    for (unsigned i = 1; i <= operations; i++)
        operate(i);
    for (uint32_t block = 0; block < BLOCKS; block += RUN)
        compare(block, RUN);
    if (!dry && fsync(fd))
        fail("last flush", 0);
    exit(0);
}

int main(int argc, char **argv)
{
    unsigned workers = argc == 6 ? (unsigned)atoi(argv[5]) : 0;
    bool good = workers;
    int status;
    dry = argc > 1 && !strcmp(argv[1], "check");
    buffer = aligned_alloc(BLOCK, RUN * BLOCK);
    fd = argc > 2 ? open(argv[2], (dry ? O_RDONLY : O_RDWR) | O_DIRECT) : -1;
    if (!workers || !buffer || fd < 0) {
        printf("blkload: WRONG use: run|check DEVICE SEED OPERATIONS WORKERS\n");
        return 1;
    }
    for (worker = 0; worker < workers; worker++) {
        if (fork() == 0)
            work(strtoul(argv[3], NULL, 10), (unsigned)atoi(argv[4]));
    }
    for (unsigned i = 0; i < workers; i++)
        good &= wait(&status) > 0 && status == 0;
    if (good)
        printf("blkload: ok, %u operations of %u workers\n", (unsigned)atoi(argv[4]) * workers,
               workers);
    return !good;
}
