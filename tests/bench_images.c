/* What an image request costs here and in QEMU, on the same file, in one run: `make bench-images`.
 * Lines of name, value, unit: nanoseconds of CPU a request of 4 KiB at random places. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "storage/image.h"

#define SIZE (128 * MIB)
#define COUNT 10000u
#define BLOCK 4096u

struct host_file {
    struct disk disk;
    int fd;
};

static void host_submit(struct disk *d, struct disk_io *io)
{
    int fd = ((struct host_file *)d)->fd;
    const struct iovec *v = (const struct iovec *)(const void *)io->iov;
    long n = (long)io->length;

    if (io->op == DISK_READ)
        n = preadv(fd, v, (int)io->iov_count, (off_t)io->offset);
    else if (io->op == DISK_WRITE)
        n = pwritev(fd, v, (int)io->iov_count, (off_t)io->offset);
    else if (io->op == DISK_RESIZE && !ftruncate(fd, (off_t)io->offset))
        d->size = io->offset;
    if (io->op == DISK_WRITE)
        d->size = MAX(d->size, io->offset + io->length);
    disk_complete(io, n == (long)io->length ? HV_OK : HV_EIO);
}

static enum hv_status host_close(struct disk *d)
{
    close(((struct host_file *)d)->fd);
    disk_fini(d);
    return HV_OK;
}

static const struct disk_ops ops = {"host", host_submit, host_close};
static struct host_file file;
static bool finished;

static double cpu_ns(int who)
{
    struct rusage u;

    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

static u64 place(u32 i)
{
    return (u64)i * 2654435761u % (SIZE / BLOCK) * BLOCK;
}

static void must(enum hv_status status, const char *what)
{
    if (status == HV_OK)
        return;
    printf("%s failed: %d\n", what, status);
    exit(1);
}

static double run(struct disk *d, bool write)
{
    static u8 buf[BLOCK];
    double begin = cpu_ns(RUSAGE_SELF);

    memset(buf, 0x5a, sizeof(buf));
    for (u32 i = 0; i < COUNT; i++)
        must(write ? disk_write(d, place(i), buf, BLOCK) : disk_read(d, place(i), buf, BLOCK),
             "a request");
    return (cpu_ns(RUSAGE_SELF) - begin) / COUNT;
}

/* QEMU's own test goes through the file in steps; 132 KiB is one that meets another cluster each
 * time. */
static double theirs(const char *format, const char *path, bool write)
{
    char line[512];
    double begin = cpu_ns(RUSAGE_CHILDREN);

    snprintf(line, sizeof(line),
             "qemu-img bench -q -f %s %s -c %u -d 1 -s 4096 -S 135168 %s "
             ">/dev/null",
             format, write ? "-w" : "", COUNT, path);
    if (system(line))
        return 0;
    return (cpu_ns(RUSAGE_CHILDREN) - begin) / COUNT;
}

static void report(const char *format, const char *op, double ours, double qemu)
{
    printf("image.%s.%s\t%.0f\tns\n", format, op, ours);
    if (qemu > 0)
        printf("image.%s.%s.vs_qemu\t%.2f\tx\n", format, op, qemu / ours);
}

static void bench(const char *format, const char *qemu)
{
    const char *path = "build/host/bench.img";
    struct image_options o = {.size = SIZE, .id = {1}};
    char error[IMAGE_ERROR_MAX] = "";
    struct disk *d;

    unlink(path);
    disk_init(&file.disk, &ops, path, 0, 1);
    file.disk.growable = true;
    file.fd = open(path, O_RDWR | O_CREAT, 0644);
    must(image_format(format)->create(&file.disk, &o, error), "create");
    struct image_layer layer = {.file = &file.disk, .format = image_format(format)};
    must(image_open(format, &layer, 1, false, &d, error), "open");
    double alloc = run(d, true), rewrite = run(d, true), read = run(d, false);
    must(disk_close(d), "close");
    report(format, "alloc", alloc, 0);
    report(format, "rewrite", rewrite, theirs(qemu, path, true));
    report(format, "read", read, theirs(qemu, path, false));
    disk_close(&file.disk);
    unlink(path);
}

static void all(void *arg)
{
    (void)arg;
    bench("raw", "raw");
    bench("qcow2", "qcow2");
    bench("vmdk", "vmdk");
    bench("vhdx", "vhdx");
    bench("vhd", "vpc");
    bench("vdi", "vdi");
    finished = true;
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    fiber_spawn("bench", all, NULL);
    while (!finished)
        fiber_run_ready();
    return 0;
}
