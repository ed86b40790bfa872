/* Who gets an interrupt message: destinations of IPIs and MSIs (SDM 3A 11.6.2, 11.11, 11.12.10). */
#pragma once

#include "kernel/vlapic.h"

struct apic_message {
    u32 dest;
    bool wide; /* dest is an x2APIC destination (32 bits), else 8 bits */
    bool logical;
    bool level;
    u8 mode; /* enum apic_delivery */
    u8 vector;
};

/* Does `m` address v?  Reads v's ID, LDR and DFR only. */
bool vlapic_match(const struct vcpu *v, const struct apic_message *m);
