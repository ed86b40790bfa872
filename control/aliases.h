/* Words of other hypervisors' command lines for people whose fingers know them.  A table, no code:
 * each is answered with the native form, so that users learn it. */
#pragma once

#include "kernel/abi/types.h"

struct alias {
    const char *first, *second; /* what is typed */
    const char *noun, *verb;    /* what runs; the further words stay */
    const char *native;         /* the same as one text */
};

/* NULL: no alias. */
const struct alias *aliases_find(const char *first, const char *second);
