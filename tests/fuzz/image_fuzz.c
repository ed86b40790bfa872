/* One input of an image fuzzer, run in a fiber. */
#include "tests/fuzz/image_fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/page_disk.h"

struct input {
    const struct image_format *format;
    struct disk *file;
    struct image_fuzz_use use;
    bool done;
};

static u8 buf[16384];

static void use_disk(struct disk *d)
{
    u64 last = ROUND_DOWN(MAX(d->size, 512) - 512, 512ull);
    const u64 places[] = {0, 512, 4096, 65536, d->size / 2 & ~511ull, last};

    for (u32 i = 0; i < ARRAY_LEN(places); i++)
        if (places[i] < d->size) {
            u64 n = MIN(sizeof(buf), d->size - places[i]);

            (void)!disk_read(d, places[i], buf, n);
            if (d->read_only)
                continue;
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

static void check(const struct input *in)
{
    struct image img;
    u64 problems = 0;

    if (image_layer_open(&img, in->file, in->format, NULL, true) != HV_OK)
        return;
    if (img.format->check && img.size <= 64 * MIB)
        img.format->check(&img, &problems);
    image_layer_close(&img);
}

static void try_one(void *arg)
{
    static struct disk *parent;
    struct input *in = arg;
    struct disk *d = NULL;
    struct image_layer chain[2] = {{.file = in->file, .format = in->format}};
    char error[IMAGE_ERROR_MAX];
    enum hv_status status;

    if (!parent)
        parent = page_disk_open("parent", 128 * KIB, 1, MIB);
    if (in->use.check)
        check(in);
    chain[1] = (struct image_layer){.file = parent, .format = image_format("raw")};
    /* Most need no parent.  With one that they do not want they are refused, too. */
    status = image_open("fuzz", chain, 1, in->use.read_only, &d, error);
    if (status == HV_ENOENT)
        status = image_open("fuzz", chain, 2, in->use.read_only, &d, error);
    if (status == HV_OK) {
        use_disk(d);
        disk_close(d);
    } else if (!error[0]) {
        abort();
    }
    page_disk_undo(parent); /* ends the program if somebody still uses it */
    page_disk_undo(in->file);
    in->done = true;
}

void image_fuzz_file(const struct image_format *format, struct disk *file,
                     struct image_fuzz_use how)
{
    struct input in = {format, file, how, false};

    fiber_spawn("fuzz", try_one, &in);
    while (!in.done)
        fiber_run_ready();
}

void image_fuzz(const struct image_format *format, const u8 *data, size_t size)
{
    static struct disk *file;

    if (!file)
        file = page_disk_open("file", 0, 1, IMAGE_FUZZ_MAX);
    page_disk_put(file, 0, data, size);
    /* One input in four, by its last byte and its length. */
    image_fuzz_file(format, file,
                    (struct image_fuzz_use){true, size && (data[size - 1] ^ size) % 4 == 3});
}
