/* Reads bulkhead.conf: `[vm NAME]` sections become vm_configs, mistakes become messages.
 * Pure.  A section with a mistake is skipped as a whole, the rest holds. */
#ifndef BULKHEAD_CONTROL_CONFIG_H
#define BULKHEAD_CONTROL_CONFIG_H

#include "vmm/vm_config.h"

#define CONFIG_VMS 64

struct config_sink {
    /* A good section; the struct is the callee's to copy. */
    void (*vm)(void *owner, const struct vm_config *c);
    /* A mistake, as one line "E_CONFIG: bulkhead.conf:12: cpu: ... Try: ...". */
    void (*error)(void *owner, const char *line);
    void *owner;
};

/* Number of mistakes found. */
u32 config_read(const char *file, const char *text, u64 len, const struct config_sink *sink);

#endif
