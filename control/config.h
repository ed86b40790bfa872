/* Reads bulkhead.conf: keys of the host come first, `[vm NAME]` sections become
 * vm_configs, mistakes become messages.
 * Pure.  A section with a mistake is skipped as a whole, the rest holds. */
#pragma once

#include "vmm/vm_config.h"

#define CONFIG_VMS 64

/* What the first serial port behind PCI is for; without another console always a shell. */
enum config_serial { CONFIG_SERIAL_LOG, CONFIG_SERIAL_SHELL };

struct config_host { /* keys before the first section */
    u32 mitigations; /* enum mitigations */
    u32 panic_reset; /* seconds; 0: never */
    u32 poll_cpu;    /* 0: none */
    u32 serial;      /* enum config_serial */
};
extern const struct conf_schema config_host_schema;

struct config_sink {
    /* A good section; the struct is the callee's to copy. */
    void (*vm)(void *owner, const struct vm_config *c);
    /* A mistake, as one line "E_CONFIG: bulkhead.conf:12: cpu: ... Try: ...". */
    void (*error)(void *owner, const char *line);
    void *owner;
};

/* Number of mistakes found.  *host: what the keys say, else the defaults. */
u32 config_read(const char *file, const char *text, u64 len, const struct config_sink *sink,
                struct config_host *host);
