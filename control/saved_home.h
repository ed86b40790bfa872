/* Where the configuration is kept: the disk that has both files (storage/slots.h) is found, read
 * and written here, and found again when it was pulled out and put back.
 *
 * Whatever is written to has been read before.  Called by control/saved.c, in its fiber. */
#pragma once

#include "control/rt/fiber.h"
#include "storage/slots.h"

enum saved_home_news {
    HOME_AS_BEFORE, /* there is one, or there is none, as before */
    HOME_FOUND,     /* the first one since the start: what it keeps is to be run */
    HOME_BACK,      /* there was one before, and this one keeps the same, or nothing yet */
    HOME_FOREIGN,   /* there was one before, and this one keeps something else: it is not used */
};

/* From now on `wake` is signalled when a disk or a medium came. */
void saved_home_watch(struct event *wake);
/* Looks for it if there is none, or if its disk has gone.  `take`: even a foreign one.  What it
 * finds is told in events. */
enum saved_home_news saved_home_look(bool take);

const struct disk *saved_home_disk(void); /* NULL: none now */
bool saved_home_lost(void);               /* there was one since the start, and is none now */
const char *saved_home_text(void);        /* what it keeps, or kept when it was lost; "": nothing */
u64 saved_home_number(void);              /* of that text */
const char *saved_home_state(void);       /* how it was read, in words */
/* HV_ENOENT: there is none; HV_EPERM: it cannot be written; else as slots_write(). */
MUST_CHECK enum hv_status saved_home_write(const char *text);
