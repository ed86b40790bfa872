/* Makes one image of several that lie over each other. */
#pragma once

#include "storage/chain.h"

enum merge_direction {
    MERGE_AUTO, /* whichever copies less */
    MERGE_DOWN, /* what came later goes into the older image */
    MERGE_UP,   /* the older data goes into the later image */
};

struct merge_job { /* shared with whoever watches; zeroed, then what is asked for */
    enum merge_direction direction;
    bool cancel;     /* set it: ends with HV_ETIMEDOUT and leaves things as they were */
    u64 done, total; /* bytes */
};

/* Makes file `to` of the store: one image with all that images 0..last of the open chain `c` hold,
 * over image last + 1.  It begins as a copy of one of them that shares its data.  format: of the
 * new image.  HV_ETIMEDOUT: cancelled.  On failure there is no such file.  Needs a fiber. */
MUST_CHECK enum hv_status merge_images(struct store *s, struct chain *c, u32 last, const char *to,
                                       struct merge_job *job, char format[12],
                                       char error[IMAGE_ERROR_MAX]);
