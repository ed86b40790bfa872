/* One input of an image fuzzer, run in a fiber. */
#include "tests/fuzz/image_fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "storage/ram_disk.h"

struct input {
    const struct image_format *format;
    const u8 *data;
    size_t size;
    const struct image_fuzz_part *parts;
    u32 count;
    bool done;
};

static u8 buf[16384];

static void use(struct disk *d)
{
    u64 last = ROUND_DOWN(MAX(d->size, 512) - 512, 512ull);
    const u64 places[] = {0, 512, 4096, 65536, d->size / 2 & ~511ull, last};

    for (u32 i = 0; i < ARRAY_LEN(places); i++)
        if (places[i] < d->size) {
            u64 n = MIN(sizeof(buf), d->size - places[i]);

            (void)!disk_read(d, places[i], buf, n);
            memset(buf, (int)i, 1024);
            (void)!disk_write(d, places[i], buf, MIN(n, 1024));
            (void)!disk_zero(d, places[i], n);
            (void)!disk_discard(d, places[i], n);
            (void)!disk_write(d, places[i], buf, n);
        }
    (void)!disk_flush(d);
    if (d->size < 16 * MIB)
        (void)!disk_resize(d, d->size + 65536);
}

/* Blank pieces are left out: a large image in memory costs time. */
static void put_in(struct disk *file, const struct input *in)
{
    for (u32 i = 0; i < in->count; i++) {
        const u8 *data = in->data + in->parts[i].at;

        for (size_t at = 0, size = in->parts[i].length, n; at < size; at += n) {
            n = MIN(size - at, sizeof(buf));
            if (data[at] || memcmp(data + at, data + at + 1, n - 1))
                (void)!disk_write(file, in->parts[i].at + at, data + at, n);
        }
    }
    (void)!disk_resize(file, in->size);
}

static void try_one(void *arg)
{
    struct input *in = arg;

    for (u32 read_only = 0; read_only < 2; read_only++) {
        struct disk *file = ram_disk_open("fuzz", 0, 1, 64 * MIB), *d = NULL, *parent;
        struct image_layer chain[2] = {{.file = file, .format = in->format}};
        char error[IMAGE_ERROR_MAX];
        struct image img;
        u64 problems = 0;
        u32 layers = 1;

        put_in(file, in);
        if (image_layer_open(&img, file, in->format, NULL, true) == HV_OK) {
            if (img.format->check && img.size <= 64 * MIB)
                img.format->check(&img, &problems);
            layers += img.wants_parent;
            image_layer_close(&img);
        }
        parent = ram_disk_open("parent", 128 * KIB, 1, MIB);
        chain[1] = (struct image_layer){.file = parent, .format = image_format("raw")};
        if (image_open("fuzz", chain, layers, read_only, &d, error) == HV_OK) {
            use(d);
            disk_close(d);
        } else if (!error[0]) {
            abort();
        }
        if (disk_close(parent) != HV_OK || disk_close(file) != HV_OK)
            abort();
    }
    in->done = true;
}

void image_fuzz(const struct image_format *format, const u8 *data, size_t size)
{
    struct image_fuzz_part all = {0, (u32)size};

    image_fuzz_parts(format, data, size, &all, 1);
}

void image_fuzz_parts(const struct image_format *format, const u8 *data, size_t size,
                      const struct image_fuzz_part *parts, u32 count)
{
    struct input in = {format, data, size, parts, count, false};

    fiber_spawn("fuzz", try_one, &in);
    while (!in.done)
        fiber_run_ready();
}
