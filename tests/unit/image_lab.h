/* What the tests of images share: files in memory that record what is written and can lose power,
 * a model to compare a disk with, and QEMU's programs as the judge. */
#pragma once

#include "storage/disk.h"
#include "storage/image.h"

/* Runs fn(arg) in a fiber to its end, driving the loop. */
void lab_run(void (*fn)(void *arg), void *arg);

/* A growing file in memory.  Close it with disk_close(). */
struct disk *lab_file(const char *name);
struct disk *lab_load(const char *path); /* the contents of a host file */
void lab_save(struct disk *file, const char *path);
void lab_copy(struct disk *to, struct disk *from);

void lab_record(struct disk *file);      /* from now on; what is there now is the beginning */
u32 lab_events(const struct disk *file); /* writes and other changes recorded */
u32 lab_flushes_before(const struct disk *file, u32 event);
/* A new file as it may be after a power cut right after `events` changes: all that a flush covered,
 * and of the rest a random part (seed 0: all of it, in order). */
struct disk *lab_cut(const struct disk *file, u32 events, u32 seed);
void lab_forget_record(struct disk *file);

void lab_limit(struct disk *file, u64 bytes);         /* beyond this size: HV_ENOSPC */
void lab_fail_after(struct disk *file, i64 requests); /* then every request fails; -1: never */
void lab_delay(struct disk *file, bool on);           /* requests complete later, in random order */

u32 lab_random(void); /* deterministic */
void lab_seed(u32 seed);

/* Runs a command line; its exit status.  What it printed is in lab_output. */
int lab_command(const char *fmt, ...) PRINTF_LIKE(1, 2);
extern char lab_output[65536];
const char *lab_path(const char *name); /* a scratch file of this test program */

/* A disk's contents, to compare with. */
struct lab_model {
    u8 *bytes;
    u64 size;
};
void lab_model_init(struct lab_model *m, u64 size);
void lab_model_free(struct lab_model *m);
/* One random request within [0, size) on both; fails the test if the disk fails. */
void lab_step(struct disk *d, struct lab_model *m, u32 most);
void lab_compare(struct disk *d, const struct lab_model *m);
/* `count` writes at once to places that do not overlap. */
void lab_burst(struct disk *d, struct lab_model *m, u32 count, u32 most);
/* Opens layers from the top; fails the test when that fails. */
struct disk *lab_open(const struct image_layer *layers, u32 count, bool read_only);
struct disk *lab_open_one(struct disk *file, const char *format, bool read_only);
void lab_create(struct disk *file, const char *format, const struct image_options *o);
/* qemu-img finds the contents of the model in it and, if it can check, no fault. */
void lab_ask_qemu(struct disk *file, const struct lab_model *m, const char *format, bool check);
/* A workload on a 1 MiB disk of this format, over a parent or not, and the power cut after each of
 * its writes: what was flushed is there, the rest is old or new.  How many cuts. */
u32 lab_power_cuts(const char *format, const char *kind, u32 unit, bool parent, u32 requests);
void lab_check(struct disk *file, const char *format); /* our own check finds nothing */
