/* What the machine offers for guests, in words: lines of `host info`, and why there are none. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/abi/types.h"

enum feature_state {
    FEATURE_ABSENT,  /* the CPU does not offer it; a fallback is in use */
    FEATURE_UNUSED,  /* offered, deliberately not used */
    FEATURE_ACTIVE,  /* offered and in use */
    FEATURE_MISSING, /* required and not there: no guests on this machine */
};

struct feature_line { /* "EPT 1 GiB pages   active" */
    const char *name;
    enum feature_state state;
    const char *note; /* "" or what follows from the state */
};

/* The i-th line; false past the end. */
bool features_line(const struct host_info *h, u32 i, struct feature_line *out);
/* "VT-x", "AMD-V"; "" if guests cannot run. */
const char *features_hvm_name(const struct host_info *h);
#define FEATURES_REASON 96
/* Why guests cannot run, into reason; what to try. */
const char *features_why_not(const struct host_info *h, char *reason, u32 len);
/* An optional control (vmx_bits.h) is in use, or the backend has no such words. */
bool features_control_used(const struct host_info *h, enum host_word word, u64 bits);
/* The CPU's brand string and the signature in CPUID 4000_0000H ("" if no hypervisor says that it is
 * there); both end in NUL. */
void features_cpu_brand(char text[52]);
/* "yes", or why that CPU runs no guests though the boot CPU does; "no": none does. */
const char *features_cpu_state(const struct host_info *h, u32 cpu);
void features_outer_signature(char text[16]);
