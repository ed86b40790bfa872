/* The laboratory of the image tests; linked into those test programs only.  One file, since the
 * model of a disk, the power cuts and the calls of qemu-img share their state. */
#include "tests/unit/image_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/iov.h"
#include "storage/ram_disk.h"

struct event_record {
    enum disk_op op;
    u64 offset, length;
    u8 *data; /* of a write */
};

struct lab {
    struct disk disk;
    struct disk *ram;
    bool recording, delay, pumping;
    u64 limit;
    i64 fail_after;
    struct disk *beginning;
    struct event_record *events;
    u32 count, room;
    struct disk_io *waiting[256];
    u32 waiting_count;
};

char lab_output[65536];
static u32 random_state = 1;

u32 lab_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

void lab_seed(u32 seed)
{
    random_state = seed * 2654435761u | 1;
}

/* ---- files ----------------------------------------------------------------------------------- */

static void record(struct lab *l, const struct disk_io *io)
{
    if (l->count == l->room) {
        l->room = MAX(l->room * 2, 64u);
        l->events = realloc(l->events, l->room * sizeof(*l->events));
    }
    struct event_record *e = &l->events[l->count++];
    *e = (struct event_record){io->op, io->offset, io->length, NULL};
    if (io->op == DISK_WRITE) {
        e->data = malloc(io->length + 1);
        iov_read(io->iov, io->iov_count, 0, e->data, io->length);
    }
}

static void carry_out(struct lab *l, struct disk_io *io)
{
    enum hv_status status;

    if (l->fail_after == 0) {
        disk_complete(io, HV_EIO);
        return;
    }
    l->fail_after -= l->fail_after > 0;
    u64 end = io->op == DISK_RESIZE ? io->offset : io->offset + io->length;
    if ((io->op == DISK_WRITE || io->op == DISK_RESIZE) && end > l->limit) {
        disk_complete(io, HV_ENOSPC);
        return;
    }
    if (l->recording && io->op != DISK_READ)
        record(l, io);
    status = disk_do(l->ram, io->op, io->offset, io->length, io->iov, io->iov_count);
    l->disk.size = l->ram->size;
    disk_complete(io, status);
}

static void pump(void *arg)
{
    struct lab *l = arg;

    while (l->waiting_count) {
        u32 n = lab_random() % l->waiting_count;
        struct disk_io *io = l->waiting[n];

        l->waiting[n] = l->waiting[--l->waiting_count];
        carry_out(l, io);
        fiber_yield();
    }
    l->pumping = false;
}

static void lab_submit(struct disk *d, struct disk_io *io)
{
    struct lab *l = (struct lab *)d;

    if (!l->delay) {
        carry_out(l, io);
        return;
    }
    l->waiting[l->waiting_count++] = io;
    if (!l->pumping) {
        l->pumping = true;
        fiber_spawn("pump", pump, l);
    }
}

void lab_forget_record(struct disk *file)
{
    struct lab *l = (struct lab *)file;

    for (u32 i = 0; i < l->count; i++)
        free(l->events[i].data);
    free(l->events);
    l->events = NULL;
    l->count = l->room = 0;
    if (l->beginning)
        disk_close(l->beginning);
    l->beginning = NULL;
    l->recording = false;
}

static enum hv_status lab_close(struct disk *d)
{
    struct lab *l = (struct lab *)d;

    while (l->pumping)
        fiber_yield();
    lab_forget_record(d);
    disk_close(l->ram);
    disk_fini(d);
    free(l);
    return HV_OK;
}

static const struct disk_ops ops = {.name = "lab", .submit = lab_submit, .close = lab_close};

struct disk *lab_file(const char *name)
{
    struct lab *l = calloc(1, sizeof(*l));

    disk_init(&l->disk, &ops, name, 0, 1);
    l->disk.growable = true;
    l->ram = ram_disk_open("ram", 0, 1, GIB);
    l->limit = 1ull << 50;
    l->fail_after = -1;
    return &l->disk;
}

void lab_copy(struct disk *to, struct disk *from)
{
    static u8 buf[64 * KIB];
    const struct disk *ram = ((const struct lab *)from)->ram;

    assert_int_equal(disk_resize(to, from->size), HV_OK);
    for (u64 at = 0, n; at < from->size; at += n) {
        n = ram_disk_blank(ram, at);
        if (n)
            continue;
        n = MIN(sizeof(buf) - at % sizeof(buf), from->size - at);
        assert_int_equal(disk_read(from, at, buf, n), HV_OK);
        if (buf[0] || memcmp(buf, buf + 1, n - 1))
            assert_int_equal(disk_write(to, at, buf, n), HV_OK);
    }
}

struct disk *lab_load(const char *path)
{
    static u8 buf[MIB];
    struct disk *file = lab_file(path);
    FILE *f = fopen(path, "rb");
    size_t n;
    u64 at = 0;

    assert_non_null(f);
    while ((n = fread(buf, 1, sizeof(buf), f))) {
        if (buf[0] || memcmp(buf, buf + 1, n - 1))
            assert_int_equal(disk_write(file, at, buf, n), HV_OK);
        at += n;
    }
    assert_int_equal(disk_resize(file, at), HV_OK);
    fclose(f);
    return file;
}

void lab_save(struct disk *file, const char *path)
{
    static u8 buf[MIB];
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    for (u64 at = 0, n; at < file->size; at += n) {
        n = MIN(sizeof(buf), file->size - at);
        assert_int_equal(disk_read(file, at, buf, n), HV_OK);
        if (buf[0] || memcmp(buf, buf + 1, n - 1)) {
            fseek(f, (long)at, SEEK_SET);
            assert_int_equal(fwrite(buf, 1, n, f), n);
        }
    }
    fflush(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)file->size), 0);
    fclose(f);
}

void lab_record(struct disk *file)
{
    struct lab *l = (struct lab *)file;

    lab_forget_record(file);
    l->beginning = lab_file("beginning");
    lab_copy(l->beginning, file);
    l->recording = true;
}

u32 lab_events(const struct disk *file)
{
    return ((const struct lab *)file)->count;
}

u32 lab_flushes_before(const struct disk *file, u32 event)
{
    const struct lab *l = (const struct lab *)file;
    u32 n = 0;

    for (u32 i = 0; i < event; i++)
        n += l->events[i].op == DISK_FLUSH;
    return n;
}

static void replay(struct disk *to, const struct event_record *e)
{
    enum hv_status status = HV_OK;

    if (e->op == DISK_WRITE)
        status = disk_write(to, e->offset, e->data, e->length);
    else if (e->op == DISK_RESIZE)
        status = disk_resize(to, e->offset);
    else if (e->op != DISK_FLUSH && e->offset < to->size)
        status = disk_zero(to, e->offset, MIN(e->length, to->size - e->offset));
    assert_int_equal(status, HV_OK);
}

/* Of a write that was under way each sector may be there or not. */
static void replay_torn(struct disk *to, const struct event_record *e)
{
    for (u64 at = 0, n; at < e->length; at += n) {
        n = MIN(DISK_SECTOR - (e->offset + at) % DISK_SECTOR, e->length - at);
        if (lab_random() & 1)
            assert_int_equal(disk_write(to, e->offset + at, e->data + at, n), HV_OK);
    }
}

struct disk *lab_cut(const struct disk *file, u32 events, u32 seed)
{
    const struct lab *l = (const struct lab *)file;
    struct disk *to = lab_file("cut");
    u32 flushed = 0;

    lab_copy(to, l->beginning);
    for (u32 i = 0; i < events; i++)
        if (l->events[i].op == DISK_FLUSH)
            flushed = i + 1;
    for (u32 i = 0; i < flushed; i++)
        replay(to, &l->events[i]);
    if (seed)
        lab_seed(seed);
    for (u32 i = flushed; i < events; i++) {
        const struct event_record *e = &l->events[i];

        if (!seed || e->op == DISK_RESIZE) /* a file system orders its own metadata */
            replay(to, e);
        else if (e->op == DISK_WRITE && lab_random() % 4 == 0)
            replay_torn(to, e);
        else if (lab_random() & 1)
            replay(to, e);
    }
    return to;
}

void lab_limit(struct disk *file, u64 bytes)
{
    ((struct lab *)file)->limit = bytes;
}

void lab_fail_after(struct disk *file, i64 requests)
{
    ((struct lab *)file)->fail_after = requests;
}

void lab_delay(struct disk *file, bool on)
{
    ((struct lab *)file)->delay = on;
}

/* ---- the loop and other programs ------------------------------------------------------------- */

struct run {
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static void runner(void *arg)
{
    struct run *r = arg;

    r->fn(r->arg);
    r->done = true;
}

void lab_run(void (*fn)(void *arg), void *arg)
{
    struct run r = {fn, arg, false};

    fiber_spawn("lab", runner, &r);
    while (!r.done)
        fiber_run_ready();
}

int lab_command(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line) - 6, fmt, ap);
    va_end(ap);
    strcpy(line + n, " 2>&1");
    FILE *p = popen(line, "r");
    assert_non_null(p);
    size_t len = fread(lab_output, 1, sizeof(lab_output) - 1, p);
    lab_output[len] = 0;
    int status = pclose(p);
    if (status)
        print_message("%s\n%s\n", line, lab_output);
    return WEXITSTATUS(status);
}

const char *lab_path(const char *name)
{
    static char paths[8][256];
    static u32 next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "build/host/lab-%d-%s", getpid(), name);
    return path;
}

/* ---- the model ------------------------------------------------------------------------------- */

void lab_model_init(struct lab_model *m, u64 size)
{
    m->bytes = calloc(1, size + 1);
    m->size = size;
}

void lab_model_free(struct lab_model *m)
{
    free(m->bytes);
}

static void fill(u8 *at, u64 len)
{
    for (u64 i = 0; i < len; i += 4) {
        u32 v = lab_random();

        memcpy(at + i, &v, MIN(4, len - i));
    }
}

/* Where: small and unaligned to anything but sectors, or whole clusters, or large. */
static void choose(u64 size, u32 most, u64 *offset, u64 *length)
{
    static const u32 grain[] = {512, 4096, 65536};
    u32 g = grain[lab_random() % 3];

    *offset = ((u64)lab_random() << 16 ^ lab_random()) % size / g * g;
    *length = (1 + lab_random() % MAX(most / g, 1u)) * (u64)g;
    *length = MIN(*length, size - *offset);
    if (lab_random() % 8 == 0)
        *length = MIN(512, size - *offset);
}

void lab_step(struct disk *d, struct lab_model *m, u32 most)
{
    static u8 buf[4 * MIB];
    u64 offset, length;
    u32 what = lab_random() % 100;

    choose(m->size, most, &offset, &length);
    if (what < 50) {
        struct disk_iov iov[3] = {{buf, length / 1024 * 512}};

        fill(buf, length);
        memcpy(m->bytes + offset, buf, length);
        iov[1] = (struct disk_iov){buf + iov[0].len, 0};
        iov[2] = (struct disk_iov){buf + iov[0].len, length - iov[0].len};
        assert_int_equal(disk_do(d, DISK_WRITE, offset, length, iov, 3), HV_OK);
    } else if (what < 80) {
        assert_int_equal(disk_read(d, offset, buf, length), HV_OK);
        assert_memory_equal(buf, m->bytes + offset, length);
    } else if (what < 90) {
        memset(m->bytes + offset, 0, length);
        assert_int_equal(disk_zero(d, offset, length), HV_OK);
    } else if (what < 95) { /* may read as anything of this disk's: so say what */
        assert_int_equal(disk_discard(d, offset, length), HV_OK);
        assert_int_equal(disk_read(d, offset, m->bytes + offset, length), HV_OK);
    } else {
        assert_int_equal(disk_flush(d), HV_OK);
    }
}

static u32 burst_left;

static void burst_done(struct disk_io *io)
{
    assert_int_equal(io->status, HV_OK);
    burst_left--;
}

void lab_burst(struct disk *d, struct lab_model *m, u32 count, u32 most)
{
    struct disk_io io[64];
    struct disk_iov iov[64];
    u64 slice = ROUND_DOWN(m->size / count, 512ull);

    for (u32 i = 0; i < count; i++) {
        u64 offset, length;

        choose(slice, most, &offset, &length);
        offset += i * slice;
        fill(m->bytes + offset, length);
        iov[i] = (struct disk_iov){m->bytes + offset, length};
        io[i] = (struct disk_io){.op = DISK_WRITE,
                                 .offset = offset,
                                 .length = length,
                                 .iov = &iov[i],
                                 .iov_count = 1,
                                 .done = burst_done};
    }
    burst_left = count;
    for (u32 i = 0; i < count; i++)
        disk_submit(d, &io[i]);
    while (burst_left)
        fiber_yield();
}

void lab_compare(struct disk *d, const struct lab_model *m)
{
    static u8 buf[MIB];

    assert_int_equal(d->size, m->size);
    for (u64 at = 0, n; at < m->size; at += n) {
        n = MIN(sizeof(buf), m->size - at);
        assert_int_equal(disk_read(d, at, buf, n), HV_OK);
        assert_memory_equal(buf, m->bytes + at, n);
    }
}

/* ---- images ---------------------------------------------------------------------------------- */

struct disk *lab_open(const struct image_layer *layers, u32 count, bool read_only)
{
    char error[IMAGE_ERROR_MAX];
    struct disk *d = NULL;
    enum hv_status status = image_open("lab", layers, count, read_only, &d, error);

    if (status != HV_OK)
        print_message("image_open: %s\n", error);
    assert_int_equal(status, HV_OK);
    return d;
}

struct disk *lab_open_one(struct disk *file, const char *format, bool read_only)
{
    struct image_layer layer = {.file = file, .format = image_format(format)};

    return lab_open(&layer, 1, read_only);
}

void lab_create(struct disk *file, const char *format, const struct image_options *o)
{
    char error[IMAGE_ERROR_MAX] = "";
    enum hv_status status = image_format(format)->create(file, o, error);

    if (status != HV_OK)
        print_message("create: %s\n", error);
    assert_int_equal(status, HV_OK);
}

void lab_check(struct disk *file, const char *format)
{
    struct image img;
    u64 problems = 0;

    assert_int_equal(image_layer_open(&img, file, image_format(format), NULL, true), HV_OK);
    assert_int_equal(img.format->check(&img, &problems), HV_OK);
    if (problems)
        print_message("check: %s\n", img.error);
    assert_int_equal(problems, 0);
    image_layer_close(&img);
}

void lab_ask_qemu(struct disk *file, const struct lab_model *m, const char *format, bool check)
{
    const char *image = lab_path("image"), *flat = lab_path("flat");
    FILE *f = fopen(flat, "wb");

    lab_save(file, image);
    fwrite(m->bytes, 1, m->size, f);
    fclose(f);
    if (check)
        assert_int_equal(lab_command("qemu-img check -f %s %s", format, image), 0);
    assert_int_equal(lab_command("qemu-img compare -f %s -F raw %s %s", format, image, flat), 0);
    unlink(image);
    unlink(flat);
}

/* ---- power cuts ----------------------------------------------------------------------------- */

#define CUT_SECTORS 2048u /* of the disk: 1 MiB */

struct cut_write {
    u32 sector, count;
    u32 value; /* what fills these sectors */
    u32 event; /* recorded events when it was acknowledged */
    u32 begun; /* ... and when it was submitted */
};

struct cut_flush {
    u32 event, writes; /* acknowledged at that event; covers that many writes */
};

static struct cut_write writes[400];
static struct cut_flush flushes[100];
static u32 write_count, flush_count;

static void workload(struct disk *file, struct disk *d, u32 requests)
{
    static u32 buf[64 * 128];

    write_count = flush_count = 0;
    for (u32 i = 0; i < requests; i++) {
        if (lab_random() % 6 == 0) {
            assert_int_equal(disk_flush(d), HV_OK);
            flushes[flush_count++] = (struct cut_flush){lab_events(file), write_count};
            continue;
        }
        struct cut_write *w = &writes[write_count++];
        w->count = 1 + lab_random() % 16;
        w->sector = lab_random() % (CUT_SECTORS - w->count);
        w->value = lab_random() % 8 ? i + 1 : 0;
        w->begun = lab_events(file);
        for (u32 j = 0; j < w->count * 128; j++)
            buf[j] = w->value;
        if (w->value)
            assert_int_equal(disk_write(d, w->sector * 512ull, buf, w->count * 512ull), HV_OK);
        else
            assert_int_equal(disk_zero(d, w->sector * 512ull, w->count * 512ull), HV_OK);
        w->event = lab_events(file);
    }
}

/* Each sector has what the last write before the last acknowledged flush put there, or what a later
 * one did; never anything else. */
static void verify_cut(struct disk *d, u32 cut, const u32 *beginning)
{
    u32 covered = 0;
    static u32 buf[CUT_SECTORS * 128];

    for (u32 i = 0; i < flush_count && flushes[i].event <= cut; i++)
        covered = flushes[i].writes;
    assert_int_equal(disk_read(d, 0, buf, sizeof(buf)), HV_OK);
    for (u32 s = 0; s < CUT_SECTORS; s++) {
        u32 value = buf[s * 128], expected = beginning[s];
        bool fine;

        for (u32 j = 1; j < 128; j++)
            assert_int_equal(buf[s * 128 + j], value);
        for (u32 i = 0; i < covered; i++)
            if (s >= writes[i].sector && s < writes[i].sector + writes[i].count)
                expected = writes[i].value;
        fine = value == expected;
        for (u32 i = covered; i < write_count && writes[i].begun <= cut && !fine; i++)
            fine = s >= writes[i].sector && s < writes[i].sector + writes[i].count &&
                   value == writes[i].value;
        if (!fine)
            print_message("cut %u: sector %u has %u, not %u\n", cut, s, value, expected);
        assert_true(fine);
    }
}

struct cuts {
    const char *format, *kind;
    u32 unit, requests, made;
    bool parent;
};

static void make_parent(struct disk *base, u32 *beginning)
{
    struct image_options o = {.size = CUT_SECTORS * 512, .unit = 65536, .id = {1}};
    u32 sector[128];

    lab_create(base, "qcow2", &o);
    struct disk *d = lab_open_one(base, "qcow2", false);
    for (u32 s = 0; s < CUT_SECTORS; s += 1 + lab_random() % 3) {
        for (u32 j = 0; j < 128; j++)
            sector[j] = 100000 + s;
        beginning[s] = 100000 + s;
        assert_int_equal(disk_write(d, s * 512ull, sector, 512), HV_OK);
    }
    assert_int_equal(disk_close(d), HV_OK);
}

static void cut_everywhere(void *arg)
{
    struct cuts *c = arg;
    struct disk *base = lab_file("base"), *file = lab_file("file"), *d;
    struct image_layer chain[2] = {{.file = file, .format = image_format(c->format)},
                                   {.file = base, .format = image_format("qcow2")}};
    u32 layers = c->parent ? 2 : 1, sector[128] = {0};
    static u32 beginning[CUT_SECTORS];
    struct image parent;

    lab_seed(c->unit);
    memset(beginning, 0, sizeof(beginning));
    if (c->parent)
        make_parent(base, beginning);
    struct image_options o = {.size = CUT_SECTORS * 512,
                              .unit = c->unit,
                              .kind = c->kind,
                              .id = {2},
                              .parent_name = c->parent ? "base" : NULL};
    if (c->parent) {
        assert_int_equal(image_layer_open(&parent, base, image_format("qcow2"), NULL, true), HV_OK);
        o.parent = &parent;
    }
    lab_create(file, c->format, &o);
    if (c->parent)
        image_layer_close(&parent);
    lab_record(file);
    d = lab_open(chain, layers, false);
    workload(file, d, c->requests);
    assert_int_equal(disk_close(d), HV_OK);
    for (u32 cut = 0; cut <= lab_events(file); cut++) {
        struct disk *after = lab_cut(file, cut, cut % 3 ? cut : 0);

        chain[0].file = after;
        d = lab_open(chain, layers, false);
        verify_cut(d, cut, beginning);
        /* The image can be written, and closed in order. */
        assert_int_equal(disk_write(d, 512, sector, 512), HV_OK);
        assert_int_equal(disk_close(d), HV_OK);
        lab_check(after, c->format);
        disk_close(after);
        c->made++;
    }
    disk_close(file);
    disk_close(base);
}

u32 lab_power_cuts(const char *format, const char *kind, u32 unit, bool parent, u32 requests)
{
    struct cuts c = {format, kind, unit, requests, 0, parent};

    lab_run(cut_everywhere, &c);
    return c.made;
}
