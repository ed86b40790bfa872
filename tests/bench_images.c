/* What an image request costs here and in QEMU, on the same file, in one run: table `images` of
 * `make bench`.  Lines of name, value, unit: nanoseconds of CPU a request of 4 KiB at random
 * places. */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "storage/snapshot.h"

#define SIZE (128 * MIB)
#define COUNT 10000u
#define BLOCK 4096u

#define CHAIN 8u
#define CLUSTER (64 * KIB)

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

static const struct disk_ops ops = {.name = "host", .submit = host_submit, .close = host_close};
static struct host_file file, chain_file[CHAIN], store_file;
static bool finished;

static void host_open(struct host_file *f, const char *path)
{
    unlink(path);
    disk_init(&f->disk, &ops, path, 0, 1);
    f->disk.growable = true;
    f->fd = open(path, O_RDWR | O_CREAT, 0644);
}

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
static double qemu_run(const char *format, const char *path, bool write, u32 count, u32 size,
                       u32 step)
{
    char line[512];
    double begin = cpu_ns(RUSAGE_CHILDREN);

    snprintf(line, sizeof(line),
             "qemu-img bench -q -f %s %s -c %u -d 1 -s %u -S %u %s >/dev/null 2>&1", format,
             write ? "-w" : "", count, size, step, path);
    if (system(line))
        return 0;
    return cpu_ns(RUSAGE_CHILDREN) - begin;
}

/* A request; what its start and end cost is taken off. */
static double theirs_of(const char *format, const char *path, bool write, u32 count, u32 size,
                        u32 step)
{
    double start = qemu_run(format, path, false, 1, 4096, 4096);
    double all = qemu_run(format, path, write, count, size, step);

    return all > start ? (all - start) / (count - 1) : 0;
}

static double theirs(const char *format, const char *path, bool write)
{
    return theirs_of(format, path, write, COUNT, BLOCK, 135168);
}

/* The same on an image that is new and empty. */
static double theirs_new(const char *format, bool write, u32 count, u32 size, u32 step)
{
    const char *path = "build/host/bench-qemu.img";
    char line[256];

    snprintf(line, sizeof(line), "qemu-img create -q -f %s %s %llu >/dev/null 2>&1", format, path,
             (unsigned long long)SIZE);
    double ns = system(line) ? 0 : theirs_of(format, path, write, count, size, step);
    unlink(path);
    return ns;
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

    host_open(&file, path);
    must(image_format(format)->create(&file.disk, &o, error), "create");
    struct image_layer layer = {.file = &file.disk, .format = image_format(format)};
    must(image_open(format, &layer, 1, false, &d, error), "open");
    double alloc = run(d, true), rewrite = run(d, true), read = run(d, false);
    must(disk_close(d), "close");
    report(format, "alloc", alloc, theirs_new(qemu, true, COUNT, BLOCK, 135168));
    report(format, "rewrite", rewrite, theirs(qemu, path, true));
    report(format, "read", read, theirs(qemu, path, false));
    disk_close(&file.disk);
    unlink(path);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void row(const char *name, double value, const char *unit)
{
    printf("%s\t%.2f\t%s\n", name, value, unit);
}

/* A chain of eight, where each has an eighth of the clusters, beside one that has them all; then
 * what the first write to a cluster costs after a snapshot. */
static void chains(void)
{
    struct image_layer layers[CHAIN] = {0};
    struct image_options o = {.size = SIZE, .id = {1}};
    char error[IMAGE_ERROR_MAX] = "", path[64];
    static u8 buf[CLUSTER];
    double one = 0, begin;
    struct disk *d;

    memset(buf, 0x5a, sizeof(buf));
    for (u32 n = 0; n < CHAIN; n++) {
        struct image_layer *top = &layers[CHAIN - 1 - n];

        snprintf(path, sizeof(path), "build/host/bench-%u.img", n);
        host_open(&chain_file[n], path);
        o.parent_name = n ? "below" : NULL;
        must(image_format("qcow2")->create(&chain_file[n].disk, &o, error), "create");
        *top = (struct image_layer){.file = &chain_file[n].disk, .format = image_format("qcow2")};
        must(image_open("chain", top, n + 1, false, &d, error), "open");
        begin = cpu_ns(RUSAGE_SELF);
        for (u64 at = n * CLUSTER; at < SIZE; at += (n ? CHAIN : 1) * CLUSTER)
            must(disk_write(d, at, buf, n == CHAIN - 1 ? BLOCK : CLUSTER), "a write");
        if (n == CHAIN - 1)
            row("image.cow.write", (cpu_ns(RUSAGE_SELF) - begin) / (SIZE / CLUSTER / CHAIN), "ns");
        if (!n) {
            run(d, false); /* the map is loaded */
            one = run(d, false);
        }
        if (n == CHAIN - 1) {
            run(d, false);
            row("image.chain8.read", run(d, false), "ns");
            row("image.chain8.read.vs_1", one / run(d, false), "x");
        }
        must(disk_close(d), "close");
    }
    for (u32 n = 0; n < CHAIN; n++) {
        snprintf(path, sizeof(path), "build/host/bench-%u.img", n);
        disk_close(&chain_file[n].disk);
        unlink(path);
    }
}

static double least(double a, double b)
{
    return b > 0 && (a <= 0 || b < a) ? b : a;
}

/* All of a new image written, then read, a MiB at a time; QEMU's beside it, on the same file to
 * read and on a new one of its own to write. */
static void one_pass(const char *format, const char *qemu, double ns[2], double their[2])
{
    struct image_options o = {.size = SIZE, .id = {1}};
    char error[IMAGE_ERROR_MAX] = "";
    static u8 buf[MIB];
    struct disk *d;

    host_open(&file, "build/host/bench.img");
    must(image_format(format)->create(&file.disk, &o, error), "create");
    struct image_layer layer = {.file = &file.disk, .format = image_format(format)};
    must(image_open(format, &layer, 1, false, &d, error), "open");
    memset(buf, 0x5a, sizeof(buf));
    for (u32 write = 0; write < 2; write++) {
        double begin = cpu_ns(RUSAGE_SELF);

        for (u64 at = 0; at < SIZE; at += sizeof(buf))
            must(!write ? disk_write(d, at, buf, sizeof(buf)) : disk_read(d, at, buf, sizeof(buf)),
                 "a request");
        ns[write] = least(ns[write], (cpu_ns(RUSAGE_SELF) - begin) / (SIZE / MIB));
    }
    must(disk_close(d), "close");
    their[0] = least(their[0], theirs_new(qemu, true, SIZE / MIB, MIB, MIB));
    their[1] =
        least(their[1], theirs_of(qemu, "build/host/bench.img", false, SIZE / MIB, MIB, MIB));
    disk_close(&file.disk);
    unlink("build/host/bench.img");
}

/* The best of some passes: a file system below takes ten times as long now and then. */
static void throughput(const char *format, const char *qemu)
{
    double ns[2] = {0}, their[2] = {0};
    char name[64];

    for (u32 i = 0; i < 5; i++)
        one_pass(format, qemu, ns, their);
    for (u32 i = 0; i < 2; i++) {
        snprintf(name, sizeof(name), "image.%s.%s", format, i ? "seq_read" : "seq_write");
        row(name, 1e9 / ns[i], "MiB/s of CPU");
        snprintf(name, sizeof(name), "image.%s.%s.vs_qemu", format, i ? "seq_read" : "seq_write");
        if (their[i] > 0)
            row(name, their[i] / ns[i], "x");
    }
}

/* All of a 1 TiB disk was looked at: how much memory its map and tables take. */
static void memory(void)
{
    struct image_options o = {.size = 1024 * GIB, .id = {1}};
    char error[IMAGE_ERROR_MAX] = "";
    u8 buf[512];
    struct disk *d;

    host_open(&file, "build/host/bench.img");
    must(image_format("qcow2")->create(&file.disk, &o, error), "create");
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    struct image_layer layer = {.file = &file.disk, .format = image_format("qcow2")};
    must(image_open("qcow2", &layer, 1, true, &d, error), "open");
    for (u64 at = 0; at < o.size; at += 16 * MIB)
        must(disk_read(d, at, buf, sizeof(buf)), "a read");
    row("image.qcow2.memory.tib",
        (double)(mallinfo2().uordblks + mallinfo2().hblkhd - before) / (double)KIB, "KiB");
    must(disk_close(d), "close");
    disk_close(&file.disk);
    unlink("build/host/bench.img");
}

/* A VM with a disk of 100 GiB on a store: a snapshot, a linked clone, a merge of 64 MiB. */
static void snapshots(void)
{
    char error[IMAGE_ERROR_MAX + STORE_ERROR_MAX];
    struct store *s;
    struct vm_dir *v, *clone;
    struct chain *c;
    struct merge_job job = {0};
    struct image_options o = {.size = 100 * GIB};
    static u8 buf[MIB];

    host_open(&store_file, "build/host/bench.store");
    must(disk_resize(&store_file.disk, GIB), "resize");
    store_file.disk.block_size = 512;
    must(store_format(&store_file.disk, "ds1", error), "format");
    must(store_mount(&store_file.disk, false, &s, error), "mount");
    must(vm_dir_make(s, "w", "w", &v, error), "a VM");
    must(chain_create(s, "w/d.qcow2", "qcow2", &o, NULL, error), "create");
    v->now.disk[0] = (struct vm_dir_disk){0, "d.qcow2", "qcow2"};
    v->now.disk_count = 1;
    double begin = now_ns();
    must(snapshot_take(v, "s1", "", NULL), v->error);
    row("snapshot.take", (now_ns() - begin) / 1e6, "ms");
    begin = now_ns();
    must(vm_dir_make(s, "c", "c", &clone, error), "a clone");
    must(snapshot_link(clone, v, vm_dir_find(v, "s1")), clone->error);
    row("clone.linked.100g", (now_ns() - begin) / 1e6, "ms");
    must(snapshot_take(v, "s2", "", NULL), v->error);
    char path[STORE_PATH_MAX];
    vm_dir_path(v, v->now.disk[0].file, path);
    must(chain_open(s, path, NULL, false, &c, error), error);
    memset(buf, 0x5a, sizeof(buf));
    for (u64 at = 0; at < 64 * MIB; at += MIB)
        must(disk_write(c->disk, at, buf, MIB), "a write");
    must(chain_close(c), "close");
    job.direction = MERGE_DOWN;
    begin = now_ns();
    must(snapshot_delete(v, "s2", &job, NULL), v->error);
    row("snapshot.delete.64m", (now_ns() - begin) / 1e6, "ms");
    vm_dir_free(v);
    vm_dir_free(clone);
    must(store_unmount(s), "unmount");
    disk_close(&store_file.disk);
    unlink("build/host/bench.store");
}

static void all(void *arg)
{
    static const char *const formats[][2] = {{"raw", "raw"},   {"qcow2", "qcow2"}, {"vmdk", "vmdk"},
                                             {"vhdx", "vhdx"}, {"vhd", "vpc"},     {"vdi", "vdi"}};

    (void)arg;
    for (u32 i = 0; i < ARRAY_LEN(formats); i++) {
        bench(formats[i][0], formats[i][1]);
        throughput(formats[i][0], formats[i][1]);
    }
    chains();
    memory();
    snapshots();
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
