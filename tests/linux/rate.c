/* /init of a Linux that `make bench` measures beside Bulkhead on the same emulated machine:
 * loads the modules that are there, of virtio devices, AHCI and e1000e, and answers lines on the
 * console with one rate each.
 *
 *   disk DEVICE BLOCK DEPTH BYTES RANDOM WRITE  O_DIRECT reads, or writes of a pattern and a flush,
 *                                               DEPTH at a time: requests a second
 *   send IP PORT BYTES                          TCP: bytes a second until the peer has closed
 *   receive IP PORT                             TCP: until the peer has sent all
 *   address IP                                  another one than 10.9.0.100; no rate
 *   serve PORT                                  TCP: read one connection to its end
 *   show PATH                                   a file, as of /proc; no rate */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MOST 64
static uint8_t *buffer;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void load_modules(void)
{
    static const char *const names[] = {"virtio_ring",
                                        "virtio",
                                        "virtio_pci_legacy_dev",
                                        "virtio_pci_modern_dev",
                                        "virtio_pci",
                                        "virtio_blk",
                                        "failover",
                                        "net_failover",
                                        "virtio_net",
                                        "crct10dif_common",
                                        "crc-t10dif",
                                        "crct10dif_generic",
                                        "crc64",
                                        "crc64_rocksoft_generic",
                                        "crc64-rocksoft",
                                        "t10-pi",
                                        "scsi_common",
                                        "scsi_mod",
                                        "libata",
                                        "libahci",
                                        "ahci",
                                        "sd_mod",
                                        "e1000e"};
    char path[80];

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "/lib/modules/%s.ko", names[i]);
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        if (syscall(SYS_finit_module, fd, "", 0) != 0)
            printf("%s is not loaded\n", names[i]);
        close(fd);
    }
}

static void set_address(const char *name, const char *address)
{
    struct ifreq r = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    in->sin_family = AF_INET;
    inet_aton(address, &in->sin_addr);
    ioctl(fd, SIOCSIFADDR, &r);
    inet_aton("255.255.255.0", &in->sin_addr);
    ioctl(fd, SIOCSIFNETMASK, &r);
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    ioctl(fd, SIOCSIFFLAGS, &r);
    close(fd);
}

struct disk {
    aio_context_t context;
    int fd;
    uint64_t block, count, next;
    int random, write;
};

/* As `host disk test mode=write --same` does. */
static void fill(uint64_t *words, uint64_t bytes, uint64_t at)
{
    for (uint64_t i = 0; i < bytes / 8; i++)
        words[i] = (at / 8 + i) * 0x9e3779b97f4a7c15ull + 1;
}

static int submit(struct disk *d, unsigned slot)
{
    static struct iocb blocks[DEPTH_MOST];
    struct iocb *b = &blocks[slot];
    uint64_t at = d->next++;

    if (d->random)
        at = at * 0x9e3779b97f4a7c15ull % d->count;
    if (d->write && d->next <= DEPTH_MOST) /* each buffer, and no more */
        fill((uint64_t *)(buffer + slot * d->block), d->block, at * d->block);
    *b = (struct iocb){.aio_data = slot,
                       .aio_lio_opcode = d->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                       .aio_fildes = (uint32_t)d->fd,
                       .aio_buf = (uint64_t)(buffer + slot * d->block),
                       .aio_nbytes = d->block,
                       .aio_offset = (int64_t)(at * d->block)};
    return syscall(SYS_io_submit, d->context, 1, &b) == 1;
}

static double load_disk(const char *path, uint64_t block, unsigned depth, uint64_t bytes,
                        int random, int writes)
{
    struct disk d = {.block = block, .count = bytes / block, .random = random, .write = writes};
    struct io_event events[DEPTH_MOST];
    uint64_t done = 0;
    double began;

    d.fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_DIRECT);
    if (d.fd < 0 || depth > DEPTH_MOST || syscall(SYS_io_setup, DEPTH_MOST, &d.context) != 0)
        return 0;
    began = now();
    for (unsigned i = 0; i < depth && d.next < d.count; i++)
        if (!submit(&d, i))
            return 0;
    while (done < d.count) {
        long n = syscall(SYS_io_getevents, d.context, 1, DEPTH_MOST, events, NULL);
        for (long i = 0; i < n; i++, done++)
            if (events[i].res != (int64_t)block ||
                (d.next < d.count && !submit(&d, (unsigned)events[i].data)))
                return 0;
    }
    if (writes && fsync(d.fd) != 0)
        return 0;
    began = now() - began;
    syscall(SYS_io_destroy, d.context);
    close(d.fd);
    return (double)done / began;
}

static double transfer(const char *address, int port, uint64_t bytes)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t moved = 0;
    ssize_t n = 1;

    inet_aton(address, &in.sin_addr);
    if (connect(fd, (struct sockaddr *)&in, sizeof(in)) != 0)
        return 0;
    double began = now();
    while (n > 0 && (!bytes || moved < bytes)) {
        n = bytes ? write(fd, buffer, 1 << 18) : read(fd, buffer, 1 << 18);
        moved += n > 0 ? (uint64_t)n : 0;
    }
    if (bytes) {
        shutdown(fd, SHUT_WR);
        n = read(fd, buffer, 1); /* until the peer has read all */
    }
    began = now() - began;
    close(fd);
    return (double)moved / began;
}

static double serve(int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t moved = 0;
    ssize_t n;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(listener, 1) != 0)
        return 0;
    printf("serving\n");
    fflush(stdout);
    int fd = accept(listener, NULL, NULL);
    double began = now();
    while ((n = read(fd, buffer, 1 << 18)) > 0)
        moved += (uint64_t)n;
    began = now() - began;
    close(fd);
    close(listener);
    return (double)moved / began;
}

static void show(const char *path)
{
    static char text[16384];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

    if (n > 0)
        fwrite(text, 1, (size_t)n, stdout);
    close(fd);
}

int main(void)
{
    char line[200], word[100];
    unsigned long long a, b, c;
    int random, writes;

    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    load_modules();
    set_address("eth0", "10.9.0.100");
    if (posix_memalign((void **)&buffer, 4096, 16 << 20) != 0)
        return 1;
    for (;;) {
        printf("\nrate> ");
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin))
            return 0;
        if (sscanf(line, "disk %99s %llu %llu %llu %d %d", word, &a, &b, &c, &random, &writes) == 6)
            printf("RATE %.1f\n", load_disk(word, a, (unsigned)b, c, random, writes));
        else if (sscanf(line, "send %99s %llu %llu", word, &a, &b) == 3)
            printf("RATE %.1f\n", transfer(word, (int)a, b));
        else if (sscanf(line, "receive %99s %llu", word, &a) == 2)
            printf("RATE %.1f\n", transfer(word, (int)a, 0));
        else if (sscanf(line, "address %99s", word) == 1)
            set_address("eth0", word);
        else if (sscanf(line, "serve %llu", &a) == 1)
            printf("RATE %.1f\n", serve((int)a));
        else if (sscanf(line, "show %99s", word) == 1)
            show(word);
    }
}
