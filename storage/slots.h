/* A text kept in two files of fixed size, of which at every moment one is whole.
 *
 * Each has a header with a sequence number and a checksum over itself and the text.  A text is
 * written over the older copy and flushed, so a power cut leaves the newer one as it was.  All
 * calls wait: in a fiber. */
#pragma once

#include "storage/esp.h"

#define SLOTS 2u
#define SLOTS_HEADER 64u
#define SLOTS_TEXT_MAX (256 * KIB - SLOTS_HEADER)

enum slots_state {
    SLOTS_EMPTY,    /* nothing was ever written */
    SLOTS_GOOD,     /* the newest text was read */
    SLOTS_REPAIRED, /* one copy is damaged or unreadable; the other's text was read */
    SLOTS_LOST,     /* both are damaged */
};

struct slots {
    struct esp_file file[SLOTS];
    u64 sequence;    /* of the newest whole copy; 0: none */
    u32 newest;      /* which that is */
    bool unreadable; /* a copy could not be read at all, which is no write that was cut short */
};

/* The files "PATH.a" and "PATH.b" on the disk.  As esp_find(); HV_ENOSPC: they are too small. */
MUST_CHECK enum hv_status slots_open(struct slots *s, struct disk *d, const char *path);
/* *text: NUL terminated, to be freed; NULL unless SLOTS_GOOD or SLOTS_REPAIRED.  HV_EIO: neither
 * copy is whole and one of them could not be read, so nobody knows what to go on from, and nothing
 * may be written: a lower number would lose to the one that is not readable now.  HV_ENOMEM. */
MUST_CHECK enum hv_status slots_read(struct slots *s, enum slots_state *state, char **text,
                                     u32 *len);
/* Durable on return.  HV_ENOSPC: too long. */
MUST_CHECK enum hv_status slots_write(struct slots *s, const char *text, u32 len);
